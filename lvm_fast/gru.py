"""`GRU`: `torch.nn.GRU` with gradients linear in length on the CPU, and whole under `torch.compile`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

from .dropout_ops import dropout
from .gru_cudnn_ops import cudnn_is_offered, gru_cudnn_layer
from .gru_half_ops import gru_half_layer, half_is_offered
from .gru_mps import Layers, Weights, run_checked
from .gru_ops import gru_layer
from .ragged_ops import linear_within

_FEW = 4  # sequences: torch's forward is quicker for fewer
_CHECKED = ("mps",)  # devices whose own recurrence is not trusted
# inputs (N, B, I), initial (B, H), weights, dropout, lengths -> states (N, B, H), final (B, H)
_Layer: TypeAlias = Callable[[Tensor, Tensor, Weights, float, Tensor | None], tuple[Tensor, Tensor]]


class GRU(nn.Module):
    """A drop-in for `torch.nn.GRU`: same parameters, same results.

    On the CPU in float32 the recurrence runs in the core (without gradients, fewer than four sequences are torch's
    own). Under `torch.autocast("cpu", torch.bfloat16)`, on a CPU with bfloat16 products (AMX, AVX512-BF16), every
    product takes bfloat16 numbers; sums, gates and the state that goes from step to step stay float32. On other CPUs
    autocast leaves the recurrence in float32. On CUDA it is cuDNN's, layer by layer. Elsewhere (float64, ROCm) it is
    torch's own; on MPS, too, once its results were seen to agree with the CPU's (`gru_mps`). Gradients of gradients are
    offered where it is torch's own.
    In the core, gradients of states below 2^-96 are taken for zero: denormal numbers would slow down long contexts a
    hundred times.

    Args:
        input_size: Width I of the inputs.
        hidden_size: Width H of the hidden states.
        num_layers: Layers L on top of each other.
        bias: Whether there are bias vectors.
        batch_first: Inputs and outputs are (B, N, ...) instead of (N, B, ...).
        dropout: Dropout between layers, in training mode only.
        bidirectional: Not offered: True is an error.

    Attributes:
        recompute: Keep only the states of each layer for the backward pass, on the CPU and CUDA, and compute the rest
            of it again: a third more work, and for long sequences a fraction of the memory. False unless set.

    Raises:
        ValueError: a size below 1, a dropout outside [0, 1], or bidirectional=True.
    """

    bidirectional = False
    proj_size = 0
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
    ) -> None:
        super().__init__()
        if bidirectional:
            raise ValueError("GRU: bidirectional: expected False (a causal model reads forwards only), got True")
        for name, size in {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}.items():
            if size < 1:
                raise ValueError(f"GRU: {name}: expected at least 1, got {size}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"GRU: dropout: expected a share from 0 to 1, got {dropout}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size
            shapes = {"weight_ih": (3 * hidden_size, width), "weight_hh": (3 * hidden_size, hidden_size)}
            if bias:
                shapes |= {"bias_ih": (3 * hidden_size,), "bias_hh": (3 * hidden_size,)}  # type: ignore[dict-item]
            for name, shape in shapes.items():
                values = torch.empty(shape, device=device, dtype=dtype)
                self.register_parameter(f"{name}_l{layer}", nn.Parameter(values))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter uniformly from -+ 1 / sqrt(hidden_size), as `torch.nn.GRU` does."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing: there is no other layout of the parameters (`torch.nn.GRU` has one for cuDNN)."""

    def extra_repr(self) -> str:
        named = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0}
        changed = [f"{name}={getattr(self, name)}" for name, usual in named.items() if getattr(self, name) != usual]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *changed])

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """Run over a batch of sequences.

        Args:
            input: (N, B, I), (B, N, I) if batch_first, (N, I) for one sequence, or a `PackedSequence`.
            hx: Initial states (L, B, H), (L, H) for one sequence; zeros when left out.

        Returns:
            The last layer's states after every step, laid out as the input, and the final states (L, B, H).
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"GRU: input: expected ([batch,] steps, {self.input_size}) numbers, got shape {tuple(input.shape)}"
            )
        if input.ndim == 2:
            states, final = self._run(input.unsqueeze(1), None if hx is None else hx.unsqueeze(1), None)
            return states.to(final.dtype).squeeze(1), final.squeeze(1)
        states, final = self._run(input.transpose(0, 1) if self.batch_first else input, hx, None)
        states = states.to(final.dtype)
        return (states.transpose(0, 1) if self.batch_first else states), final

    def states(
        self, inputs: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """The last layer's states alone, from zero initial states, with another input projection if given.

        They are bfloat16 where the products are.

        Args:
            inputs: (B, N, I), or (B, N, I') where `weight` is given.
            weight: Takes the place of ``weight_ih_l0``, (3H, I').
            bias: Takes the place of ``bias_ih_l0``, (3H,).
            lengths: (B,) steps of each sequence; what comes after them is not computed with care. None for N.

        Returns:
            (B, N, H).
        """
        return self._run(inputs.transpose(0, 1), None, lengths, weight, bias)[0].transpose(0, 1)

    def last_state(
        self, inputs: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """The last layer's state after each sequence's last step, (B, H); the arguments are those of `states`."""
        return self._run(inputs.transpose(0, 1), None, lengths, weight, bias)[1][-1]

    def layer_states(self, inputs: Tensor) -> Tensor:
        """Every layer's states after every step, from zero initial states: (B, N, I) -> (L, B, N, H)."""
        below = inputs.transpose(0, 1)
        every: list[Tensor] = []
        for weights in self._weights(None, None):
            dropped = F.dropout(below, self.dropout, self.training) if every else below
            below, _ = self._run_layers(dropped, None, [weights], None)
            every.append(below)
        return torch.stack(every).transpose(1, 2)

    def _forward_packed(self, packed: PackedSequence, hx: Tensor | None) -> tuple[PackedSequence, Tensor]:
        padded, lengths = pad_packed_sequence(packed)  # (N, B, I), in the caller's order
        states, final = self._run(padded, hx, lengths)
        again = pack_padded_sequence(states.to(final.dtype), lengths, enforce_sorted=packed.sorted_indices is None)
        return again, final

    def _run(
        self,
        inputs: Tensor,
        hx: Tensor | None,
        lengths: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(N, B, I) -> states (N, B, H) and final states (L, B, H)."""
        steps, batch, _ = inputs.shape
        if not inputs.is_floating_point():
            raise ValueError(f"GRU: input: expected a float dtype, got {inputs.dtype}")
        if steps == 0:
            raise ValueError("GRU: input: expected at least one step, got none")
        if lengths is not None and lengths.shape != (batch,):
            raise ValueError(f"GRU: lengths: expected shape ({batch},), one a sequence, got {tuple(lengths.shape)}")
        expected = (self.num_layers, batch, self.hidden_size)
        if hx is not None and tuple(hx.shape) != expected:
            raise ValueError(f"GRU: hx: expected shape {expected}, got {tuple(hx.shape)}")
        return self._run_layers(inputs, hx, self._weights(weight, bias), lengths)

    def _run_layers(
        self, inputs: Tensor, hx: Tensor | None, weights: Layers, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The layers with these weights, wherever they run best; (N, B, I) -> states and final states, as `_run`."""
        precision = weights[0][1].dtype
        shape = (len(weights), inputs.shape[1], self.hidden_size)
        initial = inputs.new_zeros(shape, dtype=precision) if hx is None else hx
        given = (inputs, initial, weights, self._dropout(), lengths)
        recompute = self.recompute and torch.is_grad_enabled()
        if self._on_core(inputs):
            return _run_ordered_on_core(*given, recompute)
        if inputs.is_cuda and cudnn_is_offered():
            return _run_in_cudnn(*given, recompute)
        if inputs.device.type in _CHECKED:
            # autocast made some of them half
            like = [(ih.to(precision), hh.to(precision), b.to(precision), c.to(precision)) for ih, hh, b, c in weights]
            exact = (inputs.to(precision), initial.to(precision), like, self._dropout(), lengths)
            return run_checked(*exact, native=_run_in_torch, cpu=_run_ordered_on_core)
        return _run_in_torch(*given)

    def _weights(self, weight: Tensor | None, bias: Tensor | None) -> Layers:
        layers: Layers = []
        for layer in range(self.num_layers):
            names = [f"{name}_l{layer}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            given: list[Tensor] = [self.get_parameter(name) for name in names if self.bias or "bias" not in name]
            if not self.bias:
                given += 2 * [given[1].new_zeros(3 * self.hidden_size)]
            w_ih, w_hh, b_ih, b_hh = given
            layers.append((w_ih, w_hh, b_ih, b_hh))
        w_ih, w_hh, b_ih, b_hh = layers[0]
        layers[0] = (w_ih if weight is None else weight, w_hh, b_ih if bias is None else bias, b_hh)
        return layers

    def _dropout(self) -> float:
        return self.dropout if self.training else 0.0

    def _on_core(self, inputs: Tensor) -> bool:
        if inputs.device.type != "cpu" or self.get_parameter("weight_hh_l0").dtype != torch.float32:
            return False
        return torch.compiler.is_compiling() or torch.is_grad_enabled() or inputs.shape[1] >= _FEW


def _run_ordered_on_core(
    inputs: Tensor, initial: Tensor, layers: Layers, share: float, lengths: Tensor | None, recompute: bool = False
) -> tuple[Tensor, Tensor]:
    if lengths is None:
        return _run_on_core(inputs, initial, layers, share, None, recompute)
    order = torch.argsort(lengths, descending=True, stable=True).to(inputs.device)
    back = torch.argsort(order)
    ordered = lengths.to(torch.int64)[order].contiguous()
    states, final = _run_on_core(inputs[:, order], initial[:, order], layers, share, ordered, recompute)
    return states[:, back], final[:, back]


def _run_on_core(
    inputs: Tensor, initial: Tensor, layers: Layers, share: float, lengths: Tensor | None, recompute: bool = False
) -> tuple[Tensor, Tensor]:
    if _autocasts_to_bfloat16() and half_is_offered():
        return _run_layer_by_layer(_layer_in_half, inputs.bfloat16(), initial, layers, share, lengths, recompute)
    return _run_layer_by_layer(_layer, inputs, initial, layers, share, lengths, recompute)


def _run_layer_by_layer(
    layer_of: _Layer,
    inputs: Tensor,
    initial: Tensor,
    layers: Layers,
    share: float,
    lengths: Tensor | None,
    recompute: bool,
) -> tuple[Tensor, Tensor]:
    states, finals = inputs, []
    for layer, weights in enumerate(layers):
        given = (states, initial[layer], weights, share if layer else 0.0, lengths)
        states, final = checkpoint(layer_of, *given, use_reentrant=False) if recompute else layer_of(*given)
        finals.append(final)
    return states, torch.stack(finals)


def _layer_in_half(
    inputs: Tensor, initial: Tensor, weights: Weights, share: float, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    exact = [tensor.float() for tensor in (*weights, initial)]  # autocast made some of them bfloat16
    every, final, _, _ = gru_half_layer(_dropped(inputs, share), *exact, lengths)
    hidden = initial.shape[1]
    return every[1:, :, :hidden], final[:, :hidden]  # (N, B, H), (B, H)


def _layer(
    inputs: Tensor, initial: Tensor, weights: Weights, share: float, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    half = _autocasts_to_bfloat16()
    given = (_dropped(inputs, share), weight_ih, bias_ih)
    if half:
        given = (given[0].bfloat16(), weight_ih.bfloat16(), bias_ih.bfloat16())
    # (N, B, 3H), all steps in one product
    projected = F.linear(*given) if lengths is None else linear_within(*given, lengths)
    every, _, _ = gru_layer(projected.float(), weight_hh, bias_hh, initial.float(), lengths, half)
    return every[1:], every[-1]  # (N, B, H), (B, H): beyond its length a sequence keeps its last state


def _autocasts_to_bfloat16() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def _dropped(states: Tensor, share: float) -> Tensor:
    if not share:
        return states
    kept: Tensor = dropout(states, share, torch.randint(-(2**63), 2**63 - 1, (1,)))
    return kept


def _run_in_cudnn(
    inputs: Tensor, initial: Tensor, layers: Layers, share: float, lengths: Tensor | None, recompute: bool = False
) -> tuple[Tensor, Tensor]:
    if lengths is not None:  # padding is computed, too: steps take a GPU as long for few sequences as for many
        lengths = lengths.to(inputs.device)
        beyond = torch.arange(inputs.shape[0], device=inputs.device)[:, None] >= lengths  # (N, B)
        inputs = inputs.masked_fill(beyond[..., None], 0)
    return _run_layer_by_layer(_layer_in_cudnn, inputs, initial, layers, share, lengths, recompute)


def _layer_in_cudnn(
    inputs: Tensor, initial: Tensor, weights: Weights, share: float, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    autocasts = torch.is_autocast_enabled("cuda")
    precision = torch.get_autocast_dtype("cuda") if autocasts else weights[1].dtype
    laid_out = torch.cat([weight.to(precision).flatten() for weight in weights])
    dropped = F.dropout(inputs, share) if share else inputs
    given = (dropped.to(precision), initial.to(precision), laid_out)
    states, _ = gru_cudnn_layer(*given, torch.is_grad_enabled())
    if lengths is None:
        return states, states[-1]
    return states, states[lengths - 1, torch.arange(len(lengths), device=lengths.device)]


def _run_in_torch(
    inputs: Tensor, initial: Tensor, layers: Layers, dropout: float, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    flat = [tensor for layer in layers for tensor in layer]
    settings = (True, len(layers), dropout, dropout > 0 or torch.is_grad_enabled())  # MIOpen wants to know of gradients
    if lengths is None:
        # inputs, states, weights, has_biases, layers, dropout, train, bidirectional, batch_first
        states, final = torch.gru(inputs, initial, flat, *settings, False, False)
        return states, final
    packed = pack_padded_sequence(inputs, lengths.cpu(), enforce_sorted=False)
    order, back = packed.sorted_indices, packed.unsorted_indices
    data, final = torch.gru(packed.data, packed.batch_sizes, initial[:, order], flat, *settings, False)
    again = PackedSequence(data, packed.batch_sizes, order, back)
    states, _ = pad_packed_sequence(again, total_length=inputs.shape[0])
    return states, final[:, back]
