"""Runs the layers of a GRU where they are fastest: in the core, in cuDNN, or as torch runs them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ..ops.gru_bf16 import bf16_is_offered, gru_bf16_layer
from ..ops.gru_cudnn import gru_cudnn_layer
from ..ops.gru_f32 import gru_layer
from ..ops.gru_naive import Layers, Weights, within
from .layer_walk import projected, walk_by_length, walk_layers


def run_on_core(
    inputs: Tensor,
    initial: Tensor,
    layers: Layers,
    p: float,
    lengths: Tensor | None,
    recompute: bool = False,
    ways: int = 1,
) -> tuple[Tensor, Tensor]:
    """Run the layers in the core, on the CPU.

    Args:
        inputs: (N, B, I) float32, or bfloat16 under autocast; what lies beyond a length may be anything.
        initial: (K L, B, H).
        layers: The weights of each, float32 but for what autocast has made of them; K entries a layer.
        p: Dropout between layers.
        lengths: (B,) integer steps of each sequence, None for N; beyond its length a sequence keeps its last state.
        recompute: Keep only the states of each layer for the backward pass.
        ways: K, 2 where each layer reads both ways.

    Returns:
        states (N, B, K H) of the last layer, bfloat16 where the products are, and final (K L, B, H). Without lengths
        the states may be those that the backward pass reads.
    """
    in_bf16 = _autocasts_to_bfloat16() and bf16_is_offered()
    given = inputs.bfloat16() if in_bf16 else inputs
    cell = _cell_in_bf16 if in_bf16 else _cell
    states, (final,) = walk_by_length(cell, given, (initial,), layers, p, lengths, recompute, ways)
    return states, final


def run_in_cudnn(
    inputs: Tensor, initial: Tensor, layers: Layers, p: float, lengths: Tensor | None, recompute: bool = False
) -> tuple[Tensor, Tensor]:
    """Run the layers in cuDNN, one by one; arguments and results as those of `run_on_core`, in any float dtype."""
    if lengths is not None:  # padding is computed, too: steps take a GPU as long for few sequences as for many
        lengths = lengths.to(inputs.device)
        inputs = within(inputs, lengths)
    states, (final,) = walk_layers(_cell_in_cudnn, inputs, (initial,), layers, p, lengths, recompute)
    return states, final


def run_in_torch(
    inputs: Tensor, initial: Tensor, layers: Layers, p: float, lengths: Tensor | None, ways: int = 1
) -> tuple[Tensor, Tensor]:
    """Run the layers as `torch.nn.GRU` does; arguments and results as those of `run_on_core`, in any float dtype."""
    flat = [tensor for layer in layers for tensor in layer]
    # has_biases, layers, dropout, train (MIOpen wants to know of gradients), bidirectional
    settings = (True, len(layers) // ways, p, p > 0 or torch.is_grad_enabled(), ways == 2)
    if lengths is None:
        states, final = torch.gru(inputs, initial, flat, *settings, False)  # batch_first
        return states, final
    packed = pack_padded_sequence(inputs, lengths.cpu(), enforce_sorted=False)
    order, back = packed.sorted_indices, packed.unsorted_indices
    data, final = torch.gru(packed.data, packed.batch_sizes, initial[:, order], flat, *settings)
    again = PackedSequence(data, packed.batch_sizes, order, back)
    states, _ = pad_packed_sequence(again, total_length=inputs.shape[0])
    return states, final[:, back]


def _cell(
    inputs: Tensor, initial: tuple[Tensor, ...], weights: Weights, lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    x = projected(inputs, weight_ih, bias_ih, lengths)  # (N, B, 3H)
    every, _, _ = gru_layer(x, weight_hh.float(), bias_hh.float(), initial[0].float(), lengths, False, reverse)
    # beyond its length a sequence keeps its last state
    return (every[:-1], (every[0],)) if reverse else (every[1:], (every[-1],))


def _cell_in_bf16(
    inputs: Tensor, initial: tuple[Tensor, ...], weights: Weights, lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    exact = [tensor.float() for tensor in (*weights, initial[0])]  # autocast made some of them bfloat16
    given = _reversed(inputs, lengths) if reverse else inputs
    every, final, _, _ = gru_bf16_layer(given, *exact, lengths)
    hidden = initial[0].shape[1]
    states = every[1:, :, :hidden]  # (N, B, H)
    return _reversed(states, lengths) if reverse else states, (final[:, :hidden],)


def _reversed(steps: Tensor, lengths: Tensor | None) -> Tensor:
    """Steps (N, B, W), each sequence from its last to its first; what lies beyond its length stays there."""
    if lengths is None:
        return steps.flip(0)
    place = torch.arange(steps.shape[0])[:, None]  # (N, 1)
    mirrored = torch.where(place < lengths, lengths - 1 - place, place)  # (N, B)
    return steps.gather(0, mirrored[..., None].expand(steps.shape))


def _autocasts_to_bfloat16() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def _cell_in_cudnn(
    inputs: Tensor, initial: tuple[Tensor, ...], weights: Weights, lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    autocasts = torch.is_autocast_enabled("cuda")
    precision = torch.get_autocast_dtype("cuda") if autocasts else weights[1].dtype
    laid_out = torch.cat([weight.to(precision).flatten() for weight in weights])
    given = (inputs.to(precision), initial[0].to(precision), laid_out)
    states, _ = gru_cudnn_layer(*given, torch.is_grad_enabled())
    if lengths is None:
        return states, (states[-1],)
    return states, (states[lengths - 1, torch.arange(len(lengths), device=lengths.device)],)
