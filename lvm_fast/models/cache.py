"""A cache with a row for every vector that a stream has read."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_FIRST_ROOM = 16


class Cache(NamedTuple):
    """Rows of B sequences, one more at each step, in memory that doubles when it is full.

    Caches that came from one another share it, so only the last one can grow.
    """

    room: Tensor  # (B, R, ...)
    used: int

    @classmethod
    def like(cls, tensor: Tensor, batch_size: int, *shape: int) -> Cache:
        """Return an empty cache for rows (B, *shape), of the device and dtype of `tensor`."""
        return cls(tensor.new_empty(batch_size, _FIRST_ROOM, *shape), 0)

    @property
    def rows(self) -> Tensor:
        """All n rows, (B, n, ...)."""
        return self.room[:, : self.used]

    def with_next(self, row: Tensor) -> Cache:
        """Add a row, (B, ...)."""
        is_full = self.used == self.room.shape[1]
        room = torch.cat((self.room, torch.empty_like(self.room)), dim=1) if is_full else self.room
        room[:, self.used] = row
        return Cache(room, self.used + 1)
