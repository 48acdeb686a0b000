"""`faiss.IndexFlat`: the calls, shapes and dtypes of FAISS, answered exactly. FAISS itself is not needed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._util.numbers import real_number, whole_number
from ..retrieval.bank import VectorBank
from ..retrieval.checked_input import queries_of
from ._in_band import everything_in_band

METRIC_INNER_PRODUCT, METRIC_L2 = 0, 1  # as in FAISS
_METRICS = {METRIC_INNER_PRODUCT: "ip", METRIC_L2: "l2"}
_LARGEST = np.finfo(np.float32).max

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


class IndexFlat:
    """A flat index: every vector as it is, searched exactly.

    What differs from FAISS: scores are compared in float64, equal ones go to the lower id; `range_search` lists by
    score; NaN and infinity are a `ValueError`, and so is every other mistake.

    Args:
        d: Numbers of a vector.
        metric: `METRIC_L2` (squared distances) or `METRIC_INNER_PRODUCT`.
        device: Where to search, as `VectorBank` takes it.

    Attributes:
        d: As given.
        metric_type: The metric.
        ntotal: How many vectors there are.
        is_trained: True.

    Raises:
        ValueError: no such metric or device, or `d` is no whole number of at least 1.

    Example:
        >>> index = IndexFlat(2, METRIC_INNER_PRODUCT)
        >>> index.add([[1.0, 0.0], [0.6, 0.8]])
        >>> index.search([[0.0, 1.0]], 1)
        (array([[0.8]], dtype=float32), array([[1]]))
    """

    is_trained = True

    def __init__(self, d: int, metric: int = METRIC_L2, *, device: Any = "cpu") -> None:
        self.d = whole_number(d, "IndexFlat: d", least=1)
        if metric not in _METRICS:
            expected = f"METRIC_INNER_PRODUCT ({METRIC_INNER_PRODUCT}) or METRIC_L2 ({METRIC_L2})"
            raise ValueError(f"IndexFlat: metric: expected {expected}, got {metric!r}")
        self.metric_type, self.device = int(metric), str(device)
        self._bank: VectorBank | None = None

    @property
    def ntotal(self) -> int:
        """How many vectors there are."""
        return 0 if self._bank is None else len(self._bank)

    def add(self, x: Any) -> None:
        """Copy vectors (n, d) to the index; their ids follow. Raises ValueError where one is bad, and adds none."""
        rows = self._rows(x, "add: x").copy()
        if not len(rows):
            return
        if self._bank is None:
            self._bank = VectorBank(rows, metric=_METRICS[self.metric_type], device=self.device)
        else:
            self._bank.append(rows)

    def search(self, x: Any, k: int) -> tuple[Float32, Int64]:
        """Return the k nearest of each vector (n, d): distances (n, k) float32 and ids (n, k) int64.

        Where there are fewer than k: padded with -1, and with float32's lowest number (by L2: its largest).
        """
        queries, k = self._rows(x, "search: x"), whole_number(k, "IndexFlat.search: k", least=1)
        worst = _LARGEST if self.metric_type == METRIC_L2 else -_LARGEST
        distances = np.full((len(queries), k), worst, np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        if self._bank is not None:
            depth = min(k, len(self._bank))
            distances[:, :depth], ids[:, :depth] = self._bank.topk(queries, depth)
        return distances, ids

    def range_search(self, x: Any, thresh: float) -> tuple[NDArray[np.uint64], Float32, Int64]:
        """Return all vectors with an inner product above `thresh`, or a squared distance below it.

        Returns:
            lims (n + 1,) uint64, distances and ids: those of vector i of (n, d) are at lims[i] to lims[i + 1] - 1.
        """
        queries = self._rows(x, "range_search: x")
        bound = float(np.float32(real_number(thresh, "IndexFlat.range_search: thresh")))
        band = (-np.inf, bound) if self.metric_type == METRIC_L2 else (np.nextafter(bound, np.inf), np.inf)
        found = [] if self._bank is None else everything_in_band(self._bank, queries, *band)
        lims = np.zeros(len(queries) + 1, np.uint64)
        if not found:
            return lims, np.empty(0, np.float32), np.empty(0, np.int64)
        lims[1:] = np.cumsum([len(one.ids) for one in found])
        distances = np.concatenate([one.scores for one in found])
        return lims, distances.astype(np.float32), np.concatenate([one.ids for one in found])

    def reconstruct(self, key: int) -> Float32:
        """Return the vector (d,) of an id."""
        vector: Float32 = self.reconstruct_n(key, 1)[0]
        return vector

    def reconstruct_n(self, n0: int = 0, ni: int = -1) -> Float32:
        """Return the vectors (ni, d) from id `n0` on; all the rest where ni is -1."""
        first = whole_number(n0, "IndexFlat.reconstruct: n0", 0, self.ntotal)
        count = whole_number(ni, "IndexFlat.reconstruct: ni", -1, self.ntotal - first)
        if self._bank is None:
            return np.empty((0, self.d), np.float32)
        last = first + count if count >= 0 else None
        return self._bank.vectors[first:last]

    def reset(self) -> None:
        """Remove all vectors."""
        self._bank = None

    def _rows(self, x: Any, called: str) -> Float32:
        """Return vectors (n, d) as float32."""
        matrix = queries_of(x, self.d, f"IndexFlat.{called}")
        if matrix.is_single:
            raise ValueError(f"IndexFlat.{called}: expected shape (n, {self.d}), got ({self.d},)")
        rows: Float32 = np.asarray(matrix.given, np.float32)
        return rows


class IndexFlatIP(IndexFlat):
    """`IndexFlat` of inner products."""

    def __init__(self, d: int, *, device: Any = "cpu") -> None:
        super().__init__(d, METRIC_INNER_PRODUCT, device=device)


class IndexFlatL2(IndexFlat):
    """`IndexFlat` of squared distances."""

    def __init__(self, d: int, *, device: Any = "cpu") -> None:
        super().__init__(d, METRIC_L2, device=device)
