"""`Space`: the map from an encoder's vectors to those that are compared; fitted in one pass over a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._util.numbers import real_number, whole_number
from ..ops.rowwise import l2_normalize
from ..retrieval.keys_on_disk import map_keys, on_disk
from .registry import SPACES, kinds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.chain_store import ChainStore
    from ..data.vectors import Vectors

STRENGTH = 0.5  # of the whitening, where nothing chooses one
_BLOCK = 4096  # rows at a time
_NO_VARIANCE = 1e-12  # of unit rows that differ by rounding alone
_FLOOR = 0.02  # part of the mean variance that every direction has at least: few rows know little of most directions


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


class Space(NamedTuple):
    """A space in which vectors are compared: ``unit(A (unit(x) - mean))``, A symmetric; no A where it is only centred.

    Attributes:
        kind: "centred", "whitened", or another of `SPACES`.
        strength: How far the whitening goes: 0 leaves the covariance as it is, 1 makes it the identity.
        mean: (D,) float32.
        matrix: A, (D, D) float32; None where the space is only centred.
        rows: How many rows it was fitted on.
    """

    kind: str
    strength: float
    mean: NDArray[np.float32]
    matrix: NDArray[np.float32] | None
    rows: int

    @property
    def dim(self) -> int:
        """Width D of the vectors."""
        return len(self.mean)

    def keys(self, vectors: Any) -> NDArray[np.float32]:
        """Map vectors into the space, block by block.

        Args:
            vectors: (T, D) or (D,): an array, a tensor or a store's `Vectors`.

        Returns:
            Unit rows, float32, in the shape of `vectors`; the mean itself becomes a zero row.

        Raises:
            ValueError: The width is another.
        """
        if vectors.shape[-1] != self.dim:
            raise ValueError(f"Space: vectors have {vectors.shape[-1]} dimensions; expected {self.dim}")
        if vectors.ndim == 1:
            alone: NDArray[np.float32] = self.keys(np.asarray(vectors)[None])[0]
            return alone
        mapped = np.empty(vectors.shape, np.float32)
        for first in range(0, len(vectors), _BLOCK):
            block = l2_normalize(np.asarray(vectors[first : first + _BLOCK], np.float32)) - self.mean
            rows = block if self.matrix is None else block @ self.matrix
            mapped[first : first + _BLOCK] = l2_normalize(rows)
        return mapped

    def store(self, store: ChainStore) -> ChainStore:
        """Return the same chains with every vector in the space, float32, in memory.

        Those of a store in several files are a map of a temporary file.
        """
        from ..data.chain_store import ChainStore

        joined = store.vectors.is_joined
        vectors = on_disk(map_keys(self.keys, store.vectors)) if joined else self.keys(store.vectors)
        return ChainStore(vectors, store.offsets, store.ids, store.metadata, origins=store.origins)


def fit_space(vectors: Vectors | NDArray[Any], kind: str = "whitened", strength: float = STRENGTH) -> Space | None:
    """Fit a space to all rows in one pass; None for "raw", which changes nothing.

    Raises:
        ValueError: As `moments_of` and `space_of`.
    """
    check_kind(kind, "fit_space: kind", kinds())
    return None if kind == "raw" else space_of(moments_of(vectors), kind, strength)


def moments_of(vectors: Vectors | NDArray[Any]) -> Moments:
    """Return the mean and the covariance of all rows (T, D) at unit length, in float64, read block by block.

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


class Centred:
    """``unit(unit(x) - mean)``, with no matrix; the strength means nothing."""

    has_matrix = False

    @staticmethod
    def matrix(moments: Moments, strength: float) -> None:
        """None: the mean alone is taken away."""


class Whitened:
    """``unit(A (unit(x) - mean))`` with a whitening matrix A."""

    has_matrix = True

    @staticmethod
    def matrix(moments: Moments, strength: float) -> NDArray[np.float64]:
        """Return A (D, D), symmetric, scaled to a mean eigenvalue of 1.

        With eigenvalues w and eigenvectors E of the covariance, ``A = E diag((w + 0.02 mean(w))^(-strength / 2)) E^T``:
        ZCA whitening (Bell and Sejnowski 1997, doi:10.1016/S0042-6989(97)00121-1), softened by the strength. The floor
        shrinks what few rows tell of the covariance towards the identity.
        """
        values, vectors = np.linalg.eigh(moments.covariance)
        values = np.maximum(values, 0.0)
        scales = (values + _FLOOR * values.mean()) ** (-strength / 2)
        matrix: NDArray[np.float64] = (vectors * (scales / scales.mean())) @ vectors.T
        return matrix


def space_of(moments: Moments, kind: str, strength: float = STRENGTH) -> Space:
    """Make a space of a kind from a mean and a covariance.

    Raises:
        ValueError: The kind is unknown, or the strength is not from 0 to 1.
    """
    check_kind(kind, "space_of: kind", SPACES.names())
    strength = real_number(strength, "Space: strength", 0.0, 1.0)
    known = SPACES.load(kind)
    matrix = known.matrix(moments, strength)
    mean = moments.mean.astype(np.float32)
    if matrix is None:
        return Space(kind, 0.0, mean, None, moments.rows)
    return Space(kind, strength, mean, matrix.astype(np.float32), moments.rows)


def check_kind(kind: Any, called: str, known: Sequence[str]) -> None:
    """Raise ValueError, which begins with `called`, unless the kind is among those known."""
    if kind not in known:
        raise ValueError(f"{called} = {kind!r}; expected one of {', '.join(known)}")


def check_dim(dim: int, space: Space, called: str) -> None:
    """Raise ValueError, which begins with `called`, where a space is of another width than a model."""
    if whole_number(dim, called) != space.dim:
        raise ValueError(f"{called}: the space was fitted on {space.dim} dimensions; expected {dim}, as the model has")
