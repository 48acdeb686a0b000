"""Layers as MIL operations: each call adds to the function being built and returns its output variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .toolkit import mb, types

Arrays: TypeAlias = Mapping[str, NDArray[np.float32]]
Variable: TypeAlias = Any  # a MIL variable; coremltools has no type stubs

MIL_TYPES = {"float16": types.fp16, "float32": types.fp32}


def mil_name(name: str) -> str:
    """A tensor's name as a MIL identifier, which knows no dots."""
    return name.replace(".", "_")


class Layers:
    """Layers that compute in one precision and draw their constants from one set of arrays.

    A constant is stored once in a package, however many functions and loop bodies use it.

    Args:
        arrays: The constants by name, float32.
        precision: "float16" or "float32": the dtype of constants and of every layer's input and output.

    Raises:
        ValueError: An array is NaN or infinite, or holds a number that the precision cannot.
    """

    def __init__(self, arrays: Arrays, precision: str) -> None:
        for name, array in arrays.items():
            largest = np.abs(array).max()
            if not largest <= np.finfo(precision).max:
                raise ValueError(f"export_coreml: {name} holds {largest:g}; expected at most the largest {precision}")
        self.arrays = arrays
        self.precision = precision

    def constant(self, name: str) -> Variable:
        """The array called `name`; call it once a block."""
        variable = mb.const(val=self.arrays[name].astype(self.precision), name=mil_name(name))
        variable.op.weight_id = name  # constants of one id share one place in the weight file
        return variable

    def narrow(self, x: Variable) -> Variable:
        """`x` in the precision of the layers."""
        return cast(x, self.precision)

    def linear(self, x: Variable, weight: str, bias: str) -> Variable:
        """``x W^T + b`` for the named constants."""
        return mb.linear(x=x, weight=self.constant(weight), bias=self.constant(bias))

    def layer_norm(self, x: Variable, prefix: str) -> Variable:
        """LayerNorm over the last axis, with torch's epsilon."""
        gamma, beta = self.constant(f"{prefix}.weight"), self.constant(f"{prefix}.bias")
        return mb.layer_norm(x=x, axes=[-1], gamma=gamma, beta=beta, epsilon=np.dtype(self.precision).type(1e-5))

    def gru_step(self, gates: Variable, hidden: Sequence[Variable]) -> list[Variable]:
        """One time step of a stacked `torch.nn.GRU` whose parameters are called ``gru.<its name>``.

        Args:
            gates: ``W_ih x + b_ih`` of layer 0, (1, 3H): reset, update and candidate part.
            hidden: The hidden state of every layer, (1, H) each.

        Returns:
            The next hidden state of every layer, (1, H) each.
        """
        states: list[Variable] = []
        for layer, state in enumerate(hidden):
            if layer > 0:
                gates = self.linear(states[-1], f"gru.weight_ih_l{layer}", f"gru.bias_ih_l{layer}")  # (1, 3H)
            recurrent = self.linear(state, f"gru.weight_hh_l{layer}", f"gru.bias_hh_l{layer}")  # (1, 3H)
            states.append(_gru_cell(gates, recurrent, state))
        return states

    def gru_loop(self, gates: Variable, num_layers: int) -> Variable:
        """A stacked GRU over N steps from zero states, as one loop that carries nothing but the hidden states.

        Args:
            gates: ``W_ih x + b_ih`` of layer 0 for all steps, (N, 3H).
            num_layers: Layers on top of each other.

        Returns:
            The last layer's hidden state after step N, (1, H).
        """
        steps, width = gates.shape[0], gates.shape[1] // 3
        zero = np.dtype(self.precision).type(0)

        def unfinished(step: Variable, *_: Variable) -> Variable:
            return mb.less(x=step, y=np.array([steps], np.int32))

        def advance(step: Variable, *hidden: Variable) -> tuple[Variable, ...]:
            current = mb.gather(x=gates, indices=step, axis=0)  # (1, 3H)
            return mb.add(x=step, y=np.array([1], np.int32)), *self.gru_step(current, hidden)

        states = [mb.fill(shape=[1, width], value=zero, name=f"hidden_{layer}") for layer in range(num_layers)]
        loop_vars = (mb.const(val=np.array([0], np.int32), name="step"), *states)
        return mb.while_loop(_cond=unfinished, _body=advance, loop_vars=loop_vars, name="steps")[-1]


def _gru_cell(gates: Variable, recurrent: Variable, state: Variable) -> Variable:
    """r, z = sigmoid(both sums), n = tanh(x part + r * h part), h' = n + z (h - n): torch's (1 - z) n + z h."""
    width = state.shape[-1]
    input_rz, input_n = mb.split(x=gates, split_sizes=[2 * width, width], axis=-1)
    hidden_rz, hidden_n = mb.split(x=recurrent, split_sizes=[2 * width, width], axis=-1)
    reset, update = mb.split(x=mb.sigmoid(x=mb.add(x=input_rz, y=hidden_rz)), num_splits=2, axis=-1)
    candidate = mb.tanh(x=mb.add(x=input_n, y=mb.mul(x=reset, y=hidden_n)))
    return mb.add(x=candidate, y=mb.mul(x=update, y=mb.sub(x=state, y=candidate)))


def cast(x: Variable, precision: str) -> Variable:
    """`x` as "float16" or "float32"; itself where it is that already."""
    wanted = MIL_TYPES[precision]
    return x if x.dtype == wanted else mb.cast(x=x, dtype=types.builtin_to_string(wanted))


def norm(x: Variable) -> Variable:
    """Length of a row vector (1, D) -> (1, 1)."""
    return mb.reduce_l2_norm(x=x, axes=[-1], keep_dims=True)


def unit(x: Variable) -> Variable:
    """`torch.nn.functional.normalize`: x / max(||x||, 1e-12), in float32 since that bound is zero in float16."""
    wide = cast(x, "float32")
    return mb.real_div(x=wide, y=mb.maximum(x=norm(wide), y=np.float32(1e-12)))
