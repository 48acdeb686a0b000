"""The recurrence of an LSTM in torch's own operators: for devices and derivatives that the quick ones do not serve."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .gru_naive import Layers, steps_in_order, within


def step_loop(
    inputs: Tensor, initial: tuple[Tensor, Tensor], layers: Layers, dropout: float, lengths: Tensor | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """`torch.nn.LSTM` step by step, on any device; linear in length both ways.

    Args:
        inputs: (N, B, I); what lies beyond a length may be anything.
        initial: Hidden and cell states, (L, B, H) each.
        layers: weight_ih (4H, I), weight_hh (4H, H), bias_ih and bias_hh (4H,) of each; gates in the order i, f, g, o.
        dropout: Dropout between layers.
        lengths: (B,) steps of each sequence, None for N; beyond its length a sequence keeps its last states.

    Returns:
        states (N, B, H) of the last layer and the final hidden and cell states, (L, B, H) each.
    """
    ends = None if lengths is None else lengths.to(inputs.device)
    states, finals = inputs, []
    for layer, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(layers):
        dropped = F.dropout(states, dropout) if layer and dropout else states
        own = (weight_ih, weight_hh, bias_ih + bias_hh, initial[0][layer], initial[1][layer])
        every, _, _, *final = run_layer(dropped, *own, ends)
        states = every[1:]
        finals.append(final)
    hidden, cells = (torch.stack(each) for each in zip(*finals, strict=True))
    return states, (hidden, cells)


def advance(projected: Tensor, state: Tensor, cell: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Take one step: W_ih x + b (B, 4H), states (B, H) -> the next state and cell (B, H), the gates (B, 4H)."""
    i, f, g, o = (projected + F.linear(state, weight)).chunk(4, dim=1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    moved = f * cell + i * g
    return o * torch.tanh(moved), moved, torch.cat((i, f, g, o), dim=1)


def run_layer(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    state: Tensor,
    cell: Tensor,
    lengths: Tensor | None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run one layer as `lstm_layer` of `lstm_f32` does; beyond a length, gates are zeros."""
    vectors = inputs if lengths is None else within(inputs, lengths)
    projected = F.linear(vectors, weight_ih, bias)  # (N, B, 4H)
    states, cells, gates = [state], [cell], []
    for step in steps_in_order(inputs.shape[0], reverse):
        moved, shown, gate = advance(projected[step], states[-1], cells[-1], weight_hh)
        if lengths is not None:
            live = (step < lengths)[:, None]  # (B, 1)
            moved, shown = torch.where(live, moved, states[-1]), torch.where(live, shown, cells[-1])
            gate = torch.where(live, gate, 0)
        states.append(moved)
        cells.append(shown)
        gates.append(gate)
    final = states[-1].clone(), cells[-1].clone()
    way = -1 if reverse else 1
    return torch.stack(states[::way]), torch.stack(cells[::way]), torch.stack(gates[::way]), *final


def run_layer_and_back(
    grad_states: Tensor | None,
    grad_state: Tensor | None,
    grad_cell: Tensor | None,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    state: Tensor,
    cell: Tensor,
    lengths: Tensor | None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of what `run_layer` takes, given those of all states (N + 1, B, H) and of the final ones (B, H)."""
    own = (weight_ih, weight_hh, bias, state, cell)
    states, cells, gates, _, _ = run_layer(inputs, *own, lengths, reverse)
    pull = torch.zeros_like(state) if grad_state is None else grad_state
    pull_cell = torch.zeros_like(cell) if grad_cell is None else grad_cell
    slopes: dict[int, Tensor] = {}
    for step in reversed(steps_in_order(inputs.shape[0], reverse)):
        before, after = (step + 1, step) if reverse else (step, step + 1)
        pull = pull if grad_states is None else pull + grad_states[after]
        i, f, g, o = gates[step].chunk(4, dim=1)
        shown = torch.tanh(cells[after])
        inner = pull_cell + pull * o * (1 - shown * shown)
        parts = (
            inner * g * i * (1 - i),
            inner * cells[before] * f * (1 - f),
            inner * i * (1 - g * g),
            pull * shown * o * (1 - o),
        )
        slope, back, back_cell = torch.cat(parts, dim=1), None, inner * f
        if lengths is not None:
            live = (step < lengths)[:, None]
            slope, back_cell = torch.where(live, slope, 0), torch.where(live, back_cell, pull_cell)
            back = torch.where(live, slope @ weight_hh, pull)
        slopes[step] = slope
        pull, pull_cell = slope @ weight_hh if back is None else back, back_cell
    if grad_states is not None:
        pull = pull + grad_states[-1 if reverse else 0]
    vectors = inputs if lengths is None else within(inputs, lengths)
    every = torch.stack([slopes[step] for step in range(inputs.shape[0])])  # (N, B, 4H)
    flat = every.flatten(0, 1).transpose(0, 1)  # (4H, N B)
    earlier = states[1:] if reverse else states[:-1]
    grad_hh = flat @ earlier.flatten(0, 1)
    return every @ weight_ih, flat @ vectors.flatten(0, 1), grad_hh, flat.sum(dim=1), pull, pull_cell
