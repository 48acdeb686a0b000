"""Runs the layers of a recurrent module one after the other, whatever runs a single one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .._util.torch_compat import are_numbers_hidden
from ..ops.dropout import dropout
from ..ops.gru_naive import Layers, Weights
from ..ops.linear_ragged import linear_within

# A layer read one way: inputs (N, B, I), initial states (B, H) each, weights, lengths, whether it is the way back ->
# states (N, B, H), final states (B, H) each
Cell: TypeAlias = Callable[
    [Tensor, tuple[Tensor, ...], Weights, Tensor | None, bool], tuple[Tensor, tuple[Tensor, ...]]
]


def walk_layers(
    cell: Cell,
    inputs: Tensor,
    initial: tuple[Tensor, ...],
    layers: Layers,
    p: float,
    lengths: Tensor | None,
    recompute: bool = False,
    ways: int = 1,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run all layers.

    Args:
        cell: What runs a layer one way.
        inputs: (N, B, I).
        initial: (K L, B, H) each.
        layers: The weights of each, K entries a layer.
        p: Dropout between layers.
        lengths: (B,) int64 steps of each sequence, None for N; in an order that the cell takes.
        recompute: Keep only the states of each layer for the backward pass.
        ways: K, 2 where each layer reads both ways.

    Returns:
        states (N, B, K H) of the last layer and final states (K L, B, H) each.
    """

    def layer(
        below: Tensor, begin: tuple[Tensor, ...], weights: Layers, share: float
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        dropped = _dropped(below, share)
        runs = [cell(dropped, tuple(t[way] for t in begin), own, lengths, way > 0) for way, own in enumerate(weights)]
        states = runs[0][0] if ways == 1 else torch.cat([states for states, _ in runs], dim=2)
        return states, tuple(torch.stack(parts) for parts in zip(*(final for _, final in runs), strict=True))

    states, finals = inputs, []
    for first in range(0, len(layers), ways):
        own = slice(first, first + ways)
        given = (states, tuple(tensor[own] for tensor in initial), layers[own], p if first else 0.0)
        states, final = checkpoint(layer, *given, use_reentrant=False) if recompute else layer(*given)
        finals.append(final)
    return states, tuple(torch.cat(parts) for parts in zip(*finals, strict=True))


def walk_by_length(
    cell: Cell,
    inputs: Tensor,
    initial: tuple[Tensor, ...],
    layers: Layers,
    p: float,
    lengths: Tensor | None,
    recompute: bool = False,
    ways: int = 1,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run all layers as `walk_layers`, for cells that take sequences by length, the longest first, and any order."""
    if lengths is None:
        return walk_layers(cell, inputs, initial, layers, p, None, recompute, ways)
    lengths = lengths.to(torch.int64)
    if not are_numbers_hidden() and bool((lengths[:-1] >= lengths[1:]).all()):
        return walk_layers(cell, inputs, initial, layers, p, lengths.contiguous(), recompute, ways)
    order = torch.argsort(lengths, descending=True, stable=True).to(inputs.device)
    back = torch.argsort(order)
    ordered, begin = lengths[order].contiguous(), tuple(tensor[:, order] for tensor in initial)
    states, final = walk_layers(cell, inputs[:, order], begin, layers, p, ordered, recompute, ways)
    return states[:, back], tuple(tensor[:, back] for tensor in final)


def projected(inputs: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor | None) -> Tensor:
    """All steps in one product, in float32 whatever autocast says; zeros beyond a length."""
    given = inputs.float(), weight.float(), bias.float()
    with torch.autocast(inputs.device.type, enabled=False):
        return F.linear(*given) if lengths is None else linear_within(*given, lengths)


def _dropped(states: Tensor, p: float) -> Tensor:
    if not p:
        return states
    if states.device.type != "cpu":
        return F.dropout(states, p)
    kept: Tensor = dropout(states, p, torch.randint(-(2**63), 2**63 - 1, (1,)))
    return kept
