"""`JoinedRows`: rows of several arrays, often memory maps, as one array; only places are kept in memory."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

from .number_formats import Int64, Raw

_HELD_BYTES = 256 << 20  # of pages of mapped files, before they are given back to the system
_AROUND = 1 << 20  # bytes that a system maps with a row, at most
_LEAST_STEP = np.iinfo(np.int64).min  # no index follows another by it


class _Pages:
    """The pages of mapped files that the rows of some arrays, and of all selections of them, keep in memory."""

    def __init__(self, arrays: Sequence[Raw]) -> None:
        self._maps = [found for found in map(_map_of, arrays) if found is not None]
        self._touched = 0

    def touch(self, count: int) -> None:
        """Count bytes that are about to be read; what was read before is given back when there is too much of it.

        The system keeps the pages as long as it has room, and a view maps them again when it is read.
        """
        self._touched += count
        if self._touched > _HELD_BYTES:
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)
            self._touched = count


class JoinedRows:
    """T rows out of several arrays of one dtype and width, in an order of its own, read where they are indexed.

    It holds runs of rows that follow each other where they lie: 16 bytes a run. Indexing reads rows into a numpy array,
    a view where one run of one array covers a slice; `select` only makes another `JoinedRows`. Of mapped files no more
    than some hundred megabytes stay in the memory of the process: it tells the system to take the pages back.

    Attributes:
        shape: (T, D), or (T,) of single numbers.
        dtype: of every array.
    """

    def __init__(self, parts: Sequence[Raw], runs: tuple[Int64, Int64] | None = None) -> None:
        """Join arrays end to end.

        Args:
            parts: arrays (n, D), or (n,), of one dtype.
            runs: where each run begins in the arrays end to end, and how many rows it has, (R,) each; all rows in
                order when left out.
        """
        self._parts = list(parts)
        self._firsts = _sums([len(part) for part in self._parts])  # (P + 1,)
        starts, lengths = (self._firsts[:1], self._firsts[-1:]) if runs is None else runs
        self._sources = starts  # (R,)
        self._begins = _sums(lengths)  # (R + 1,)
        self.dtype = self._parts[0].dtype
        self.shape: tuple[int, ...] = (int(self._begins[-1]), *self._parts[0].shape[1:])
        self.ndim = len(self.shape)
        self._pages = _Pages(self._parts)

    @property
    def runs(self) -> tuple[Int64, Int64]:
        """Where each run begins in the arrays end to end, and how many rows it has, (R,) each."""
        return self._sources, np.diff(self._begins)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Raw:
        if isinstance(rows, slice):
            return self._read_slice(rows)
        places = self._places(rows)
        read: Raw = self._gather(places.ravel()).reshape((*places.shape, *self.shape[1:]))
        return read

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Raw:
        if copy is False:
            raise ValueError("JoinedRows: rows of several arrays cannot be read as one without a copy")
        return self[:].astype(dtype or self.dtype, copy=False)

    def select(self, rows: Any) -> JoinedRows:
        """Return some rows, by a slice or an index array, without reading them."""
        if isinstance(rows, slice) and rows.step in (None, 1):
            first, stop, _ = rows.indices(len(self))
            return self._part(self._cut(first, max(first, stop)))
        places = self._sources_of(self._places(rows).ravel())
        starts = np.flatnonzero(np.diff(places, prepend=_LEAST_STEP) != 1)
        return self._part((places[starts], np.diff(starts, append=len(places))))

    def ranges(self, starts: Int64, stops: Int64) -> JoinedRows:
        """Return rows starts[i] to stops[i] for each i in turn, without reading them."""
        cuts = [self._cut(first, stop) for first, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
        sources, lengths = (np.concatenate([cut[part] for cut in cuts]) for part in (0, 1))
        return self._part((sources, lengths))

    def _part(self, runs: tuple[Int64, Int64]) -> JoinedRows:
        part = JoinedRows(self._parts, runs)
        part._pages = self._pages  # counted together
        return part

    def _cut(self, first: int, stop: int) -> tuple[Int64, Int64]:
        """Return the runs of rows first to stop."""
        if first == stop:
            return self._sources[:0], self._sources[:0]
        low = int(np.searchsorted(self._begins, first, side="right")) - 1
        high = int(np.searchsorted(self._begins, stop, side="left"))
        begins = np.maximum(self._begins[low:high], first)
        ends = np.minimum(self._begins[low + 1 : high + 1], stop)
        return self._sources[low:high] + begins - self._begins[low:high], ends - begins

    def _places(self, rows: Any) -> Int64:
        """Return row numbers from 0 on, as numpy would read `rows`."""
        asked = np.asarray(np.arange(len(self))[rows] if isinstance(rows, slice) else rows)
        if asked.dtype == bool:
            if asked.shape != self.shape[:1]:
                raise IndexError(f"boolean index of shape {asked.shape}; expected {self.shape[:1]}")
            asked = np.flatnonzero(asked)
        if asked.dtype.kind not in "iu" and asked.size:
            raise IndexError(f"rows of dtype {asked.dtype}; expected integers, booleans or a slice")
        places = asked.astype(np.int64)
        outside = (places < -len(self)) | (places >= len(self))
        if outside.any():
            raise IndexError(f"row {places[outside][0]} is out of bounds for {len(self)} rows")
        return np.where(places < 0, places + len(self), places)

    def _sources_of(self, places: Int64) -> Int64:
        run = np.searchsorted(self._begins, places, side="right") - 1
        sources: Int64 = self._sources[run] + places - self._begins[run]
        return sources

    def _read_slice(self, rows: slice) -> Raw:
        first, stop, step = rows.indices(len(self))
        self._pages.touch(max(0, stop - first) * self._row_bytes + _AROUND)
        if step != 1:
            return self._gather(np.arange(first, stop, step))
        sources, lengths = self._cut(first, max(first, stop))
        pieces = [piece for run in zip(sources.tolist(), lengths.tolist(), strict=True) for piece in self._pieces(*run)]
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty((0, *self.shape[1:]), self.dtype)

    def _pieces(self, source: int, length: int) -> list[Raw]:
        """Return views of the arrays that a run lies in."""
        part = int(np.searchsorted(self._firsts, source, side="right")) - 1
        pieces = []
        while length:
            piece = self._parts[part][source - int(self._firsts[part]) :][:length]
            pieces.append(piece)
            source, length, part = source + len(piece), length - len(piece), part + 1
        return [piece for piece in pieces if len(piece)] or pieces[:1]

    @property
    def _row_bytes(self) -> int:
        return self.dtype.itemsize * (self.shape[1] if self.ndim > 1 else 1)

    def _gather(self, places: Int64) -> Raw:
        sources = self._sources_of(places)
        gathered = np.empty((len(places), *self.shape[1:]), self.dtype)
        jumps = np.diff(sources, prepend=_LEAST_STEP) != 1
        costs = np.cumsum(self._row_bytes + _AROUND * jumps)  # bytes that are mapped by then
        cuts = np.flatnonzero(np.diff(costs // _HELD_BYTES)) + 1
        for first, stop in zip([0, *cuts.tolist()], [*cuts.tolist(), len(places)], strict=True):
            some, into = sources[first:stop], gathered[first:stop]
            self._pages.touch(len(some) * self._row_bytes + int(np.count_nonzero(jumps[first:stop])) * _AROUND)
            owner = np.searchsorted(self._firsts, some, side="right") - 1
            for part in np.unique(owner).tolist():
                here = owner == part
                into[here] = self._parts[part][some[here] - self._firsts[part]]
        return gathered


def _map_of(array: Raw) -> mmap.mmap | None:
    """Return the read-only map of a file that an array lies in, if any."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    owner = owner.obj if isinstance(owner, memoryview) else owner
    return owner if isinstance(owner, mmap.mmap) and not array.flags.writeable else None


def _sums(counts: Any) -> Int64:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
