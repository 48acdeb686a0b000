"""`GRU`: `torch.nn.GRU` with gradients linear in length on the CPU, and whole under `torch.compile`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._util.torch_compat import are_torchs_own, is_recorded, is_transformed
from ..ops.gru_cudnn import cudnn_is_offered
from ..ops.gru_mps import run_checked
from ..ops.gru_naive import Layers, step_loop
from .gru_base import GRUBase
from .gru_dispatch import run_in_cudnn, run_in_torch, run_on_core

_CHECKED = ("mps",)  # devices whose own recurrence is not trusted


class GRU(GRUBase):
    """A drop-in for `torch.nn.GRU`: same parameters, same results.

    On the CPU in float32 the recurrence runs in the core (without gradients, fewer than four sequences are torch's
    own). Under `torch.autocast("cpu", torch.bfloat16)`, on a CPU with bfloat16 products (AMX, AVX512-BF16), every
    product takes bfloat16 numbers; sums, gates and the state that goes from step to step stay float32. On other CPUs
    all stays in float32 under autocast: bfloat16 products are several times slower there. On CUDA it is cuDNN's, layer
    by layer. Elsewhere (float64, ROCm, both directions on a GPU, tensors of a class of their own, `torch.jit`,
    `torch.export`) it is torch's own; on MPS, too, once its results were seen to agree with the CPU's (`gru_mps`).
    Under torch.func's transforms, in forward-mode differentiation, and in gradients of gradients it is made of torch's
    plain operators.
    In the core, gradients of states below 2^-96 are taken for zero: denormal numbers would slow down long contexts a
    hundred times.

    It is no `torch.nn.GRU` to `isinstance` (which the compiler refuses), but a `torch.nn.RNNBase`. Tools that go by
    torch's own class, as `torch.ao.quantization` does, take what `as_torch` returns.

    Args:
        input_size: Width I of the inputs.
        hidden_size: Width H of the hidden states.
        num_layers: Layers L on top of each other.
        bias: Whether there are bias vectors.
        batch_first: Inputs and outputs are (B, N, ...) instead of (N, B, ...).
        dropout: Dropout between layers, in training mode only.
        bidirectional: Read backwards, too: each layer has 2 H states.
        device: Where the parameters are.
        dtype: Of the parameters.
        proj_size: Not offered, as in `torch.nn.GRU`: anything but 0 is an error.

    Attributes:
        recompute: Keep only the states of each layer for the backward pass, on the CPU and CUDA, and compute the rest
            of it again: a third more work, and for long sequences a fraction of the memory. False unless set.

    Raises:
        ValueError: a size below 1, a dropout outside [0, 1], or a projection.

    Example:
        >>> gru = GRU(input_size=16, hidden_size=8, num_layers=2, batch_first=True)
        >>> output, final = gru(torch.zeros(4, 10, 16))  # (B, N, I) -> (B, N, H) and (L, B, H)
        >>> output.shape, final.shape
        (torch.Size([4, 10, 8]), torch.Size([2, 4, 8]))
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
        device: Any = None,
        dtype: Any = None,
        proj_size: int = 0,
    ) -> None:
        if proj_size != 0:
            raise ValueError("GRU: proj_size argument is only supported for LSTM, not RNN or GRU")
        sizes = (input_size, hidden_size, num_layers)
        super().__init__("GRU", *sizes, bias, batch_first, dropout, bidirectional, device, dtype)

    def flatten_parameters(self) -> None:
        """Lay the parameters out for cuDNN, where torch's own recurrence runs in it: in both directions."""
        if self.bidirectional:
            super().flatten_parameters()

    def _run_layers(
        self, inputs: Tensor, hx: Tensor | None, weights: Layers, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        precision, ways = weights[0][1].dtype, self._ways
        shape = (len(weights), inputs.shape[1], self.hidden_size)
        initial = inputs.new_zeros(shape, dtype=precision) if hx is None else hx
        given = (inputs, initial, weights, self._dropout(), lengths)
        if (is_recorded() and lengths is None) or not are_torchs_own(inputs, hx, *sum(weights, ())):
            return run_in_torch(*given, ways)
        if self._on_core(inputs, inputs.shape[1], precision):
            return run_on_core(*given, self._recomputes(), ways)
        if ways == 2:
            return run_in_torch(*given, ways)
        if not torch.compiler.is_compiling() and is_transformed():
            return step_loop(*given)
        if inputs.is_cuda and cudnn_is_offered():
            return run_in_cudnn(*given, self._recomputes())
        if inputs.device.type in _CHECKED:
            # autocast made some of them bfloat16
            like = [(ih.to(precision), hh.to(precision), b.to(precision), c.to(precision)) for ih, hh, b, c in weights]
            exact = (inputs.to(precision), initial.to(precision), like, self._dropout(), lengths)
            return run_checked(*exact, native=run_in_torch, cpu=run_on_core)
        return run_in_torch(*given)
