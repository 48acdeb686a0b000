"""Metrics of predictors, one value a query, so that any two can be compared in pairs; and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..ops.rowwise import l2_normalize
from .figures import CLOSED_FORMS, MODEL, Interval
from .intervals import bootstrap_intervals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.windows import Windows

    Scores = dict[str, dict[str, NDArray[np.float64]]]  # predictor -> metric -> (Q,)


FEW_QUESTIONS, FEW_CHAINS = 100, 10


def query_scores(
    predictors: Mapping[str, NDArray[np.float32]],
    ranks: Mapping[str, NDArray[np.int64]],
    windows: Windows,
    queries: NDArray[np.int64],
    ks: Sequence[int],
) -> Scores:
    """Compute hits, reciprocal rank, cosine and direction margin of every predictor.

    Args:
        predictors: Unit predictions of all windows (W, D) by name.
        ranks: Rank of each query's target, 0 = best, (Q,) by name.
        windows: The W windows.
        queries: The windows asked, indices (Q,).
        ks: The K of each Hit@K.

    Returns:
        By predictor: ``hit@k`` (0 or 1), ``mrr`` (1 / (rank + 1)), ``mean_cosine`` = cos(predicted, next) and
        ``direction_margin`` = cos(predicted, next) - cos(predicted, current), each float64 (Q,).
    """
    following = l2_normalize(windows.store.vectors[windows.targets[queries]])  # (Q, D)
    current = l2_normalize(windows.store.vectors[windows.targets[queries] - 1])  # (Q, D)
    scores: Scores = {}
    for name, predicted in predictors.items():
        rank = ranks[name]
        to_next = _cosines(predicted[queries], following)
        scores[name] = {f"hit@{k}": (rank < k).astype(np.float64) for k in ks}
        scores[name]["mrr"] = np.reciprocal(rank + 1.0, dtype=np.float64)
        scores[name]["mean_cosine"] = to_next
        scores[name]["direction_margin"] = to_next - _cosines(predicted[queries], current)
    return scores


def _cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    cosines: NDArray[np.float64] = np.einsum("qd,qd->q", a, b, dtype=np.float64)
    return cosines


def differences(scores: Scores, yardstick: str | None = None) -> Scores:
    """Subtract every other predictor from the model, query by query: what both find hard cancels out.

    With a yardstick, the name of the best closed form, also everything that is no closed form minus it.
    """
    pairs = [(MODEL, name) for name in scores if name != MODEL]
    if yardstick is not None:
        pairs += [(name, yardstick) for name in scores if name not in (MODEL, *CLOSED_FORMS)]
    return {
        f"{one} - {other}": {metric: scores[one][metric] - scores[other][metric] for metric in scores[one]}
        for one, other in pairs
    }


def intervals_of(
    scores: Scores, clusters: NDArray[np.int64], resamples: int, seed: int
) -> dict[str, dict[str, Interval | None]]:
    """Compute the 95% interval of every mean, all from the same resamples; None for fewer than two clusters."""
    columns = [(name, metric) for name, metrics in scores.items() for metric in metrics]
    values = np.stack([scores[name][metric] for name, metric in columns], axis=1)  # (Q, M)
    ends = bootstrap_intervals(values, clusters, resamples, seed)
    intervals: dict[str, dict[str, Interval | None]] = {name: {} for name in scores}
    for i, (name, metric) in enumerate(columns):
        intervals[name][metric] = None if ends is None else (float(ends[0, i]), float(ends[1, i]))
    return intervals


def small_sample_notes(questions: int, pool: int, ks: Sequence[int] = (5,)) -> list[str]:
    """Warn a reader of scores that rest on little, in a sentence each; nothing where there is enough.

    Args:
        questions: Predictions scored.
        pool: Candidates of each.
        ks: The K of each Hit@K that is told.
    """
    notes = []
    if questions < FEW_QUESTIONS:
        only = f"Only {questions:,} question{'s' * (questions != 1)}"
        notes.append(f"{only}: a single answer moves a Hit@K by {100 / questions:.0f} points.")
    certain = [f"Hit@{k}" for k in ks if k >= pool]
    if certain:
        notes.append(f"In a pool of {pool} every prediction reaches {' and '.join(certain)}: that says nothing.")
    return notes
