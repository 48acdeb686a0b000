"""Predictors without a single parameter: what any model has to beat before it has learned anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..kernels import l2_normalize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.windows import Windows

_BLOCK = 1024  # windows at a time: a few megabytes of rows, however many windows there are
_NEGLIGIBLE = 1e-9  # a weight that cannot change a float32 sum of unit vectors


def copy_last(windows: Windows) -> NDArray[np.float32]:
    """Predict that the next vector is the current one: the last context vector at unit length, float32 (W, D)."""
    last: NDArray[np.float32] = l2_normalize(windows.store.vectors[windows.targets - 1])
    return last


def recency_mean(windows: Windows, decay: float = 0.8) -> NDArray[np.float32]:
    """Predict the recency-weighted mean of the context: ``l2_normalize(sum(decay**age * vector))``, float32 (W, D).

    The last context vector has age 0. ``decay = 1`` is the plain mean.

    Raises:
        ValueError: If ``decay`` is not in (0, 1].
    """
    if not 0.0 < decay <= 1.0:
        raise ValueError(f"recency_mean: decay = {decay}; expected 0 < decay <= 1")
    vectors = windows.store.vectors
    means = np.zeros((len(windows), windows.store.dim), np.float32)
    for first in range(0, len(windows), _BLOCK):
        block = slice(first, first + _BLOCK)
        starts, targets = windows.starts[block], windows.targets[block]
        for age in range(int((targets - starts).max())):
            weight = decay**age
            if weight < _NEGLIGIBLE:
                break
            rows = targets - 1 - age
            live = np.flatnonzero(rows >= starts)
            means[first + live] += weight * vectors[rows[live]]
    unit: NDArray[np.float32] = l2_normalize(means)
    return unit


def chance(pool: int, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """What drawing candidates blindly reaches in a pool of this size: Hit@k = k / pool, MRR = H(pool) / pool.

    H(n) = 1 + 1/2 + ... + 1/n is the harmonic number: the rank of the target is then uniform.
    """
    hits = {f"hit@{k}": min(1.0, k / pool) for k in ks}
    return {**hits, "mrr": float(np.sum(1.0 / np.arange(1, pool + 1)) / pool)}
