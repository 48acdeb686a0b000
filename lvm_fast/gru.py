"""`GRU`: `torch.nn.GRU` with gradients linear in length on the CPU, and whole under `torch.compile`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ._util.numbers import real_number, truth_value, whole_number
from ._util.tensors import check_dense
from ._util.torch_compat import are_torchs_own, is_recorded, is_transformed, is_watched
from .gru_base import GRUBase
from .gru_cudnn_ops import cudnn_is_offered
from .gru_mps import run_checked
from .gru_plain import Layers, step_loop
from .gru_run import run_in_cudnn, run_in_torch, run_on_core

_FEW = 4  # sequences: torch's forward is quicker for fewer
_CHECKED = ("mps",)  # devices whose own recurrence is not trusted


class Misfit(ValueError, RuntimeError):
    """A tensor that does not fit: `torch.nn.GRU` raises a RuntimeError, this package a ValueError, so it is both."""


class GRU(GRUBase):
    """A drop-in for `torch.nn.GRU`: same parameters, same results.

    On the CPU in float32 the recurrence runs in the core (without gradients, fewer than four sequences are torch's
    own). Under `torch.autocast("cpu", torch.bfloat16)`, on a CPU with bfloat16 products (AMX, AVX512-BF16), every
    product takes bfloat16 numbers; sums, gates and the state that goes from step to step stay float32. On other CPUs
    autocast leaves the recurrence in float32. On CUDA it is cuDNN's, layer by layer. Elsewhere (float64, ROCm, both
    directions, tensors of a class of their own, `torch.jit`, `torch.export`) it is torch's own; on MPS, too, once its
    results were seen to agree with the CPU's (`gru_mps`). Under torch.func's transforms, in forward-mode
    differentiation, and in gradients of gradients it is made of torch's plain operators.
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
        bidirectional: Read backwards, too, in torch's own recurrence; `states` and its kin are not offered then.
        device: Where the parameters are.
        dtype: Of the parameters.
        proj_size: Not offered, as in `torch.nn.GRU`: anything but 0 is an error.

    Attributes:
        recompute: Keep only the states of each layer for the backward pass, on the CPU and CUDA, and compute the rest
            of it again: a third more work, and for long sequences a fraction of the memory. False unless set.

    Raises:
        ValueError: a size below 1, a dropout outside [0, 1], or a projection.
    """

    recompute = False

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
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        super().__init__(
            "GRU",
            **{name: whole_number(size, f"GRU: {name}", least=1) for name, size in sizes.items()},
            bias=truth_value(bias, "GRU: bias"),
            batch_first=truth_value(batch_first, "GRU: batch_first"),
            dropout=real_number(dropout, "GRU: dropout", least=0.0, most=1.0),
            bidirectional=truth_value(bidirectional, "GRU: bidirectional"),
            device=device,
            dtype=dtype,
        )

    def forward(  # type: ignore[override]
        self,
        input: Any,
        hx: Tensor | None = None,
        *,
        constant: Tensor | None = None,
        lengths: Tensor | None = None,
        every_layer: bool = False,
    ) -> tuple[Any, Tensor]:
        """Run over a batch of sequences.

        Args:
            input: (N, B, I), (B, N, I) if batch_first, (N, I) for one sequence, or a `PackedSequence`.
            hx: Initial states (L, B, H), (L, H) for one sequence; zeros when left out.
            constant: (C,) numbers that follow each step's own, of which there are I - C then.
            lengths: (B,) steps of each sequence, 1 to N, integers; what comes after them may be anything, and so may
                the states there. None for N.
            every_layer: Return all layers' states.

        Returns:
            The last layer's states after every step, laid out as the input, or all layers', with (L,) in front; and
            the final states (L, B, H).

        Raises:
            ValueError: something does not fit; where `torch.nn.GRU` raises a RuntimeError it is one, too.
        """
        if isinstance(input, torch.fx.Proxy):
            return self._as_node(input, hx)  # type: ignore[no-any-return]
        if not (every_layer or lengths is not None or constant is not None) and self._is_left_to_torch(input, hx):
            return nn.GRU.forward(self, input, hx)  # type: ignore[arg-type]
        self._check_one_way("lengths, constant and every_layer")
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        self._check_dimensions(input, hx)
        if input.ndim == 2:
            input, hx = input.unsqueeze(1), None if hx is None else hx.unsqueeze(1)
            states, final = self._run(input, hx, lengths, constant, every_layer)
            return self._own(states.to(final.dtype)).squeeze(-2), final.squeeze(1)
        states, final = self._run(self._steps_first(input), hx, lengths, constant, every_layer)
        return self._steps_first(self._own(states.to(final.dtype))), final

    def states(self, inputs: Tensor, constant: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """The last layer's states alone, from zero initial states; they are bfloat16 where the products are.

        Args:
            inputs: (B, N, I), or (B, N, I - C) where `constant` is given.
            constant: As in `forward`, (C,).
            lengths: As in `forward`, (B,).

        Returns:
            (B, N, H).
        """
        self._check_one_way("states")
        if is_watched(self):
            return self._laid_out(self(self._laid_out(inputs), constant=constant, lengths=lengths)[0])
        return self._own(self._run(inputs.transpose(0, 1), None, lengths, constant)[0]).transpose(0, 1)

    def last_state(self, inputs: Tensor, constant: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """The last layer's state after each sequence's last step, (B, H); the arguments are those of `states`."""
        self._check_one_way("last_state")
        if is_watched(self):
            final: Tensor = self(self._laid_out(inputs), constant=constant, lengths=lengths)[1]
            return final[-1]
        return self._run(inputs.transpose(0, 1), None, lengths, constant)[1][-1]

    def layer_states(self, inputs: Tensor) -> Tensor:
        """Every layer's states after every step, from zero initial states: (B, N, I) -> (L, B, N, H)."""
        self._check_one_way("layer_states")
        return self._laid_out(self(self._laid_out(inputs), every_layer=True)[0])

    def _is_left_to_torch(self, input: Any, hx: Tensor | None) -> bool:
        """Whether torch's own `forward` has to do it: it can record itself, and knows classes of tensors that we do not."""
        if self.bidirectional or is_recorded():
            return True
        data = input.data if isinstance(input, PackedSequence) else input
        return not are_torchs_own(data, hx, *(getattr(self, name) for name in self._flat_weights_names))

    def _forward_packed(self, packed: PackedSequence, hx: Tensor | None) -> tuple[PackedSequence, Tensor]:
        """The sequences in their sorted order, padded."""
        data, batch_sizes, order, back = packed
        check_dense("GRU: input", data)
        steps, batch = len(batch_sizes), int(batch_sizes[0])
        rows = (torch.arange(batch) < batch_sizes[:, None]).flatten().nonzero().squeeze(1).to(data.device)
        padded = data.new_zeros(steps * batch, *data.shape[1:]).index_copy(0, rows, data).unflatten(0, (steps, batch))
        lengths = (batch_sizes[:, None] > torch.arange(batch)).sum(dim=0)
        hx = None if hx is None else self.permute_hidden(hx, order)
        states, final = self._run(padded, hx, lengths)
        found = states.to(final.dtype).flatten(0, 1).index_select(0, rows)
        return PackedSequence(found, batch_sizes, order, back), self.permute_hidden(final, back)

    def _run(
        self,
        inputs: Tensor,
        hx: Tensor | None,
        lengths: Tensor | None,
        constant: Tensor | None = None,
        every_layer: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """(N, B, I) -> states (N, B, H), or (L, N, B, H) of every layer, and final states (L, B, H)."""
        self._check(inputs, hx, constant)
        lengths = checked_lengths(lengths, inputs)
        weights = self._weights(constant)
        if not every_layer:
            return self._run_layers(inputs, hx, weights, lengths)
        below, every, finals = inputs, [], []
        for layer, own in enumerate(weights):
            dropped = F.dropout(below, self._dropout()) if layer else below
            below, final = self._run_layers(dropped, None if hx is None else hx[layer : layer + 1], [own], lengths)
            every.append(below)
            finals.append(final)
        return torch.stack(every), torch.cat(finals)

    def _run_layers(
        self, inputs: Tensor, hx: Tensor | None, weights: Layers, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The layers with these weights, wherever they run best; (N, B, I) -> states and final states, as `_run`."""
        precision = weights[0][1].dtype
        shape = (len(weights), inputs.shape[1], self.hidden_size)
        initial = inputs.new_zeros(shape, dtype=precision) if hx is None else hx
        given = (inputs, initial, weights, self._dropout(), lengths)
        if self._on_core(inputs):
            return run_on_core(*given, self._recomputes())
        if not torch.compiler.is_compiling() and is_transformed():
            return step_loop(*given)
        if inputs.is_cuda and cudnn_is_offered():
            return run_in_cudnn(*given, self._recomputes())
        if inputs.device.type in _CHECKED:
            # autocast made some of them half
            like = [(ih.to(precision), hh.to(precision), b.to(precision), c.to(precision)) for ih, hh, b, c in weights]
            exact = (inputs.to(precision), initial.to(precision), like, self._dropout(), lengths)
            return run_checked(*exact, native=run_in_torch, cpu=run_on_core)
        return run_in_torch(*given)

    def _weights(self, constant: Tensor | None) -> Layers:
        """Each layer's, whatever has taken a parameter's place; layer 0's with the constant inputs in its bias."""
        layers: Layers = []
        for layer in range(self.num_layers):
            w_ih, w_hh = getattr(self, f"weight_ih_l{layer}"), getattr(self, f"weight_hh_l{layer}")
            if self.bias:
                layers.append((w_ih, w_hh, getattr(self, f"bias_ih_l{layer}"), getattr(self, f"bias_hh_l{layer}")))
            else:
                layers.append((w_ih, w_hh, *(w_hh.new_zeros(3 * self.hidden_size) for _ in range(2))))
        if constant is not None:
            w_ih, w_hh, b_ih, b_hh = layers[0]
            width = self.input_size - len(constant)
            layers[0] = (w_ih[:, :width], w_hh, F.linear(constant, w_ih[:, width:], b_ih), b_hh)
        return layers

    def _dropout(self) -> float:
        return self.dropout if self.training else 0.0

    def _recomputes(self) -> bool:
        if torch.compiler.is_compiling():
            return self.recompute and torch.is_grad_enabled()
        return self.recompute and torch.is_grad_enabled() and not is_transformed()

    def _on_core(self, inputs: Tensor) -> bool:
        if inputs.device.type != "cpu" or getattr(self, "weight_hh_l0").dtype != torch.float32:
            return False
        if torch.compiler.is_compiling() or torch.is_grad_enabled() or inputs.shape[1] >= _FEW:
            return True
        return is_transformed()

    def _own(self, states: Tensor) -> Tensor:
        """States that the caller may write to: not those that the backward pass will read."""
        if not states.requires_grad or self.recompute or not (torch.compiler.is_compiling() or states._is_view()):
            return states
        return states.clone()

    def _steps_first(self, sequences: Tensor) -> Tensor:
        """Sequences as `forward` takes them -> (N, B, ...), and back; whatever stands before these dimensions."""
        return sequences.transpose(-3, -2) if self.batch_first else sequences

    def _laid_out(self, sequences: Tensor) -> Tensor:
        """(B, N, ...) -> sequences as `forward` takes them, and back; whatever stands before these dimensions."""
        return sequences if self.batch_first else sequences.transpose(-3, -2)

    def _check_one_way(self, what: str) -> None:
        if self.bidirectional:
            raise ValueError(f"GRU: {what}: expected a GRU that reads forwards only, got bidirectional=True")

    def _check_dimensions(self, input: Any, hx: Any) -> None:
        check_dense("GRU: input", input)
        if input.ndim not in (2, 3):
            raise Misfit(f"GRU: input: expected 2 or 3 dimensions, got {input.ndim}")
        if hx is not None and hx.ndim != input.ndim:
            raise Misfit(f"GRU: hx: expected {input.ndim} dimensions, as many as input has, got {hx.ndim}")

    def _check(self, inputs: Tensor, hx: Tensor | None, constant: Tensor | None) -> None:
        """Torch's words where it has some, for programs that look for them."""
        check_dense("GRU: input", inputs)
        steps, batch, width = inputs.shape
        expected = self.input_size - (0 if constant is None else len(constant))
        if width != expected:
            got = f"shape {tuple(inputs.shape)}; input.size(-1) must be equal to input_size"
            raise Misfit(f"GRU: input: expected (steps, batch, {expected}) numbers, got {got}")
        if steps == 0:
            raise Misfit("GRU: input: Expected sequence length to be larger than 0 in RNN, got 0 steps")
        size = (self.num_layers, batch, self.hidden_size)
        if hx is not None and tuple(hx.shape) != size:
            raise Misfit(f"GRU: hx: Expected hidden size {size}, got {tuple(hx.shape)}")
        if torch.is_autocast_enabled(inputs.device.type):
            return
        dtype = getattr(self, "weight_hh_l0").dtype
        for name, tensor in {"input": inputs, "hx": hx, "constant": constant}.items():
            if tensor is not None and tensor.dtype != dtype:
                raise Misfit(f"GRU: {name}: expected {dtype}, the weights' dtype, got {tensor.dtype}")


def checked_lengths(lengths: Any, inputs: Tensor) -> Tensor | None:
    """Lengths for inputs (N, B, I), None where all are N. Raises ValueError unless they are integers (B,), 1 to N."""
    if lengths is None:
        return None
    steps, batch, _ = inputs.shape
    if not isinstance(lengths, Tensor) or lengths.layout != torch.strided or lengths.is_nested:
        raise ValueError(f"GRU: lengths: expected a dense tensor of integers, got {type(lengths).__name__}")
    if lengths.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"GRU: lengths: expected torch.int64, got {lengths.dtype}")
    if lengths.shape != (batch,):
        raise ValueError(f"GRU: lengths: expected shape ({batch},), one a sequence, got {tuple(lengths.shape)}")
    if torch.compiler.is_compiling() or is_transformed() or batch == 0:  # nobody may look at the numbers
        return lengths
    counts = lengths.tolist()
    if min(counts) < 1 or max(counts) > steps:
        row = next(row for row, count in enumerate(counts) if not 1 <= count <= steps)
        raise ValueError(f"GRU: lengths[{row}] is {counts[row]}; expected 1 to {steps}")
    return None if min(counts) == steps else lengths
