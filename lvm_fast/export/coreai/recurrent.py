"""Runs recurrent layers in plain torch: one loop over the steps, or one step alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TypeAlias

import torch
from torch import Tensor

from .layers import Layers

# one step: the layers, the row of the step (B, W) and the states before it -> the states after it
Advance: TypeAlias = Callable[..., Sequence[Tensor]]


def scan(layers: Layers, rows: Tensor, widths: Sequence[int], advance: Advance) -> list[Tensor]:
    """Step through a sequence from zero states, in one loop that carries nothing but the states.

    Apple's runtime for Linux (1.0.0b3) lets other results of a loop's body lie where the states are that the step
    before left there: what reads a state late may read something else. So the states are one tensor, negated, which
    the first operation reads as a whole, and what that operation gives is needed until the very last.

    Args:
        layers: What the body of the loop reads.
        rows: What each step reads, (B, N, W).
        widths: The width H of each state (B, H), in the dtype of `rows`.
        advance: Called as ``advance(layers, row (B, W), *states)`` within the loop.

    Returns:
        The states after step N.
    """
    names = list(layers.tensors)

    def unfinished(step: Tensor, negated: Tensor, all_rows: Tensor, *weights: Tensor) -> Tensor:
        return step < all_rows.shape[1]

    def body(step: Tensor, negated: Tensor, all_rows: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        after, held = step + 1, -negated
        row = torch.index_select(all_rows, 1, (after - 1).view(1)).squeeze(1)  # (B, W)
        inner = LoopLayers(dict(zip(names, weights, strict=True)), layers.precision)
        moved = torch.cat(list(advance(inner, row, *_apart(held, widths))), dim=1)
        return after, torch.where(after > 0, -moved, held)

    start = (torch.tensor(0), rows.new_zeros(rows.shape[0], sum(widths)))
    # a loop of torch closes over nothing: what its body reads is handed to it
    given = (rows, *(tensor.T if tensor.ndim == 2 else tensor for tensor in layers.tensors.values()))
    _, negated = torch.ops.higher_order.while_loop(unfinished, body, start, given)
    return _apart(-negated, widths)


def _apart(states: Tensor, widths: Sequence[int]) -> list[Tensor]:
    """Take apart tensors that lie side by side, (B, sum of W)."""
    ends = list(accumulate(widths))
    return [states[:, end - width : end] for end, width in zip(ends, widths, strict=True)]


class LoopLayers(Layers):
    """Layers within a loop: their matrices are transposed before it, once, and not at every step.

    Apple's converter knows no LayerNorm in a loop; there it is made of parts, as the same sums.
    """

    def linear(self, x: Tensor, weight: str, bias: str) -> Tensor:
        """See `Layers.linear`."""
        return x @ self[weight] + self[bias]

    def layer_norm(self, x: Tensor, prefix: str) -> Tensor:
        """See `Layers.layer_norm`; means are float32, as the converter's own are."""
        wide = x.float()
        centred = wide - wide.mean(dim=-1, keepdim=True)
        normed = centred * (centred.square().mean(dim=-1, keepdim=True) + 1e-5).rsqrt()
        return self.narrow(normed) * self[f"{prefix}.weight"] + self[f"{prefix}.bias"]


class GRULayers:
    """A stacked `torch.nn.GRU`.

    Args:
        prefix: What comes before torch's names of its parameters, such as "gru" for ``gru.weight_ih_l0``.
        hidden_dim: Width H of the hidden states.
        num_layers: Layers on top of each other.
    """

    def __init__(self, prefix: str, hidden_dim: int, num_layers: int) -> None:
        self.prefix = prefix
        self.widths = [hidden_dim] * num_layers

    def gates(self, layers: Layers, x: Tensor, layer: int = 0) -> Tensor:
        """Return ``W_ih x + b_ih`` of a layer, (..., W) -> (..., 3H): reset, update and candidate part."""
        return _linear(layers, x, self.prefix, "ih", layer)

    def step(self, layers: Layers, gates: Tensor, *hidden: Tensor) -> list[Tensor]:
        """Take one time step.

        Args:
            layers: Its parameters.
            gates: `gates` of layer 0, (B, 3H).
            *hidden: The hidden state of every layer, (B, H) each.

        Returns:
            The next hidden state of every layer, (B, H) each.
        """
        states: list[Tensor] = []
        for layer, state in enumerate(hidden):
            if layer > 0:
                gates = self.gates(layers, states[-1], layer)
            states.append(_gru_cell(gates, _linear(layers, state, self.prefix, "hh", layer), state))
        return states

    def last_state(self, layers: Layers, x: Tensor) -> Tensor:
        """Return the last layer's hidden state after all steps: (B, N, W) -> (B, H)."""
        return scan(layers.under(f"{self.prefix}."), self.gates(layers, x), self.widths, self.step)[-1]


class LSTMLayers:
    """A stacked `torch.nn.LSTM`; arguments as of `GRULayers`. Its states are hidden and cell state of each layer."""

    def __init__(self, prefix: str, hidden_dim: int, num_layers: int) -> None:
        self.prefix = prefix
        self.widths = [hidden_dim] * (2 * num_layers)

    def gates(self, layers: Layers, x: Tensor, layer: int = 0) -> Tensor:
        """Return ``W_ih x + b_ih`` of a layer, (..., W) -> (..., 4H): input, forget, cell and output part."""
        return _linear(layers, x, self.prefix, "ih", layer)

    def step(self, layers: Layers, gates: Tensor, *states: Tensor) -> list[Tensor]:
        """Take one time step from `gates` of layer 0, (B, 4H), and hidden and cell state of each layer, (B, H)."""
        moved: list[Tensor] = []
        for layer, (hidden, cell) in enumerate(zip(states[::2], states[1::2], strict=True)):
            if layer > 0:
                gates = self.gates(layers, moved[-2], layer)
            moved.extend(_lstm_cell(gates + _linear(layers, hidden, self.prefix, "hh", layer), cell))
        return moved

    def last_state(self, layers: Layers, x: Tensor) -> Tensor:
        """Return the last layer's hidden state after all steps: (B, N, W) -> (B, H)."""
        return scan(layers.under(f"{self.prefix}."), self.gates(layers, x), self.widths, self.step)[-2]


def _linear(layers: Layers, x: Tensor, prefix: str, kind: str, layer: int) -> Tensor:
    return layers.linear(x, f"{prefix}.weight_{kind}_l{layer}", f"{prefix}.bias_{kind}_l{layer}")


def _lstm_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Compute i, f, o = sigmoid, g = tanh of their parts, c' = f c + i g, h' = o tanh(c')."""
    width = cell.shape[-1]
    keep, forget, candidate, output = (_part(gates, width, part) for part in range(4))
    moved = forget.sigmoid() * cell + keep.sigmoid() * candidate.tanh()
    return output.sigmoid() * moved.tanh(), moved


def _gru_cell(gates: Tensor, recurrent: Tensor, state: Tensor) -> Tensor:
    """Compute r, z = sigmoid(both sums), n = tanh(x part + r * h part), h' = n + z (h - n), torch's way."""
    width = state.shape[-1]
    both = (gates[..., : 2 * width] + recurrent[..., : 2 * width]).sigmoid()
    reset, update = _part(both, width, 0), _part(both, width, 1)
    candidate = (_part(gates, width, 2) + reset * _part(recurrent, width, 2)).tanh()
    return candidate + update * (state - candidate)


def _part(gates: Tensor, width: int, part: int) -> Tensor:
    """Return one of several parts side by side."""
    return gates[..., part * width : (part + 1) * width]
