"""`LSTM`: `torch.nn.LSTM` with a recurrence of its own on the CPU, and whole under `torch.compile`."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor

from .._util.torch_compat import are_torchs_own, is_recorded, is_transformed
from ..ops.gru_naive import Layers
from ..ops.lstm_naive import step_loop
from .lstm_base import LSTMBase
from .lstm_dispatch import Pair, run_in_torch, run_on_core
from .recurrent_arguments import MisfitError

State: TypeAlias = list[tuple[Tensor, Tensor]]  # hidden and cell state of every layer, (B, H) each


class LSTM(LSTMBase):
    """A drop-in for `torch.nn.LSTM`: same parameters, same results.

    On the CPU in float32 the recurrence runs in the core (without gradients, fewer than four sequences are torch's
    own). Under `torch.autocast("cpu")` all stays in float32: few CPUs have a bfloat16 LSTM, and torch's own raises an
    error on the others. Elsewhere (float64, GPUs, tensors of a class of their own, `torch.jit`, `torch.export`) it is
    torch's own. Under torch.func's transforms, in forward-mode differentiation, for which torch's own LSTM has no
    rules, and in gradients of gradients it is made of torch's plain operators. In the core, gradients of states below
    2^-96 are taken for zero: denormal numbers would slow down long contexts a hundred times.

    It is no `torch.nn.LSTM` to `isinstance` (which the compiler refuses), but a `torch.nn.RNNBase`. Tools that go by
    torch's own class, as `torch.ao.quantization` does, take what `as_torch` returns.

    Args:
        input_size: Width I of the inputs.
        hidden_size: Width H of the hidden states.
        num_layers: Layers L on top of each other.
        bias: Whether there are bias vectors.
        batch_first: Inputs and outputs are (B, N, ...) instead of (N, B, ...).
        dropout: Dropout between layers, in training mode only.
        bidirectional: Read backwards, too: each layer has 2 H states.
        proj_size: Not offered: anything but 0 is an error.
        device: Where the parameters are.
        dtype: Of the parameters.

    Attributes:
        recompute: Keep only the states of each layer for the backward pass, on the CPU, and compute the rest of it
            again: a third more work, and for long sequences a fraction of the memory. False unless set.

    Raises:
        ValueError: a size below 1, a dropout outside [0, 1], or a projection.

    Example:
        >>> lstm = LSTM(input_size=16, hidden_size=8, num_layers=2, batch_first=True)
        >>> output, (final, cell) = lstm(torch.zeros(4, 10, 16))  # (B, N, I) -> (B, N, H) and (L, B, H) each
        >>> output.shape, final.shape, cell.shape
        (torch.Size([4, 10, 8]), torch.Size([2, 4, 8]), torch.Size([2, 4, 8]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if proj_size != 0:
            advice = "projections are torch.nn.LSTM's own; use that class for them"
            raise ValueError(f"LSTM: proj_size: expected 0, got {proj_size}: {advice}")
        sizes = (input_size, hidden_size, num_layers)
        super().__init__("LSTM", *sizes, bias, batch_first, dropout, bidirectional, device, dtype)

    def start(self, batch_size: int) -> State:
        """Return the states before the first step, for `advance`: zeros."""
        zeros = self.layer_weights()[0][1].new_zeros(batch_size, self.hidden_size)
        return [(zeros, zeros)] * self.num_layers

    def advance(self, state: State, inputs: Tensor) -> tuple[Tensor, State]:
        """Take a step: states of every layer, inputs (B, I) -> the last hidden state (B, H), the next states.

        Raises:
            ValueError: the module reads both ways: it has no next step.
        """
        if self.bidirectional:
            raise ValueError("LSTM: advance: expected an LSTM that reads forwards only, got bidirectional=True")
        hidden, moved = inputs, []
        for before, weights in zip(state, self.layer_weights(), strict=True):
            hidden, cell = torch.lstm_cell(hidden, before, *weights)  # torch.lstm lays out its weights at every call
            moved.append((hidden, cell))
        return hidden, moved

    def _run_layers(
        self, inputs: Tensor, hx: Pair | None, weights: Layers, lengths: Tensor | None
    ) -> tuple[Tensor, Pair]:
        precision, ways = weights[0][1].dtype, self._ways
        shape = (len(weights), inputs.shape[1], self.hidden_size)
        zeros = inputs.new_zeros(shape, dtype=precision)
        initial = (zeros, zeros) if hx is None else (hx[0], hx[1])
        given = (inputs, initial, weights, self._dropout(), lengths)
        if (is_recorded() and lengths is None) or not are_torchs_own(inputs, *initial, *sum(weights, ())):
            return run_in_torch(*given, ways)
        if self._on_core(inputs, inputs.shape[1], precision):
            return run_on_core(*given, self._recomputes(), ways)
        if ways == 1 and not torch.compiler.is_compiling() and is_transformed():
            return step_loop(*given)
        if inputs.device.type != "cpu":
            return run_in_torch(*given, ways)
        like = (inputs.to(precision), (initial[0].to(precision), initial[1].to(precision)), *given[2:])
        with torch.autocast("cpu", enabled=False):  # few CPUs have a bfloat16 LSTM
            return run_in_torch(*like, ways)

    def _named_states(self, hx: object) -> dict[str, object]:
        if hx is None:
            return {}
        if not isinstance(hx, (tuple, list)) or len(hx) != 2:
            found = f"{len(hx)} of them" if isinstance(hx, (tuple, list)) else type(hx).__name__
            raise MisfitError(f"LSTM: hx: expected a tuple of hidden and cell states, got {found}")
        return {"hx[0]": hx[0], "hx[1]": hx[1]}
