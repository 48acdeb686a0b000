"""Runs the layers of an LSTM where they are fastest: in the core, or as torch runs them."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ..ops.gru_naive import Layers, Weights
from ..ops.lstm_f32 import lstm_layer
from .layer_walk import walk_by_length

Pair: TypeAlias = tuple[Tensor, Tensor]  # hidden and cell states


def run_on_core(
    inputs: Tensor, initial: Pair, layers: Layers, p: float, lengths: Tensor | None, recompute: bool, ways: int
) -> tuple[Tensor, Pair]:
    """Run the layers in the core, on the CPU, in float32.

    Args:
        inputs: (N, B, I); what lies beyond a length may be anything.
        initial: Hidden and cell states, (K L, B, H) each.
        layers: The weights of each, K entries a layer.
        p: Dropout between layers.
        lengths: (B,) integer steps of each sequence, None for N; beyond its length a sequence keeps its last state.
        recompute: Keep only the states of each layer for the backward pass.
        ways: K, 2 where each layer reads both ways.

    Returns:
        states (N, B, K H) of the last layer, and the final hidden and cell states, (K L, B, H) each. Without lengths
        the states may be those that the backward pass reads.
    """
    states, (final, cell) = walk_by_length(_cell, inputs, initial, layers, p, lengths, recompute, ways)
    return states, (final, cell)


def run_in_torch(
    inputs: Tensor, initial: Pair, layers: Layers, p: float, lengths: Tensor | None, ways: int
) -> tuple[Tensor, Pair]:
    """Run the layers as `torch.nn.LSTM` does; arguments and results as those of `run_on_core`, in any float dtype."""
    flat = [tensor for layer in layers for tensor in layer]
    # has_biases, layers, dropout, train, bidirectional
    settings = (True, len(layers) // ways, p, p > 0 or torch.is_grad_enabled(), ways == 2)
    if lengths is None:
        states, final, cell = torch.lstm(inputs, initial, flat, *settings, False)  # batch_first
        return states, (final, cell)
    packed = pack_padded_sequence(inputs, lengths.cpu(), enforce_sorted=False)
    order, back = packed.sorted_indices, packed.unsorted_indices
    begin = (initial[0][:, order], initial[1][:, order])
    data, final, cell = torch.lstm(packed.data, packed.batch_sizes, begin, flat, *settings)
    again = PackedSequence(data, packed.batch_sizes, order, back)
    states, _ = pad_packed_sequence(again, total_length=inputs.shape[0])
    return states, (final[:, back], cell[:, back])


def _cell(
    inputs: Tensor, initial: tuple[Tensor, ...], weights: Weights, lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    # autocast made some of them bfloat16
    x, weight_ih, weight_hh, bias_ih, bias_hh, state, cell = (t.float() for t in (inputs, *weights, *initial))
    given = (x, weight_ih, weight_hh, bias_ih + bias_hh, state, cell)
    every, _, _, final, final_cell = lstm_layer(*given, lengths, reverse)
    return every[:-1] if reverse else every[1:], (final, final_cell)
