"""Recurrent layers as MIL operations: one loop over the steps, however many layers there are, and one step alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from ..coremltools_compat import mb, types
from .layers import Layers, Variable, length_of

# one step: the row of the step (B, W) and the states before it -> the states after it
Advance: TypeAlias = Callable[..., Sequence[Variable]]


def scan(rows: Variable, widths: Sequence[int], advance: Advance) -> list[Variable]:
    """Step through a sequence from zero states, in one loop that carries nothing but the states.

    Args:
        rows: What each step reads, (B, N, W), in float16 or float32.
        widths: The width H of each state (B, H), in the same precision.
        advance: Called as ``advance(row (B, W), *states)`` within the loop.

    Returns:
        The states after step N.
    """
    batch = rows.shape[0]
    zero = np.float16(0) if rows.dtype == types.fp16 else np.float32(0)
    steps = length_of(rows)

    def unfinished(step: Variable, *_: Variable) -> Variable:
        return mb.less(x=step, y=steps)

    def body(step: Variable, *states: Variable) -> tuple[Variable, ...]:
        row = mb.squeeze(x=mb.gather(x=rows, indices=step, axis=1), axes=[1])  # (B, W)
        return mb.add(x=step, y=np.array([1], np.int32)), *advance(row, *states)

    states = [mb.fill(shape=[batch, width], value=zero, name=f"state_{index}") for index, width in enumerate(widths)]
    loop_vars = (mb.const(val=np.array([0], np.int32), name="step"), *states)
    return list(mb.while_loop(_cond=unfinished, _body=body, loop_vars=loop_vars, name="steps")[1:])


class GRULayers:
    """A stacked `torch.nn.GRU`.

    Args:
        layers: What holds its parameters.
        prefix: What comes before torch's names of them, such as "gru" for ``gru.weight_ih_l0``.
        hidden_dim: Width H of the hidden states.
        num_layers: Layers on top of each other.
    """

    def __init__(self, layers: Layers, prefix: str, hidden_dim: int, num_layers: int) -> None:
        self.layers = layers
        self.prefix = prefix
        self.widths = [hidden_dim] * num_layers

    def gates(self, x: Variable, layer: int = 0) -> Variable:
        """``W_ih x + b_ih`` of a layer, (..., W) -> (..., 3H): reset, update and candidate part."""
        return self.layers.linear(x, f"{self.prefix}.weight_ih_l{layer}", f"{self.prefix}.bias_ih_l{layer}")

    def step(self, gates: Variable, *hidden: Variable) -> list[Variable]:
        """One time step.

        Args:
            gates: `gates` of layer 0, (B, 3H).
            *hidden: The hidden state of every layer, (B, H) each.

        Returns:
            The next hidden state of every layer, (B, H) each.
        """
        states: list[Variable] = []
        for layer, state in enumerate(hidden):
            if layer > 0:
                gates = self.gates(states[-1], layer)
            name = f"{self.prefix}.weight_hh_l{layer}", f"{self.prefix}.bias_hh_l{layer}"
            states.append(_gru_cell(gates, self.layers.linear(state, *name), state))
        return states

    def last_state(self, x: Variable) -> Variable:
        """The last layer's hidden state after all steps: (B, N, W) -> (B, H)."""
        return scan(self.gates(x), self.widths, self.step)[-1]


class LSTMLayers:
    """A stacked `torch.nn.LSTM`; arguments as of `GRULayers`."""

    def __init__(self, layers: Layers, prefix: str, hidden_dim: int, num_layers: int) -> None:
        self.layers = layers
        self.prefix = prefix
        self.widths = [hidden_dim] * (2 * num_layers)

    def gates(self, x: Variable, layer: int = 0) -> Variable:
        """``W_ih x + b_ih`` of a layer, (..., W) -> (..., 4H): input, forget, cell and output part."""
        return self.layers.linear(x, f"{self.prefix}.weight_ih_l{layer}", f"{self.prefix}.bias_ih_l{layer}")

    def step(self, gates: Variable, *states: Variable) -> list[Variable]:
        """One time step: from `gates` of layer 0, (B, 4H), and hidden and cell state of each layer in turn, (B, H)."""
        moved: list[Variable] = []
        for layer, (hidden, cell) in enumerate(zip(states[::2], states[1::2], strict=True)):
            if layer > 0:
                gates = self.gates(moved[-2], layer)
            name = f"{self.prefix}.weight_hh_l{layer}", f"{self.prefix}.bias_hh_l{layer}"
            moved.extend(_lstm_cell(mb.add(x=gates, y=self.layers.linear(hidden, *name)), cell))
        return moved

    def last_state(self, x: Variable) -> Variable:
        """The last layer's hidden state after all steps: (B, N, W) -> (B, H)."""
        return scan(self.gates(x), self.widths, self.step)[-2]


def _lstm_cell(gates: Variable, cell: Variable) -> tuple[Variable, Variable]:
    """i, f, o = sigmoid, g = tanh of their parts, c' = f c + i g, h' = o tanh(c')."""
    keep, forget, candidate, output = mb.split(x=gates, num_splits=4, axis=-1)
    fresh = mb.mul(x=mb.sigmoid(x=keep), y=mb.tanh(x=candidate))
    moved = mb.add(x=mb.mul(x=mb.sigmoid(x=forget), y=cell), y=fresh)
    return mb.mul(x=mb.sigmoid(x=output), y=mb.tanh(x=moved)), moved


def _gru_cell(gates: Variable, recurrent: Variable, state: Variable) -> Variable:
    """r, z = sigmoid(both sums), n = tanh(x part + r * h part), h' = n + z (h - n): torch's (1 - z) n + z h."""
    width = state.shape[-1]
    input_rz, input_n = mb.split(x=gates, split_sizes=[2 * width, width], axis=-1)
    hidden_rz, hidden_n = mb.split(x=recurrent, split_sizes=[2 * width, width], axis=-1)
    reset, update = mb.split(x=mb.sigmoid(x=mb.add(x=input_rz, y=hidden_rz)), num_splits=2, axis=-1)
    candidate = mb.tanh(x=mb.add(x=input_n, y=mb.mul(x=reset, y=hidden_n)))
    return mb.add(x=candidate, y=mb.mul(x=update, y=mb.sub(x=state, y=candidate)))
