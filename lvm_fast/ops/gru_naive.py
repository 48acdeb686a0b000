"""The recurrence of a GRU in torch's own operators: for devices and derivatives that the quick ones do not serve."""

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Weights: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]  # of a layer: weight_ih, weight_hh, bias_ih, bias_hh
Layers: TypeAlias = list[Weights]


def step_loop(
    inputs: Tensor, initial: Tensor, layers: Layers, dropout: float, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`torch.nn.GRU` step by step, on any device; linear in length both ways.

    Args:
        inputs: (N, B, I); what lies beyond a length may be anything.
        initial: (L, B, H).
        layers: weight_ih (3H, I), weight_hh (3H, H), bias_ih and bias_hh (3H,) of each; gates r, z, n in this order.
        dropout: Dropout between layers.
        lengths: (B,) steps of each sequence, None for N; beyond its length a sequence keeps its last state.

    Returns:
        states (N, B, H) of the last layer and final (L, B, H).
    """
    ends = None if lengths is None else lengths.to(inputs.device)
    states, finals = inputs if ends is None else within(inputs, ends), []
    for layer, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(layers):
        dropped = F.dropout(states, dropout) if layer and dropout else states
        every = [initial[layer]]
        for step, projected in enumerate(F.linear(dropped, weight_ih, bias_ih).unbind()):  # (B, 3H)
            moved, *_ = advance(projected, every[-1], weight_hh, bias_hh)
            every.append(moved if ends is None else torch.where((step < ends)[:, None], moved, every[-1]))
        states = torch.stack(every[1:])
        finals.append(every[-1])
    return states, torch.stack(finals)


def advance(projected: Tensor, state: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Take one step: W_ih x + b_ih (B, 3H), state (B, H) -> the next state, the gates (B, 3H), W_n h + b_n (B, H)."""
    recurrent = F.linear(state, weight, bias)  # (B, 3H)
    (reset, update, new), (r, z, candidate) = projected.chunk(3, dim=1), recurrent.chunk(3, dim=1)
    reset, update = torch.sigmoid(reset + r), torch.sigmoid(update + z)
    new = torch.tanh(new + reset * candidate)
    return new + update * (state - new), torch.cat((reset, update, new), dim=1), candidate


def within(steps: Tensor, lengths: Tensor) -> Tensor:
    """Steps (N, B, W), with zeros beyond each sequence's length (B,)."""
    beyond = torch.arange(steps.shape[0], device=steps.device)[:, None] >= lengths  # (N, B)
    return steps.masked_fill(beyond[..., None], 0)


def run_layer(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    initial: Tensor,
    lengths: Tensor | None,
    bfloat16: bool = False,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer as `gru_layer` of `gru_f32` does; beyond a length, gates and candidates are zeros."""
    states, gates, candidates = [initial], [], []
    for step in steps_in_order(inputs.shape[0], reverse):
        moved, gate, candidate = advance(inputs[step], states[-1], weight, bias)
        if lengths is not None:
            live = (step < lengths)[:, None]  # (B, 1)
            moved = torch.where(live, moved, states[-1])
            gate, candidate = torch.where(live, gate, 0), torch.where(live, candidate, 0)
        states.append(moved)
        gates.append(gate)
        candidates.append(candidate)
    way = -1 if reverse else 1
    return torch.stack(states[::way]), torch.stack(gates[::way]), torch.stack(candidates[::way])


def steps_in_order(steps: int, reverse: bool) -> range:
    """The steps 0 to N - 1 in the order in which they are taken."""
    return range(steps - 1, -1, -1) if reverse else range(steps)


def run_layer_backward(
    grad_states: Tensor | None,
    weight: Tensor,
    states: Tensor,
    gates: Tensor,
    candidates: Tensor,
    lengths: Tensor | None,
    bfloat16: bool = False,
    reverse: bool = False,
    grad_gates: Tensor | None = None,
    grad_candidates: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Go back as `gru_layer_backward` does, also from gradients of gates and candidates; None stands for zeros."""
    grad_states = torch.zeros_like(states) if grad_states is None else grad_states
    grad_gates = torch.zeros_like(gates) if grad_gates is None else grad_gates
    grad_candidates = torch.zeros_like(candidates) if grad_candidates is None else grad_candidates
    grad, grad_weight = torch.zeros_like(states[0]), torch.zeros_like(weight)
    grad_inputs, grad_products = {}, {}
    for step in reversed(steps_in_order(candidates.shape[0], reverse)):
        before, after = (step + 1, step) if reverse else (step, step + 1)
        grad = grad + grad_states[after]
        (reset, update, new), candidate = gates[step].chunk(3, dim=1), candidates[step]
        on_reset, on_update, on_new = grad_gates[step].chunk(3, dim=1)
        new_slope = (grad * (1 - update) + on_new) * (1 - new * new)
        update_slope = (grad * (states[before] - new) + on_update) * update * (1 - update)
        reset_slope = (new_slope * candidate + on_reset) * reset * (1 - reset)
        slopes = torch.cat((reset_slope, update_slope, new_slope), dim=1)  # (B, 3H)
        products = torch.cat((reset_slope, update_slope, new_slope * reset + grad_candidates[step]), dim=1)
        back = grad * update + products @ weight
        if lengths is not None:
            live = (step < lengths)[:, None]  # (B, 1)
            slopes, products = torch.where(live, slopes, 0), torch.where(live, products, 0)
            back = torch.where(live, back, grad)
        grad, grad_weight = back, grad_weight + products.transpose(0, 1) @ states[before]
        grad_inputs[step], grad_products[step] = slopes, products
    every, pulls = (torch.stack([made[step] for step in range(len(made))]) for made in (grad_inputs, grad_products))
    return every, grad_weight, pulls.sum(dim=0).sum(dim=0), grad + grad_states[-1 if reverse else 0]


def run_layer_and_back(
    grad_states: Tensor,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    initial: Tensor,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of a layer's inputs (N, B, I), weights and initial state, given those of its states (N + 1, B, H)."""
    kept = run_layer(F.linear(inputs, weight_ih, bias_ih), weight_hh, bias_hh, initial, lengths)
    pulls, grad_hh, grad_bias_hh, grad_initial = run_layer_backward(grad_states, weight_hh, *kept, lengths)
    flat = pulls.flatten(0, 1).transpose(0, 1)  # (3H, N B)
    return pulls @ weight_ih, flat @ inputs.flatten(0, 1), grad_hh, flat.sum(dim=1), grad_bias_hh, grad_initial
