"""Scores the parts of a mixture of experts: which queries each serves, and how well. For any model that says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..models.answering import read_by
from .figures import MODEL, ExpertScores, Interval
from .metrics import differences, intervals_of
from .predictions import run_on_windows

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from ..data.windows import Windows
    from .metrics import Scores


@runtime_checkable
class Mixture(Protocol):
    """A model in E parts, of which not all have a say in every answer; such as a mixture of experts."""

    @property
    def route_names(self) -> list[str]:
        """The names of the parts, (E,)."""

    def routes(self, context: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the weight of each part in the answer to each context: (B, E), rows sum to one, 0 for no say."""


def route_windows(
    model: Mixture, windows: Windows, batch_size: int, device: torch.device | str | None, progress: bool
) -> NDArray[np.float32]:
    """Return the weight of each part in the prediction for every window, (W, E); see `predict_windows`."""
    return run_on_windows(_route_batch, model, windows, len(model.route_names), batch_size, device, progress)


def _route_batch(model: Mixture, context: Tensor, lengths: Tensor, chosen: NDArray[np.int64]) -> Tensor:
    return model.routes(read_by(model, context), lengths)


def expert_scores(
    names: list[str],
    shares: NDArray[np.float32],
    scores: Scores,
    yardstick: str,
    clusters: NDArray[np.int64],
    resamples: int,
    seed: int,
) -> list[ExpertScores]:
    """Compute how often each part serves, and the hits of the queries it serves beside the best closed form's.

    Args:
        names: The parts, (E,).
        shares: The share of each in the answer to each query, (Q, E).
        scores: What `query_scores` gives for the Q queries.
        yardstick: The best closed form's name.
        clusters: The cluster of each query, (Q,).
        resamples: Bootstrap resamples.
        seed: Seed of the resamples.
    """
    leads = shares.argmax(axis=1)  # (Q,)
    parts = []
    for part, name in enumerate(names):
        served = shares[:, part] > 0
        means: dict[str, dict[str, float]] = {}
        intervals: dict[str, dict[str, Interval | None]] = {}
        if served.any():
            hits = {who: _hits(scores[who], served) for who in (MODEL, yardstick)}
            hits |= differences(hits)
            means = {who: {metric: float(v.mean()) for metric, v in metrics.items()} for who, metrics in hits.items()}
            intervals = intervals_of(hits, clusters[served], resamples, seed)
        first, at_all = float((leads == part).mean()), float(served.mean())
        parts.append(ExpertScores(name, first, at_all, int(served.sum()), means, intervals))
    return parts


def _hits(scores: Mapping[str, NDArray[np.float64]], served: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    return {metric: values[served] for metric, values in scores.items() if metric.startswith("hit@")}
