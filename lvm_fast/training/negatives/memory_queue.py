"""Targets of the steps before: a cross-batch memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...data.number_formats import Int64


class MemoryQueue:
    """The latest targets, as many as the queue holds.

    Source: Wang et al., Cross-Batch Memory for Embedding Learning (2020). There the remembered embeddings drift from
    what the network would say now; targets are data, so these never do.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._rows = np.empty(0, np.int64)

    def rows(self, total: int) -> Int64:
        """Rows that join the candidates of the step to come."""
        return self._rows

    def end(self, targets: Int64) -> None:
        """Take in the targets of a step; the oldest go."""
        self._rows = np.concatenate([self._rows, targets])[-self._size :]

    def state(self) -> Tensor:
        """The rows that it holds, for a checkpoint."""
        return torch.from_numpy(self._rows)

    def load_state(self, state: Tensor) -> None:
        """Go on from a checkpoint."""
        self._rows = state.numpy()
