"""The questions of a bank, answered as torch tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class TorchAnswers:
    """A `VectorBank` whose answers are tensors: `bank.torch`. The questions, shapes and dtypes are the bank's own.

    Answers lie on the device of the queries where these are a tensor, else on the CPU, where they share the memory of
    the arrays that the bank has made. They carry no gradient.
    """

    def __init__(self, bank: Any) -> None:
        self._bank = bank

    def __repr__(self) -> str:
        return f"{self._bank!r}.torch"

    def rank(self, queries: Any, *arguments: Any, **named: Any) -> Tensor:
        """Answer `VectorBank.rank`: (B,) int64."""
        return _tensor(self._bank.rank(queries, *arguments, **named), queries)

    def pair_scores(self, queries: Any, targets: Any) -> Tensor:
        """Answer `VectorBank.pair_scores`: (B,) float64; float32 where the queries' device has no float64."""
        return _tensor(self._bank.pair_scores(queries, targets), queries)

    def topk(self, queries: Any, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor]:
        """Answer `VectorBank.topk`: scores (B, k) float32 and ids (B, k) int64."""
        return _both(self._bank.topk(queries, *arguments, **named), queries)

    def band(self, queries: Any, *arguments: Any, **named: Any) -> Tensor:
        """Answer `VectorBank.band`: (B, limit) int64."""
        return _tensor(self._bank.band(queries, *arguments, **named), queries)

    def scored_band(self, queries: Any, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor]:
        """Answer `VectorBank.scored_band`: scores float64 (as `pair_scores`) and ids int64, (B, limit) each."""
        return _both(self._bank.scored_band(queries, *arguments, **named), queries)

    def logsumexp(self, queries: Any, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """Answer `VectorBank.logsumexp`: (B,) float32 and (B,) int64."""
        return _both(self._bank.logsumexp(queries, scale), queries)


def _both(answers: tuple[Any, Any], queries: Any) -> tuple[Tensor, Tensor]:
    first, second = answers
    return _tensor(first, queries), _tensor(second, queries)


def _tensor(answer: Any, queries: Any) -> Tensor:
    tensor = torch.as_tensor(answer, device="cpu")
    if not isinstance(queries, Tensor):
        return tensor
    if queries.device.type == "mps" and tensor.dtype == torch.float64:
        tensor = tensor.float()
    return tensor.to(queries.device)
