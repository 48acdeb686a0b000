"""Contents whose vectors stay on disk: every question packs them piece by piece, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .._core import Rows
from ..data.vectors import Vectors
from ..ops.rows import rows_of
from .checked_input import Matrix
from .contents import Contents, Segment, engine_on
from .filters import Bits

_PACKED_BYTES = 64 << 20  # of float32 numbers, packed at once


@dataclass(frozen=True)
class StreamedContents(Contents):
    """Contents of rows in several places, such as those of a store in several files: ask many questions at once.

    A segment is packed when a question comes to it, into the memory of the one before; its `core` holds the first.

    Attributes:
        rows: (N, D).
        metric, device: Of the bank.
    """

    rows: Vectors | None = None
    metric: str = "ip"
    device: str = "cpu"
    is_streamed: ClassVar[bool] = True

    @classmethod
    def of(cls, rows: Vectors, metric: str, device: str, held: Sequence[Bits | None] = ()) -> StreamedContents:
        """Take rows (N, D); of segments that some were removed from, the bits of the others."""
        step = max(1, _PACKED_BYTES // (4 * rows.shape[1]))
        parts = [rows.select(slice(first, first + step)) for first in range(0, len(rows), step)]
        core = engine_on(device, rows_of(parts[0], "vectors"), metric)
        kept = held or [None] * len(parts)
        segments = tuple(Segment(core, *each) for each in zip(parts, map(len, parts), kept, strict=True))
        return cls(segments, None, rows, metric, device)

    def vectors(self, where: str) -> Vectors:
        """See `Contents.vectors`; nothing is read."""
        return Vectors.of(self.rows, None, where)

    def appended(self, matrix: Matrix, metric: str, device: str = "cpu") -> Contents:
        """Raise ValueError: what is appended has no place on disk."""
        raise ValueError("vectors: a bank of rows in several files takes no others; expected a bank in memory")

    def placed(self) -> Iterator[tuple[int, Segment]]:
        """Walk over (first id, segment), packing each."""
        core = None
        for first, segment in zip(self.firsts, self.segments, strict=False):
            rows = rows_of(segment.vectors, "vectors")
            try:
                if core is None:
                    core = engine_on(self.device, rows, self.metric)
                else:
                    core.refill(rows)
            except ValueError as error:
                raise ValueError(f"{error} (rows counted from {first})") from None
            yield first, replace(segment, core=core)

    def pair_scores(self, queries: Rows, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Contents.pair_scores`; only rows that are asked for are read."""
        self._check_held(ids)
        asked, places = np.unique(ids, return_inverse=True)
        rows = rows_of(self.vectors("vectors").select(asked), "vectors")
        return engine_on(self.device, rows, self.metric).pair_scores(queries, places.astype(np.int64))
