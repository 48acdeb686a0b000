"""`sklearn.neighbors.NearestNeighbors` by brute force, answered exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._util.numbers import real_number, whole_number
from .._util.optional import optional_module
from ..retrieval.bank import VectorBank
from ._in_band import everything_in_band

_PURPOSE = "lvm_fast.adapters.sklearn"
_validation: Any = optional_module("sklearn.utils.validation", "adapters", _PURPOSE)
if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
else:
    BaseEstimator = optional_module("sklearn.base", "adapters", _PURPOSE).BaseEstimator

_METRICS = {"euclidean": "l2", "cosine": "cosine"}
_BARELY = 4  # float64 roundings between a radius and the band that holds it

Distances = NDArray[np.float64]
Indices = NDArray[np.int64]


class ExactNeighbors(BaseEstimator):  # type: ignore[misc]
    """Nearest neighbours, exactly: an estimator with the calls of `sklearn.neighbors.NearestNeighbors`.

    Numbers are rounded to float32; their distances are computed in float64, equal ones go to the lower index, and every
    list is sorted by distance.

    Args:
        n_neighbors: How many neighbours `kneighbors` returns unless told otherwise.
        radius: The largest distance of `radius_neighbors` unless told otherwise.
        metric: "euclidean", or "cosine": 1 - the cosine.
        device: Where to search, as `VectorBank` takes it.

    Attributes:
        n_features_in_: D of what was fitted.
        n_samples_fit_: N of what was fitted.

    Example:
        >>> near = ExactNeighbors(n_neighbors=2).fit([[0.0], [1.0], [3.0]])
        >>> near.kneighbors([[0.9]], return_distance=False)
        array([[1, 0]])
    """

    def __init__(
        self, n_neighbors: int = 5, *, radius: float = 1.0, metric: str = "euclidean", device: Any = "cpu"
    ) -> None:
        self.n_neighbors = n_neighbors
        self.radius = radius
        self.metric = metric
        self.device = device

    def fit(self, X: Any, y: Any = None) -> ExactNeighbors:
        """Index the samples X (N, D); `y` is ignored.

        Raises:
            ValueError: No such metric, not two dimensions, NaN or infinity, or a zero row by "cosine".
        """
        if self.metric not in _METRICS:
            raise ValueError(f"ExactNeighbors: metric: expected one of {', '.join(_METRICS)}, got {self.metric!r}")
        rows = _validation.validate_data(self, X, dtype=[np.float32, np.float64], copy=True)
        self._bank = VectorBank(rows, metric=_METRICS[self.metric], device=self.device)
        self.n_samples_fit_ = len(self._bank)
        return self

    def kneighbors(
        self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> tuple[Distances, Indices] | Indices:
        """Find the nearest samples.

        Args:
            X: (B, D); without it each fitted sample asks, and is not among its own neighbours.
            n_neighbors: How many; fewer than there are samples without X, at most as many with it.
            return_distance: Return the distances, too.

        Returns:
            (B, n_neighbors) float64 distances and indices, nearest first, or the indices alone.
        """
        queries, itself = self._queries(X)
        wanted = self.n_neighbors if n_neighbors is None else n_neighbors
        most = self.n_samples_fit_ - (itself is not None)
        count = whole_number(wanted, "ExactNeighbors.kneighbors: n_neighbors", 1, most)
        scores, indices = self._bank.scored_band(queries, -np.inf, np.inf, count, exclude=itself)
        return (self._distances(scores), indices) if return_distance else indices

    def radius_neighbors(
        self, X: Any = None, radius: float | None = None, return_distance: bool = True, sort_results: bool = False
    ) -> tuple[NDArray[np.object_], NDArray[np.object_]] | NDArray[np.object_]:
        """Find all samples up to a distance, that one included.

        Args:
            X: (B, D); without it each fitted sample asks, and is not among its own neighbours.
            radius: The largest distance.
            return_distance: Return the distances, too.
            sort_results: Taken for the sake of the original: the lists are sorted in any case.

        Returns:
            (B,) objects, each an array of distances, and the same of indices, or the indices alone.
        """
        queries, itself = self._queries(X)
        most = real_number(self.radius if radius is None else radius, "ExactNeighbors.radius_neighbors: radius", 0.0)
        distances, indices = np.empty(len(queries), object), np.empty(len(queries), object)
        for i, found in enumerate(everything_in_band(self._bank, queries, *self._band(most), itself)):
            reached = self._distances(found.scores)
            distances[i], indices[i] = reached[reached <= most], found.ids[reached <= most]
        return (distances, indices) if return_distance else indices

    def _queries(self, X: Any) -> tuple[NDArray[Any], Indices | None]:
        """Return what asks (B, D), and where those are the fitted samples what each must not find (B, 1)."""
        _validation.check_is_fitted(self)
        if X is None:
            return np.asarray(self._bank.vectors), np.arange(self.n_samples_fit_)[:, None]
        return _validation.validate_data(self, X, dtype=[np.float32, np.float64], reset=False), None

    def _distances(self, scores: Distances) -> Distances:
        return np.sqrt(scores) if self.metric == "euclidean" else 1 - scores

    def _band(self, most: float) -> tuple[float, float]:
        """Return a band of scores that holds every distance up to `most`, and hardly more."""
        margin = _BARELY * np.finfo(np.float64).eps
        if self.metric == "euclidean":
            return -np.inf, float(np.nextafter(most * most * (1 + margin), np.inf))
        return 1 - most - margin * (1 + most), np.inf
