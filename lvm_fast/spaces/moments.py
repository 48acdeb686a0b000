"""The mean and the covariance of vectors at unit length: what a space is fitted to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..ops.rowwise import l2_normalize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.vectors import Vectors

_BLOCK = 4096  # rows at a time
_NO_VARIANCE = 1e-12  # of unit rows that differ by rounding alone


class Moments(NamedTuple):
    """The first two moments of unit rows.

    Attributes:
        mean: (D,) float64.
        covariance: (D, D) float64, divided by the number of rows.
        rows: How many rows.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    rows: int


def moments_of(vectors: Vectors | NDArray[Any]) -> Moments:
    """The mean and the covariance of all rows (T, D) at unit length, in float64, read block by block.

    Raises:
        ValueError: There are fewer than two rows, one holds NaN or infinity, or all are equal.
    """
    count = len(vectors)
    if count < 2:
        raise ValueError(f"Space: {count} row{'s' * (count != 1)}; expected at least 2 to fit a space")
    origin = _unit_rows(vectors, 0, 1)[0]  # sums of squares of what is alike would lose their digits
    total, squares = np.zeros_like(origin), np.zeros((len(origin), len(origin)))
    for first in range(0, count, _BLOCK):
        rows = _unit_rows(vectors, first, first + _BLOCK) - origin
        total += rows.sum(axis=0)
        squares += rows.T @ rows
    shift = total / count
    covariance = squares / count - np.outer(shift, shift)
    if not np.trace(covariance) > _NO_VARIANCE:
        raise ValueError(f"Space: all {count} rows are equal; expected rows that differ")
    return Moments(origin + shift, covariance, count)


def _unit_rows(vectors: Vectors | NDArray[Any], first: int, end: int) -> NDArray[np.float64]:
    rows = np.asarray(vectors[first:end], np.float32)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ValueError(f"Space: row {first + int(np.argmin(finite))} holds NaN or Inf; expected finite values")
    return np.asarray(l2_normalize(rows), np.float64)
