"""Runs the layers of a GRU where they are fastest: in the core, in cuDNN, or as torch runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

from .._util.torch_compat import are_numbers_hidden
from ..ops.dropout import dropout
from ..ops.gru_bf16 import bf16_is_offered, gru_bf16_layer
from ..ops.gru_cudnn import gru_cudnn_layer
from ..ops.gru_f32 import gru_layer
from ..ops.gru_naive import Layers, Weights, within
from ..ops.linear_ragged import linear_within

# inputs (N, B, I), initial (B, H), weights, dropout, lengths -> states (N, B, H), final (B, H)
_Layer: TypeAlias = Callable[[Tensor, Tensor, Weights, float, Tensor | None], tuple[Tensor, Tensor]]


def run_on_core(
    inputs: Tensor, initial: Tensor, layers: Layers, p: float, lengths: Tensor | None, recompute: bool = False
) -> tuple[Tensor, Tensor]:
    """Run the layers in the core, on the CPU.

    Args:
        inputs: (N, B, I) float32, or bfloat16 under autocast; what lies beyond a length may be anything.
        initial: (L, B, H).
        layers: The weights of each, float32 but for what autocast has made of them.
        p: Dropout between layers.
        lengths: (B,) integer steps of each sequence, None for N; beyond its length a sequence keeps its last state.
        recompute: Keep only the states of each layer for the backward pass.

    Returns:
        states (N, B, H) of the last layer, bfloat16 where the products are, and final (L, B, H). Without lengths the
        states may be those that the backward pass reads.
    """
    if lengths is None:
        return _run_ordered(inputs, initial, layers, p, None, recompute)
    lengths = lengths.to(torch.int64)
    if not are_numbers_hidden() and bool((lengths[:-1] >= lengths[1:]).all()):
        return _run_ordered(inputs, initial, layers, p, lengths.contiguous(), recompute)
    order = torch.argsort(lengths, descending=True, stable=True).to(inputs.device)
    back = torch.argsort(order)
    ordered = lengths[order].contiguous()
    states, final = _run_ordered(inputs[:, order], initial[:, order], layers, p, ordered, recompute)
    return states[:, back], final[:, back]


def _run_ordered(
    inputs: Tensor, initial: Tensor, layers: Layers, p: float, lengths: Tensor | None, recompute: bool
) -> tuple[Tensor, Tensor]:
    if _autocasts_to_bfloat16() and bf16_is_offered():
        return _run_layer_by_layer(_layer_in_bf16, inputs.bfloat16(), initial, layers, p, lengths, recompute)
    return _run_layer_by_layer(_layer, inputs, initial, layers, p, lengths, recompute)


def run_in_cudnn(
    inputs: Tensor, initial: Tensor, layers: Layers, p: float, lengths: Tensor | None, recompute: bool = False
) -> tuple[Tensor, Tensor]:
    """Run the layers in cuDNN, one by one; arguments and results as those of `run_on_core`, in any float dtype."""
    if lengths is not None:  # padding is computed, too: steps take a GPU as long for few sequences as for many
        lengths = lengths.to(inputs.device)
        inputs = within(inputs, lengths)
    return _run_layer_by_layer(_layer_in_cudnn, inputs, initial, layers, p, lengths, recompute)


def run_in_torch(
    inputs: Tensor, initial: Tensor, layers: Layers, p: float, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Run the layers as `torch.nn.GRU` does; arguments and results as those of `run_on_core`, in any float dtype."""
    flat = [tensor for layer in layers for tensor in layer]
    settings = (True, len(layers), p, p > 0 or torch.is_grad_enabled())  # MIOpen wants to know of gradients
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


def _run_layer_by_layer(
    layer_of: _Layer,
    inputs: Tensor,
    initial: Tensor,
    layers: Layers,
    p: float,
    lengths: Tensor | None,
    recompute: bool,
) -> tuple[Tensor, Tensor]:
    states, finals = inputs, []
    for layer, weights in enumerate(layers):
        given = (states, initial[layer], weights, p if layer else 0.0, lengths)
        states, final = checkpoint(layer_of, *given, use_reentrant=False) if recompute else layer_of(*given)
        finals.append(final)
    return states, torch.stack(finals)


def _layer_in_bf16(
    inputs: Tensor, initial: Tensor, weights: Weights, p: float, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    exact = [tensor.float() for tensor in (*weights, initial)]  # autocast made some of them bfloat16
    every, final, _, _ = gru_bf16_layer(_dropped(inputs, p), *exact, lengths)
    hidden = initial.shape[1]
    return every[1:, :, :hidden], final[:, :hidden]  # (N, B, H), (B, H)


def _layer(
    inputs: Tensor, initial: Tensor, weights: Weights, p: float, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    in_bf16 = _autocasts_to_bfloat16()
    given = (_dropped(inputs, p), weight_ih, bias_ih)
    if in_bf16:
        given = (given[0].bfloat16(), weight_ih.bfloat16(), bias_ih.bfloat16())
    # (N, B, 3H), all steps in one product
    projected = F.linear(*given) if lengths is None else linear_within(given[0].to(given[1].dtype), *given[1:], lengths)
    every, _, _ = gru_layer(projected.float(), weight_hh.float(), bias_hh.float(), initial.float(), lengths, in_bf16)
    return every[1:], every[-1]  # (N, B, H), (B, H): beyond its length a sequence keeps its last state


def _autocasts_to_bfloat16() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def _dropped(states: Tensor, p: float) -> Tensor:
    if not p:
        return states
    kept: Tensor = dropout(states, p, torch.randint(-(2**63), 2**63 - 1, (1,)))
    return kept


def _layer_in_cudnn(
    inputs: Tensor, initial: Tensor, weights: Weights, p: float, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    autocasts = torch.is_autocast_enabled("cuda")
    precision = torch.get_autocast_dtype("cuda") if autocasts else weights[1].dtype
    laid_out = torch.cat([weight.to(precision).flatten() for weight in weights])
    dropped = F.dropout(inputs, p) if p else inputs
    given = (dropped.to(precision), initial.to(precision), laid_out)
    states, _ = gru_cudnn_layer(*given, torch.is_grad_enabled())
    if lengths is None:
        return states, states[-1]
    return states, states[lengths - 1, torch.arange(len(lengths), device=lengths.device)]
