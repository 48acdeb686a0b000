"""Runs an exported program as `evaluate` runs a model: a batch of contexts of one length at a time."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..models.base import LatentVectorModel


class BatchedModel(nn.Module):
    """An exported program in place of its model; a subclass says how it runs.

    Attributes:
        has_keys: Whether to search with `query` among `keys`.
        keys: The model's `keys`.
    """

    def __init__(self, model: LatentVectorModel) -> None:
        super().__init__()
        self._query_output = "next_vector" if model.space is None else "query"
        self.has_keys = model.has_keys
        self.keys = model.keys

    @abstractmethod
    def run(self, contexts: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the outputs for contexts (B, N, D), (B, D) each, by name."""

    def forward(self, context: Tensor, lengths: Tensor) -> Tensor:
        """Return deltas: (B, N, D), lengths (B,) -> (B, D); in the space where there is one."""
        return torch.from_numpy(self._outputs("delta", context.numpy(), lengths.numpy()))

    def predict(self, context: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return unit next vectors: (B, N, D), lengths (B,) -> (B, D)."""
        return self._outputs("next_vector", context, lengths)

    def query(self, context: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the unit vectors to search `keys` with: (B, N, D), lengths (B,) -> (B, D)."""
        return self._outputs(self._query_output, context, lengths)

    def _outputs(self, name: str, context: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        outputs = np.empty((len(context), context.shape[2]), np.float32)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            outputs[rows] = self.run(context[rows, :length])[name]
        return outputs
