"""What GRU and LSTM have in common: how they take sequences and states, and give them back."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from .._util.tensors import check_dense
from .._util.torch_compat import any_autocast, are_torchs_own, is_recorded, is_transformed, is_watched
from ..ops.gru_naive import Layers
from .recurrent_arguments import MisfitError, checked_lengths, share_of, size_of, truth_of
from .recurrent_base import RecurrentBase

State: TypeAlias = Any  # Tensor, or a tuple of them: hidden state of a GRU, hidden and cell state of an LSTM

_FEW = 4  # sequences: torch's forward is quicker for fewer


class Recurrent(RecurrentBase):
    """A recurrent module; see `lvm_fast.layers.gru.GRU` and `lvm_fast.layers.lstm.LSTM`."""

    recompute = False

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__(
            mode,
            size_of(mode, "input_size", input_size),
            size_of(mode, "hidden_size", hidden_size),
            size_of(mode, "num_layers", num_layers),
            truth_of(mode, "bias", bias),
            truth_of(mode, "batch_first", batch_first),
            share_of(mode, "dropout", dropout),
            truth_of(mode, "bidirectional", bidirectional),
            device=device,
            dtype=dtype,
        )

    @abstractmethod
    def _run_layers(
        self, inputs: Tensor, hx: State | None, weights: Layers, lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        """Run layers where they are fastest; arguments and results as those of `_run`."""

    def forward(
        self,
        input: Any,
        hx: State | None = None,
        *,
        constant: Tensor | None = None,
        lengths: Tensor | None = None,
        every_layer: bool = False,
    ) -> tuple[Any, State]:
        """Run over a batch of sequences; K is 2 if `bidirectional`, else 1.

        Args:
            input: (N, B, I), (B, N, I) if batch_first, (N, I) for one sequence, or a `PackedSequence`.
            hx: Initial states (K L, B, H), (K L, H) for one sequence; of an LSTM a tuple of hidden and cell states.
                Zeros when left out.
            constant: (C,) numbers that follow each step's own, of which there are I - C then.
            lengths: (B,) steps of each sequence, 1 to N, integers; what comes after them may be anything, and so may
                the states there. None for N.
            every_layer: Return all layers' states.

        Returns:
            The last layer's states (N, B, K H) after every step, laid out as the input, or all layers', with (L,) in
            front; and the final states (K L, B, H), of an LSTM a tuple of hidden and cell states.

        Raises:
            ValueError: something does not fit; where torch raises a RuntimeError it is one, too.
        """
        if isinstance(input, torch.fx.Proxy):
            node: Any = self._as_node(input, hx)
            return node  # type: ignore[no-any-return]
        packed = input if isinstance(input, PackedSequence) else None
        data: Any = input if packed is None else packed.data
        check_dense(f"{self.mode}: input", data)
        is_plain = constant is None and lengths is None and not every_layer
        if is_plain and is_recorded():
            return self._forward_in_torch(input, hx)
        if packed is None:
            self._check_dimensions(input, hx)
        elif not is_plain:
            found = "expected none with a PackedSequence, got some"
            raise ValueError(f"{self.mode}: constant, lengths, every_layer: {found}")
        layers = self.layer_weights()
        if is_plain and not are_torchs_own(data, *as_tuple(hx), *sum(layers, ())):
            return self._forward_in_torch(input, hx)
        if packed is not None:
            return self._forward_packed(packed, hx, layers)
        if input.ndim == 2:
            initial = each(hx, lambda tensor: tensor.unsqueeze(1))
            states, final = self._run(input.unsqueeze(1), initial, layers, lengths, constant, every_layer)
            states = self._own(states.to(as_tuple(final)[0].dtype))
            return states.squeeze(-2), each(final, lambda tensor: tensor.squeeze(1))
        states, final = self._run(self._steps_first(input), hx, layers, lengths, constant, every_layer)
        return self._steps_first(self._own(states.to(as_tuple(final)[0].dtype))), final

    def states(self, inputs: Tensor, constant: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Return the last layer's states alone, from zero initial states; they are bfloat16 where the products are.

        Args:
            inputs: (B, N, I), or (B, N, I - C) where `constant` is given.
            constant: As in `forward`, (C,).
            lengths: As in `forward`, (B,).

        Returns:
            (B, N, K H).
        """
        self._check_sequences("states", inputs)
        if is_watched(self):
            return self._laid_out(self(self._laid_out(inputs), constant=constant, lengths=lengths)[0])
        states, _ = self._run(inputs.transpose(0, 1), None, self.layer_weights(), lengths, constant)
        return self._own(states).transpose(0, 1)

    def last_state(self, inputs: Tensor, constant: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """The last layer's hidden state after each sequence's last step, (B, K H); the arguments are those of `states`.

        Beside it stands that of the way back, after the first step, if the module is `bidirectional`.
        """
        self._check_sequences("last_state", inputs)
        if is_watched(self):
            final = self(self._laid_out(inputs), constant=constant, lengths=lengths)[1]
        else:
            _, final = self._run(inputs.transpose(0, 1), None, self.layer_weights(), lengths, constant)
        last: Tensor = as_tuple(final)[0][-self._ways :]  # (K, B, H)
        return last[0] if self._ways == 1 else torch.cat((last[0], last[1]), dim=1)

    def layer_states(self, inputs: Tensor) -> Tensor:
        """Return every layer's states after every step, from zero initial states: (B, N, I) -> (L, B, N, K H)."""
        self._check_sequences("layer_states", inputs)
        return self._laid_out(self(self._laid_out(inputs), every_layer=True)[0])

    def layer_weights(self) -> Layers:
        """Return each layer's weight_ih, weight_hh, bias_ih and bias_hh (zeros where there is no bias).

        A layer that reads both ways has two entries, the way back second. They are read as they stand, once each,
        whatever has taken a parameter's place (`parametrizations`, `prune`).
        """
        layers: Layers = []
        for place in range(self.num_layers * self._ways):
            suffix = f"_l{place // self._ways}" + ("_reverse" if place % self._ways else "")
            weights = [getattr(self, f"{name}{suffix}") for name in ("weight_ih", "weight_hh")]
            if self.bias:
                biases = [getattr(self, f"{name}{suffix}") for name in ("bias_ih", "bias_hh")]
            else:
                biases = 2 * [weights[1].new_zeros(weights[1].shape[0])]
            layers.append((weights[0], weights[1], biases[0], biases[1]))
        return layers

    @property
    def _ways(self) -> int:
        return 2 if self.bidirectional else 1

    def _forward_packed(self, packed: PackedSequence, hx: State | None, layers: Layers) -> tuple[PackedSequence, State]:
        """Return the sequences in their sorted order, padded."""
        data, batch_sizes, order, back = packed
        steps, batch = len(batch_sizes), int(batch_sizes[0])
        if not self._pads(data, batch):
            return self._forward_in_torch(packed, hx)
        rows = (torch.arange(batch) < batch_sizes[:, None]).flatten().nonzero().squeeze(1).to(data.device)
        padded = data.new_zeros(steps * batch, *data.shape[1:]).index_copy(0, rows, data).view(steps, batch, -1)
        lengths = (batch_sizes[:, None] > torch.arange(batch)).sum(dim=0)
        states, final = self._run(padded, each(hx, lambda tensor: permuted(tensor, order)), layers, lengths)
        packed_states = states.to(as_tuple(final)[0].dtype).flatten(0, 1).index_select(0, rows)
        final = each(final, lambda tensor: permuted(tensor, back))
        return PackedSequence(packed_states, batch_sizes, order, back), final

    def _pads(self, data: Tensor, batch: int) -> bool:
        """Whether packed sequences run padded, and not as torch runs them."""
        return not self.bidirectional or self._on_core(data, batch, self.layer_weights()[0][1].dtype)

    def _run(
        self,
        inputs: Tensor,
        hx: State | None,
        layers: Layers,
        lengths: Tensor | None,
        constant: Tensor | None = None,
        every_layer: bool = False,
    ) -> tuple[Tensor, State]:
        """(N, B, I) -> states (N, B, K H), or (L, N, B, K H) of every layer, and final states (K L, B, H)."""
        self._check(inputs, hx, constant, layers[0][0].dtype)
        lengths = checked_lengths(self.mode, lengths, inputs)
        ways = self._ways
        if constant is not None:  # into the bias
            layers = [with_constant(own, constant, inputs.shape[2]) for own in layers[:ways]] + layers[ways:]
        if not every_layer:
            return self._run_layers(inputs, hx, layers, lengths)
        below, every, finals = inputs, [], []
        for first in range(0, len(layers), ways):
            own = slice(first, first + ways)
            dropped = F.dropout(below, self._dropout()) if first else below
            begin = each(hx, operator.itemgetter(own))
            below, final = self._run_layers(dropped, begin, layers[own], lengths)
            every.append(below)
            finals.append(as_tuple(final))
        joined = tuple(torch.cat(parts) for parts in zip(*finals, strict=True))
        return torch.stack(every), joined if len(joined) > 1 else joined[0]

    def _dropout(self) -> float:
        return self.dropout if self.training else 0.0

    def _recomputes(self) -> bool:
        if torch.compiler.is_compiling():
            return self.recompute and torch.is_grad_enabled()
        return self.recompute and torch.is_grad_enabled() and not is_transformed()

    def _on_core(self, inputs: Tensor, batch: int, precision: torch.dtype) -> bool:
        if inputs.device.type != "cpu" or precision != torch.float32:
            return False
        if torch.compiler.is_compiling() or torch.is_grad_enabled() or batch >= _FEW:
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

    def _check_sequences(self, what: str, inputs: Any) -> None:
        check_dense(f"{self.mode}: {what}: inputs", inputs)
        if inputs.ndim != 3:
            raise ValueError(f"{self.mode}: {what}: inputs: expected 3 dimensions, got shape {tuple(inputs.shape)}")

    def _check_dimensions(self, input: Tensor, hx: Any) -> None:
        if input.ndim not in (2, 3):
            raise MisfitError(f"{self.mode}: Expected input to be 2D or 3D, got {input.ndim}D instead")
        for name, state in self._named_states(hx).items():
            check_dense(f"{self.mode}: {name}", state)
            if state.ndim != input.ndim:
                expected = f"expected {input.ndim} dimensions, as many as input has, got {state.ndim}"
                raise MisfitError(f"{self.mode}: {name}: {expected}")

    def _named_states(self, hx: Any) -> dict[str, Any]:
        return {} if hx is None else {"hx": hx}

    def _check(self, inputs: Tensor, hx: State | None, constant: Tensor | None, dtype: torch.dtype) -> None:
        steps, batch, width = inputs.shape
        if constant is not None:
            check_dense(f"{self.mode}: constant", constant)
            if constant.ndim != 1:
                raise ValueError(f"{self.mode}: constant: expected one dimension, got shape {tuple(constant.shape)}")
        expected = self.input_size - (0 if constant is None else len(constant))
        if width != expected:
            rule = "input.size(-1) must be equal to input_size"
            raise MisfitError(f"{self.mode}: input: expected {expected} numbers a step, got {width}; {rule}")
        if steps == 0:
            raise MisfitError(f"{self.mode}: input: Expected sequence length to be larger than 0 in RNN, got 0 steps")
        size, states = (self.num_layers * self._ways, batch, self.hidden_size), self._named_states(hx)
        for name, state in states.items():
            if tuple(state.shape) != size:
                place = f"hidden{name[2:]}" if "[" in name else "hidden"
                raise MisfitError(f"{self.mode}: {name}: Expected {place} size {size}, got {tuple(state.shape)}")
        if any_autocast():
            return
        if inputs.dtype != dtype:
            advice = f"Convert input: input.to({dtype}), or convert model: model.to({inputs.dtype})"
            rule = f"RNN input dtype ({inputs.dtype}) does not match weight dtype ({dtype})"
            raise MisfitError(f"{self.mode}: {rule}. {advice}")
        for name, tensor in {**states, "constant": constant}.items():
            if tensor is not None and tensor.dtype != dtype:
                found = f"expected {dtype}, as input and weights are, got {tensor.dtype}"
                raise MisfitError(f"{self.mode}: {name}: {found}")


def as_tuple(state: State | None) -> tuple[Tensor, ...]:
    """Return the tensors of a state, none of None."""
    if state is None:
        return ()
    return (state,) if isinstance(state, Tensor) else tuple(state)


def each(state: State | None, change: Callable[[Tensor], Tensor]) -> State | None:
    """Return a state whose tensors are changed, None for None."""
    if state is None or isinstance(state, Tensor):
        return None if state is None else change(state)
    return tuple(change(tensor) for tensor in state)


def permuted(state: Tensor, order: Tensor | None) -> Tensor:
    """Return states (K L, B, H) of the sequences in another order, None for the same."""
    return state if order is None else state.index_select(1, order)


def with_constant(
    weights: tuple[Tensor, Tensor, Tensor, Tensor], constant: Tensor, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a layer's weights for inputs of this width, with the constant rest of each step in the bias."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    return weight_ih[:, :width], weight_hh, F.linear(constant, weight_ih[:, width:], bias_ih), bias_hh
