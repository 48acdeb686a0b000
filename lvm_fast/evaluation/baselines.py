"""Predictors without a single parameter: what any model has to beat before it has learned anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._util.numbers import real_number
from ..ops.rowwise import l2_normalize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.windows import Windows

_BLOCK = 1 << 16  # rows at a time: at 768 dimensions 200 MB, however many windows there are
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
    return recency_means(windows, (decay,))[0]


def recency_means(
    windows: Windows, decays: Sequence[float], keys: Callable[[Any], NDArray[np.float32]] | None = None
) -> list[NDArray[np.float32]]:
    """The `recency_mean` of every decay, of the vectors that `keys` makes of those of the store, if it is given.

    Each row is mapped once a block of windows.

    Raises:
        ValueError: As `recency_mean`.
    """
    for decay in decays:
        if not 0.0 < real_number(decay, f"recency_mean: decay = {decay}") <= 1.0:
            raise ValueError(f"recency_mean: decay = {decay}; expected 0 < decay <= 1")
    vectors = windows.store.vectors
    found: list[NDArray[np.float32]] = []
    ages = int(min(windows.lengths.max(), _oldest(max(decays))))
    step = max(1, _BLOCK // ages)
    for first in range(0, len(windows), step):
        starts, targets = windows.starts[first : first + step], windows.targets[first : first + step]
        used = np.unique(np.concatenate([np.arange(max(a, b - ages), b) for a, b in zip(starts, targets, strict=True)]))
        mapped = vectors[used] if keys is None else keys(vectors[used])
        means = np.zeros((len(decays), len(starts), mapped.shape[1]), np.float32)
        for age in range(ages):
            rows = targets - 1 - age
            live = np.flatnonzero(rows >= starts)
            aged = mapped[np.searchsorted(used, rows[live])]
            for mean, decay in zip(means, decays, strict=True):
                if decay**age >= _NEGLIGIBLE:
                    mean[live] += decay**age * aged
        found.append(l2_normalize(means))
    return list(np.concatenate(found, axis=1))


def _oldest(decay: float) -> float:
    """How many vectors count with a decay."""
    return np.inf if decay == 1.0 else np.log(_NEGLIGIBLE) / np.log(decay) + 1


def chance(pool: int | NDArray[Any], ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """What drawing candidates blindly reaches in a pool of this size: Hit@k = k / pool, MRR = H(pool) / pool.

    H(n) = 1 + 1/2 + ... + 1/n is the harmonic number: the rank of the target is then uniform. Of several sizes, such
    as those of each query's own pool, it is the mean.
    """
    sizes, counts = np.unique(pool, return_counts=True)
    shares = counts / counts.sum()
    harmonic = np.interp(sizes, np.arange(1, int(sizes.max()) + 2), np.cumsum(1.0 / np.arange(1, int(sizes.max()) + 2)))
    hits = {f"hit@{k}": float((np.minimum(1.0, k / sizes) * shares).sum()) for k in ks}
    return {**hits, "mrr": float((harmonic / sizes * shares).sum())}
