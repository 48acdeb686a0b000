"""`GRU`: `torch.nn.GRU` with gradients linear in length on the CPU, and whole under `torch.compile`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from .._util.numbers import real_number, truth_value, whole_number
from .._util.tensors import check_dense
from .._util.torch_compat import (
    any_autocast,
    are_numbers_hidden,
    are_torchs_own,
    is_recorded,
    is_transformed,
    is_watched,
)
from ..ops.gru_cudnn import cudnn_is_offered
from ..ops.gru_mps import run_checked
from ..ops.gru_naive import Layers, step_loop
from .gru_base import GRUBase
from .gru_dispatch import run_in_cudnn, run_in_torch, run_on_core

_FEW = 4  # sequences: torch's forward is quicker for fewer
_CHECKED = ("mps",)  # devices whose own recurrence is not trusted


class MisfitError(ValueError, TypeError, RuntimeError):
    """The error for a misfit: a ValueError, as everywhere in this package, and the error that `torch.nn.GRU` raises."""


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

    Example:
        >>> gru = GRU(input_size=16, hidden_size=8, num_layers=2, batch_first=True)
        >>> output, final = gru(torch.zeros(4, 10, 16))  # (B, N, I) -> (B, N, H) and (L, B, H)
        >>> output.shape, final.shape
        (torch.Size([4, 10, 8]), torch.Size([2, 4, 8]))
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
        super().__init__(
            "GRU",
            _size("input_size", input_size),
            _size("hidden_size", hidden_size),
            _size("num_layers", num_layers),
            _truth("bias", bias),
            _truth("batch_first", batch_first),
            _share("dropout", dropout),
            _truth("bidirectional", bidirectional),
            device=device,
            dtype=dtype,
        )

    def forward(
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
            node: Any = self._as_node(input, hx)
            return node  # type: ignore[no-any-return]
        packed = input if isinstance(input, PackedSequence) else None
        check_dense("GRU: input", input if packed is None else packed.data)
        is_plain = constant is None and lengths is None and not every_layer
        if is_plain and is_recorded():
            return self._forward_in_torch(input, hx)
        if packed is None:
            self._check_dimensions(input, hx)
        elif not is_plain:
            raise ValueError("GRU: constant, lengths, every_layer: expected none with a PackedSequence, got some")
        if self.bidirectional:
            return self._forward_both_ways(input, hx, is_plain)
        layers = self.layer_weights()
        if is_plain and not are_torchs_own(input if packed is None else packed.data, hx, *sum(layers, ())):
            return self._forward_in_torch(input, hx)
        if packed is not None:
            return self._forward_packed(packed, hx, layers)
        if input.ndim == 2:
            input, hx = input.unsqueeze(1), None if hx is None else hx.unsqueeze(1)
            states, final = self._run(input, hx, layers, lengths, constant, every_layer)
            return self._own(states.to(final.dtype)).squeeze(-2), final.squeeze(1)
        states, final = self._run(self._steps_first(input), hx, layers, lengths, constant, every_layer)
        return self._steps_first(self._own(states.to(final.dtype))), final

    def flatten_parameters(self) -> None:
        """Lay the parameters out for cuDNN, where torch's own recurrence runs in it: in both directions."""
        if self.bidirectional:
            super().flatten_parameters()

    def states(self, inputs: Tensor, constant: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Return the last layer's states alone, from zero initial states; they are bfloat16 where the products are.

        Args:
            inputs: (B, N, I), or (B, N, I - C) where `constant` is given.
            constant: As in `forward`, (C,).
            lengths: As in `forward`, (B,).

        Returns:
            (B, N, H).
        """
        self._check_sequences("states", inputs)
        if is_watched(self):
            return self._laid_out(self(self._laid_out(inputs), constant=constant, lengths=lengths)[0])
        states, _ = self._run(inputs.transpose(0, 1), None, self.layer_weights(), lengths, constant)
        return self._own(states).transpose(0, 1)

    def last_state(self, inputs: Tensor, constant: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """The last layer's state after each sequence's last step, (B, H); the arguments are those of `states`."""
        self._check_sequences("last_state", inputs)
        if is_watched(self):
            watched: Tensor = self(self._laid_out(inputs), constant=constant, lengths=lengths)[1]
            return watched[-1]
        _, final = self._run(inputs.transpose(0, 1), None, self.layer_weights(), lengths, constant)
        return final[-1]

    def layer_states(self, inputs: Tensor) -> Tensor:
        """Return every layer's states after every step, from zero initial states: (B, N, I) -> (L, B, N, H)."""
        self._check_sequences("layer_states", inputs)
        return self._laid_out(self(self._laid_out(inputs), every_layer=True)[0])

    def layer_weights(self) -> Layers:
        """Return each layer's weight_ih, weight_hh, bias_ih and bias_hh (zeros where there is no bias).

        They are read as they stand, once each, whatever has taken a parameter's place (`parametrizations`, `prune`).
        """
        layers: Layers = []
        for layer in range(self.num_layers):
            weights = [getattr(self, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh")]
            if self.bias:
                biases = [getattr(self, f"{name}_l{layer}") for name in ("bias_ih", "bias_hh")]
            else:
                biases = 2 * [weights[1].new_zeros(3 * self.hidden_size)]
            layers.append((weights[0], weights[1], biases[0], biases[1]))
        return layers

    def _forward_both_ways(self, input: Any, hx: Tensor | None, is_plain: bool) -> tuple[Any, Tensor]:
        if not is_plain:
            self._check_one_way("constant, lengths, every_layer")
        if isinstance(input, Tensor):
            steps = input.unsqueeze(1) if input.ndim == 2 else self._steps_first(input)
            initial = hx.unsqueeze(1) if hx is not None and input.ndim == 2 else hx
            self._check(steps, initial, None, getattr(self, self._flat_weights_names[0]).dtype)
        return self._forward_in_torch(input, hx)

    def _forward_packed(
        self, packed: PackedSequence, hx: Tensor | None, layers: Layers
    ) -> tuple[PackedSequence, Tensor]:
        """Return the sequences in their sorted order, padded."""
        data, batch_sizes, order, back = packed
        steps, batch = len(batch_sizes), int(batch_sizes[0])
        rows = (torch.arange(batch) < batch_sizes[:, None]).flatten().nonzero().squeeze(1).to(data.device)
        padded = data.new_zeros(steps * batch, *data.shape[1:]).index_copy(0, rows, data).view(steps, batch, -1)
        lengths = (batch_sizes[:, None] > torch.arange(batch)).sum(dim=0)
        states, final = self._run(padded, None if hx is None else self.permute_hidden(hx, order), layers, lengths)
        packed_states = states.to(final.dtype).flatten(0, 1).index_select(0, rows)
        return PackedSequence(packed_states, batch_sizes, order, back), self.permute_hidden(final, back)

    def _run(
        self,
        inputs: Tensor,
        hx: Tensor | None,
        layers: Layers,
        lengths: Tensor | None,
        constant: Tensor | None = None,
        every_layer: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """(N, B, I) -> states (N, B, H), or (L, N, B, H) of every layer, and final states (L, B, H)."""
        weight, weight_hh, bias, bias_hh = layers[0]
        self._check(inputs, hx, constant, weight.dtype)
        lengths = checked_lengths(lengths, inputs)
        if constant is not None:  # into the bias
            width = inputs.shape[2]
            fixed = F.linear(constant, weight[:, width:], bias)
            layers = [(weight[:, :width], weight_hh, fixed, bias_hh), *layers[1:]]
        if not every_layer:
            return self._run_layers(inputs, hx, layers, lengths)
        below, every, finals = inputs, [], []
        for layer, weights in enumerate(layers):
            dropped = F.dropout(below, self._dropout()) if layer else below
            below, final = self._run_layers(dropped, None if hx is None else hx[layer : layer + 1], [weights], lengths)
            every.append(below)
            finals.append(final)
        return torch.stack(every), torch.cat(finals)

    def _run_layers(
        self, inputs: Tensor, hx: Tensor | None, weights: Layers, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Run the layers where they are fastest; (N, B, I) -> states and final states, as `_run`."""
        precision = weights[0][1].dtype
        shape = (len(weights), inputs.shape[1], self.hidden_size)
        initial = inputs.new_zeros(shape, dtype=precision) if hx is None else hx
        given = (inputs, initial, weights, self._dropout(), lengths)
        if (is_recorded() and lengths is None) or not are_torchs_own(inputs, hx, *sum(weights, ())):
            return run_in_torch(*given)
        if self._on_core(inputs, precision):
            return run_on_core(*given, self._recomputes())
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

    def _dropout(self) -> float:
        return self.dropout if self.training else 0.0

    def _recomputes(self) -> bool:
        if torch.compiler.is_compiling():
            return self.recompute and torch.is_grad_enabled()
        return self.recompute and torch.is_grad_enabled() and not is_transformed()

    def _on_core(self, inputs: Tensor, precision: torch.dtype) -> bool:
        if inputs.device.type != "cpu" or precision != torch.float32:
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

    def _check_sequences(self, what: str, inputs: Any) -> None:
        self._check_one_way(what)
        check_dense(f"GRU: {what}: inputs", inputs)
        if inputs.ndim != 3:
            raise ValueError(f"GRU: {what}: inputs: expected 3 dimensions, got shape {tuple(inputs.shape)}")

    def _check_dimensions(self, input: Tensor, hx: Any) -> None:
        if input.ndim not in (2, 3):
            raise MisfitError(f"GRU: Expected input to be 2D or 3D, got {input.ndim}D instead")
        if hx is None:
            return
        check_dense("GRU: hx", hx)
        if hx.ndim != input.ndim:
            raise MisfitError(f"GRU: hx: expected {input.ndim} dimensions, as many as input has, got {hx.ndim}")

    def _check(self, inputs: Tensor, hx: Tensor | None, constant: Tensor | None, dtype: torch.dtype) -> None:
        """In torch's words where it has some, for programs that look for them."""
        steps, batch, width = inputs.shape
        if constant is not None:
            check_dense("GRU: constant", constant)
            if constant.ndim != 1:
                raise ValueError(f"GRU: constant: expected one dimension, got shape {tuple(constant.shape)}")
        expected = self.input_size - (0 if constant is None else len(constant))
        if width != expected:
            rule = "input.size(-1) must be equal to input_size"
            raise MisfitError(f"GRU: input: expected {expected} numbers a step, got {width}; {rule}")
        if steps == 0:
            raise MisfitError("GRU: input: Expected sequence length to be larger than 0 in RNN, got 0 steps")
        size = (self.num_layers * (2 if self.bidirectional else 1), batch, self.hidden_size)
        if hx is not None and tuple(hx.shape) != size:
            raise MisfitError(f"GRU: hx: Expected hidden size {size}, got {tuple(hx.shape)}")
        if any_autocast():
            return
        if inputs.dtype != dtype:
            advice = f"Convert input: input.to({dtype}), or convert model: model.to({inputs.dtype})"
            raise MisfitError(f"GRU: RNN input dtype ({inputs.dtype}) does not match weight dtype ({dtype}). {advice}")
        for name, tensor in {"hx": hx, "constant": constant}.items():
            if tensor is not None and tensor.dtype != dtype:
                raise MisfitError(f"GRU: {name}: expected {dtype}, as input and weights are, got {tensor.dtype}")


def _size(name: str, value: Any) -> int:
    try:
        return whole_number(value, f"GRU: {name}", least=1)
    except ValueError as error:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        rule = "must be greater than zero" if is_whole else f"should be of type int, got: {type(value).__name__}"
        raise MisfitError(f"{error} ({name} {rule})") from None


def _truth(name: str, value: Any) -> bool:
    try:
        return truth_value(value, f"GRU: {name}")
    except ValueError as error:
        raise MisfitError(f"{error} ({name} should be of type bool, got: {type(value).__name__})") from None


def _share(name: str, value: Any) -> float:
    try:
        return real_number(value, f"GRU: {name}", least=0.0, most=1.0)
    except ValueError as error:
        raise MisfitError(f"{error} ({name} should be a number in range [0, 1])") from None


def checked_lengths(lengths: Any, inputs: Tensor) -> Tensor | None:
    """Lengths for inputs (N, B, I), None where all are N. Raises ValueError unless they are integers (B,), 1 to N."""
    if lengths is None:
        return None
    steps, batch, _ = inputs.shape
    if not isinstance(lengths, Tensor) or lengths.layout != torch.strided or lengths.is_nested:
        raise ValueError(f"GRU: lengths: expected a dense tensor of integers, got {type(lengths).__name__}")
    if lengths.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"GRU: lengths: expected torch.int64 or torch.int32, got {lengths.dtype}")
    if lengths.shape != (batch,):
        raise ValueError(f"GRU: lengths: expected shape ({batch},), one a sequence, got {tuple(lengths.shape)}")
    if are_numbers_hidden() or batch == 0:
        return lengths
    counts = lengths.tolist()
    if min(counts) < 1 or max(counts) > steps:
        row = next(row for row, count in enumerate(counts) if not 1 <= count <= steps)
        raise ValueError(f"GRU: lengths[{row}] is {counts[row]}; expected 1 to {steps}")
    return None if min(counts) == steps else lengths
