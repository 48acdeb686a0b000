"""What a bank holds at one moment: segments that were packed one after another, and which candidates were removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .._core import Bank, Rows
from ..data.vectors import Vectors
from .checked_input import Matrix, blocks_of, matrix_of
from .filters import Bits, Exclusions
from .opened_file import OpenedFile, Pages
from .prefixes import Axes, add_prefixes, prefixes_of, principal_axes

if TYPE_CHECKING:
    from .device_bank import DeviceBank

_TIER = 8  # as many segments of one order of magnitude, base 8, become one


@dataclass(frozen=True)
class Segment:
    """Consecutive candidates that were packed together.

    Attributes:
        core: Their packed form.
        vectors: (n, D), as they were given.
        size: n.
        held: Bits (`numpy.packbits`) of those that were not removed; None where all are held.
        axes: Those of its prefixes (P, D), the same in all segments of a bank, or None.
        pages: Its mapped memory, which is given back after each question; or None.
    """

    core: Bank | DeviceBank
    vectors: Any
    size: int
    held: Bits | None = None
    axes: Axes | None = None
    pages: Pages | None = None

    @classmethod
    def packed(
        cls, matrix: Matrix, metric: str, held: Bits | None = None, axes: Axes | None = None, device: str = "cpu"
    ) -> Segment:
        """Pack rows. Raises ValueError for a row that cannot be scored, or a device that is not there."""
        core = engine_on(device, matrix.rows, metric)
        if axes is not None and isinstance(core, Bank):
            add_prefixes(core, Vectors.of(matrix.given), axes, metric)
        return cls(core, matrix.given, matrix.rows.rows, held, axes)

    def searched_often(self, metric: str) -> Segment:
        """Return the segment with prefixes, where they pay."""
        vectors = Vectors.of(self.vectors)
        axes = principal_axes(vectors, metric) if isinstance(self.core, Bank) else None
        if axes is None or not isinstance(self.core, Bank):
            return self
        add_prefixes(self.core, vectors, axes, metric)
        return replace(self, axes=axes)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays of the packed form by name, as `bank_file.py` keeps them."""
        return self.core.packed() | ({} if self.axes is None else {"axes": self.axes})

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(n,) False for the removed."""
        if self.held is None:
            return np.ones(self.size, bool)
        return np.unpackbits(self.held, count=self.size).astype(bool)

    def without(self, places: NDArray[np.int64]) -> Segment:
        """Return the segment with some candidates removed; this one stays as it is."""
        mask = self.mask.copy()
        mask[places] = False
        return replace(self, held=np.packbits(mask))


@dataclass(frozen=True)
class Contents:
    """Segments in the order of their ids. Nothing here changes: a changed bank has other contents.

    Attributes:
        segments: None after a refill that failed.
        file: The mapped file that holds just this, or None.
    """

    segments: tuple[Segment, ...] = ()
    file: OpenedFile | None = None
    is_streamed: ClassVar[bool] = False  # whether every question reads all of it from several files

    @classmethod
    def of_file(cls, file: OpenedFile, where: str) -> Contents:
        """Return the contents of a saved bank. Raises ValueError where its arrays do not fit together."""
        axes = file.packed.get("axes")
        parts = [
            Segment(part.core, part.vectors, len(part.vectors), None, axes, part.pages) for part in file.parts(where)
        ]
        return cls(tuple(parts), file)

    @cached_property
    def firsts(self) -> list[int]:
        """The id of each segment's first candidate, and last the one that the next candidate gets."""
        return list(accumulate((segment.size for segment in self.segments), initial=0))

    @property
    def size(self) -> int:
        """All ids are below it."""
        return self.firsts[-1]

    @cached_property
    def count(self) -> int:
        """How many candidates were not removed."""
        removed = sum(segment.size - int(segment.mask.sum()) for segment in self.segments if segment.held is not None)
        return self.size - removed

    @property
    def is_whole(self) -> bool:
        """Whether all was packed together and nothing removed."""
        return len(self.segments) == 1 and self.segments[0].held is None

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(N,) False for ids that were removed."""
        return np.concatenate([segment.mask for segment in self.segments])

    def vectors(self, where: str) -> Vectors:
        """Return all vectors, the removed ones too: as they were given, or a copy where there are several segments."""
        if self.file is not None:
            return self.file.vectors
        return joined([Vectors.of(segment.vectors, None, where) for segment in self.segments])

    def kept_vectors(self, where: str) -> Vectors:
        """Return those that were not removed."""
        return self.vectors(where).select(self.mask)

    def appended(self, matrix: Matrix, metric: str, device: str = "cpu") -> Contents:
        """Return the contents with further candidates, packed with some of the smaller segments before them.

        However little is appended at a time, a candidate is packed again a few times at most, and segments stay few.
        """
        sizes = [segment.size for segment in self.segments[1:]]
        count = len(self.segments) - _joined_with(sizes, matrix.rows.rows)
        before = self.segments[count:]
        held = None
        if any(segment.held is not None for segment in before):
            held = np.packbits(np.concatenate([*(segment.mask for segment in before), np.ones(matrix.rows.rows, bool)]))
        if before:
            parts = [*(segment.vectors for segment in before), matrix.given]
            matrix = matrix_of(joined([Vectors.of(part) for part in parts]), "vectors")
        segment = Segment.packed(matrix, metric, held, self.segments[0].axes, device)
        return Contents((*self.segments[:count], segment))

    def without(self, ids: NDArray[np.int64]) -> Contents:
        """Return the contents without some ids, which are held."""
        segments = []
        for first, segment in zip(self.firsts, self.segments, strict=False):
            places = ids[(ids >= first) & (ids < first + segment.size)] - first
            segments.append(segment.without(places) if len(places) else segment)
        return replace(self, segments=tuple(segments), file=None)

    def placed(self) -> Iterator[tuple[int, Segment]]:
        """Walk over (first id, segment), giving back the memory of each afterwards where it is a piece of a file."""
        for first, segment in zip(self.firsts, self.segments, strict=False):
            if segment.pages is not None:
                segment.pages.will_need()
            try:
                yield first, segment
            finally:
                if segment.pages is not None:
                    segment.pages.give_back()

    def give_back(self) -> None:
        """Give back the memory of all pieces of a file."""
        for segment in self.segments:
            if segment.pages is not None:
                segment.pages.give_back()

    def pair_scores(self, queries: Rows, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the core's score of each query with one id, (B,). Raises ValueError for an id that is not held."""
        self._check_held(ids)
        if len(self.segments) == 1:
            return self.segments[0].core.pair_scores(queries, ids)
        scores = np.zeros(len(ids))
        for first, segment in zip(self.firsts, self.segments, strict=False):
            inside = (ids >= first) & (ids < first + segment.size)
            if inside.any():  # of the others, the first candidate's scores, which are not looked at
                own = segment.core.pair_scores(queries, np.where(inside, ids - first, 0))
                scores[inside] = own[inside]
                if segment.pages is not None:
                    segment.pages.give_back()
        return scores

    def rank(
        self,
        queries: Rows,
        scores: NDArray[np.float64],
        ids: NDArray[np.int64],
        first_id: int,
        most: int,
        left_out: Exclusions,
    ) -> NDArray[np.int64]:
        """Count what beats each score and id, (B,), up to `most`; candidates count as ids from `first_id` on."""
        ranks = np.zeros(len(ids), np.int64)
        for first, segment in self.placed():
            wanted = left_out.of_ids(first, segment.size, segment.held)
            ranks += segment.core.rank(queries, scores, ids, first_id + first, most, wanted)
        capped: NDArray[np.int64] = np.minimum(ranks, most)
        return capped

    def best(
        self,
        asked: Matrix,
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        limit: int,
        left_out: Exclusions,
        metric: str,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the best with low <= score < high: scores and ids (B, limit), padded with -infinity and -1."""
        if limit == 0:  # everything was removed; the core still checks the queries
            scores, ids = self.best(asked, low, high, 1, left_out, metric)
            return scores[:, :0], ids[:, :0]
        best: tuple[NDArray[np.float64], NDArray[np.int64]] | None = None
        axes, prefixes, tails = self.segments[0].axes, None, None
        if axes is not None:
            count = asked.rows.rows
            vectors = Vectors.of(asked.given)[:] if count else np.empty((0, axes.shape[1]), np.float32)
            rows, tails = prefixes_of(vectors, axes, metric)
            prefixes = Rows(rows)
        for first, segment in self.placed():
            wanted, count = left_out.of_ids(first, segment.size, segment.held), min(limit, segment.size)
            scores, ids = segment.core.best(asked.rows, low, high, count, wanted, prefixes, tails)
            if first:
                ids[ids >= 0] += first
            best = (scores, ids) if best is None else merged([best, (scores, ids)], limit)
            if best[0].shape[1] == limit:  # what scores less is of no use any more
                low = np.maximum(low, best[0][:, -1])
        assert best is not None
        return best

    def sum_exp(self, queries: Rows, scale: float, best: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum exp(scale * (score - best)) over what is held, (B,)."""
        sums = np.zeros(len(best))
        for _, segment in self.placed():
            sums += segment.core.sum_exp(queries, scale, best, segment.held)
        return sums

    def take_tally(self) -> NDArray[np.int64]:
        """Return the pairs screened, refined and rescored since the last call."""
        tally: NDArray[np.int64] = np.sum([segment.core.take_tally() for segment in self.segments], axis=0)
        return tally

    def _check_held(self, ids: NDArray[np.int64]) -> None:
        outside = (ids < 0) | (ids >= self.size)
        if outside.any():
            b = int(np.argmax(outside))
            raise ValueError(f"targets[{b}] = {ids[b]}: expected an id in [0, {self.size})")
        if self.count < self.size and not self.mask[ids].all():
            b = int(np.argmin(self.mask[ids]))
            raise ValueError(f"targets[{b}] = {ids[b]}: expected an id that is held, got one that was removed")


def engine_on(device: str, rows: Rows, metric: str) -> Bank | DeviceBank:
    if device == "cpu":
        return Bank(rows, metric)
    from .device_bank import engine_on  # with torch

    return engine_on(device, rows, metric)


def merged(
    lists: Sequence[tuple[NDArray[np.float64], NDArray[np.int64]]], limit: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the best `limit` of several lists, scores and ids (B, any), equal scores to the lower id."""
    rows, width = len(lists[0][0]), min(limit, sum(scores.shape[1] for scores, _ in lists))
    best_scores, best_ids = np.empty((rows, width)), np.empty((rows, width), np.int64)
    for some in blocks_of(rows, sum(scores.shape[1] for scores, _ in lists)):
        scores = np.concatenate([of_one[some] for of_one, _ in lists], axis=1)
        ids = np.concatenate([of_one[some] for _, of_one in lists], axis=1)
        order = np.lexsort((ids, -scores), axis=1)[:, :width]
        best_scores[some], best_ids[some] = np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
    return best_scores, best_ids


def joined(parts: Sequence[Vectors]) -> Vectors:
    """Return vectors of one format one after another."""
    if len(parts) == 1:
        return parts[0]
    scales = [part.scales for part in parts if part.scales is not None]
    raw = np.concatenate([part.raw for part in parts])
    return Vectors(raw, parts[0].dtype_name, np.concatenate(scales) if scales else None)


def _joined_with(sizes: Sequence[int], added: int) -> int:
    """Return how many of the last segments, of such sizes, are packed with `added` candidates."""
    count = 0
    while count < len(sizes):
        tiers = [(size.bit_length() - 1) // 3 for size in sizes[: len(sizes) - count]]
        own = (added.bit_length() - 1) // 3
        alike = next((i for i, tier in enumerate(reversed(tiers)) if tier > own), len(tiers))
        smaller = next((i for i, tier in enumerate(reversed(tiers)) if tier >= own), len(tiers))
        more = alike if alike >= _TIER - 1 else smaller
        if more == 0:
            break
        added += sum(sizes[len(sizes) - count - more : len(sizes) - count])
        count += more
    return count
