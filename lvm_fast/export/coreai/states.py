"""Reads and writes what a `step` keeps between calls, in the layout of the Neural Engine."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..state_layout import GROUP, laid_out


class State(NamedTuple):
    """One state: zeros before the first vector.

    Attributes:
        shape: Its shape as the model reads it, (1, ..., W).
        dtype: None for the precision of the program.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype | None = None

    @property
    def laid_out(self) -> tuple[int, ...]:
        """Return its shape as it is kept: W rounded up to whole groups."""
        return laid_out(self.shape)

    def read(self, kept: Tensor) -> Tensor:
        """Return the numbers that the model reads, of those that are kept."""
        return kept[..., : self.shape[-1]]

    def written(self, value: Tensor) -> Tensor:
        """Return a value as it is kept."""
        return F.pad(value, (0, self.laid_out[-1] - self.shape[-1]))


COUNT = State((1, GROUP), torch.float32)  # a number, in every place of a group; whole ones are exact up to 2^24
