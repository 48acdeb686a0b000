"""What the queries of a block must not find, tile by tile on a device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._core import Filter


class TileFilter:
    """A `_core.Filter`, for the queries `some` of those asked.

    Args:
        filter: What is left out of the whole bank.
        some: Which queries the block has.
        device: Where the masks are wanted.
    """

    def __init__(self, filter: Filter, some: slice, device: torch.device) -> None:
        self._device = device
        allow = filter.allow
        self._allow = allow[some] if allow is not None and allow.ndim == 2 else allow
        self._bits = [bits for bits in (self._allow, filter.held) if bits is not None]
        self._exclude = self._moved(filter.exclude, some)
        self._ranges = self._moved(filter.exclude_ranges, some)

    def forbidden(self, first: int, last: int) -> Tensor | None:
        """Return what is not wanted of candidates first to last - 1: (B, n) or (1, n), True; None where all are."""
        masks = [~self._unpacked(bits, first, last) for bits in self._bits]
        if self._exclude is not None:
            masks.append(self._marked(self._exclude, first, last))
        if self._ranges is not None:
            masks.append(self._covered(self._ranges, first, last))
        if not masks:
            return None
        forbidden = masks[0]
        for mask in masks[1:]:
            forbidden = forbidden | mask
        return forbidden

    def _moved(self, array: Any, some: slice) -> Tensor | None:
        return None if array is None else torch.tensor(array[some], device=self._device)

    def _unpacked(self, bits: Any, first: int, last: int) -> Tensor:
        """Return bits of `numpy.packbits` (bytes,) or (B, bytes) as truth values (1, n) or (B, n)."""
        held = torch.tensor(np.atleast_2d(bits)[:, first // 8 : -(-last // 8)], device=self._device)
        weights = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=self._device)
        return ((held[..., None] & weights) != 0).flatten(1)[:, first % 8 : first % 8 + last - first]

    def _marked(self, ids: Tensor, first: int, last: int) -> Tensor:
        """Return which of candidates first to last - 1 are among ids (B, E): (B, n)."""
        mask = torch.zeros(len(ids), last - first, dtype=torch.bool, device=self._device)
        rows, places = ((ids >= first) & (ids < last)).nonzero(as_tuple=True)
        mask[rows, ids[rows, places] - first] = True
        return mask

    def _covered(self, ranges: Tensor, first: int, last: int) -> Tensor:
        """Return which of candidates first to last - 1 lie in half-open ranges (B, R, 2): (B, n)."""
        count = last - first
        begins, ends = (ranges - first).clamp(0, count).unbind(2)
        changes = torch.zeros(len(ranges), count + 1, dtype=torch.int32, device=self._device)
        one = torch.ones_like(begins, dtype=torch.int32)
        changes.scatter_add_(1, begins, one).scatter_add_(1, ends, -one)
        return changes.cumsum(1, dtype=torch.int32)[:, :count] > 0
