"""`Windows`: (context, target) pairs as row numbers into a `ChainStore`; vectors are gathered only when asked for.

`Windows` lays them out by rule, `query_windows` so that there are enough to score on, and `GivenWindows` as somebody
else has chosen.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._util.numbers import real_number, truth_value, whole_number
from .._util.text import unicode_text
from .chain_store import ChainStore
from .number_formats import Float32, Int64
from .sequences import read_sequences

ENOUGH = 200  # questions; a Hit@K of so many is known to some three points
_LEAST_STRIDE = 2  # at 1 the chunk before each target is a target too: copy-last would find itself first
_BLOCK_ROWS = 8192


class Batch(NamedTuple):
    """B windows as arrays.

    Attributes:
        context: (B, n, D) float32, padded with zeros on the right to the longest context of the batch.
        lengths: (B,) int64, the valid rows of each context.
        target: (B, D) float32; of `AllPositions` (P, D), the targets of one window after those of another.
        positions: (B,) or (P,) int64, the context row before each target, as a row of the flat context (B * n, D).
    """

    context: Float32
    lengths: Int64
    target: Float32
    positions: Int64


class Windows:
    """The training or evaluation windows of a store, in reading order.

    In each chain of L rows the targets are rows L-1, L-1-stride, L-1-2*stride, ... while at least `min_length` - 1 rows
    stand before them; the context is the up to `context_length` rows before the target. So short chains, and the
    beginnings of long ones, are used too.

    Attributes:
        starts: (W,) int64, the first context row of each window.
        targets: (W,) int64, the target row; the context is rows starts to targets - 1.
        chains: (W,) int64, the chain of the target.
        stride: rows between the targets of a chain; None where they follow no rule (`GivenWindows`).
        counts: (W,) int64, the targets of each window: one.
        dropped_incoherent: how many targets `min_coherence` removed.
    """

    def __init__(
        self,
        store: ChainStore,
        context_length: int,
        stride: int | None = None,
        min_length: int = 7,
        min_coherence: float | None = None,
        cross_chains: bool = False,
    ) -> None:
        """Lay out the windows.

        Args:
            store: where the vectors are.
            context_length: the most rows in a context.
            stride: rows between targets; half the context length (at least 1) when left out.
            min_length: the fewest rows of context and target together, at least 2.
            min_coherence: drop windows with cos(last context vector, target) below this.
            cross_chains: treat the whole store as one chain, as the reference did.

        Raises:
            ValueError: an argument out of range, or no window is left.
        """
        context_length = whole_number(context_length, "Windows: context_length", least=1)
        if stride is None:
            stride = self.usual_stride(context_length)
        stride = whole_number(stride, "Windows: stride", least=1)
        min_length = whole_number(min_length, "Windows: min_length", least=2)
        is_one_chain = truth_value(cross_chains, "Windows: cross_chains")
        offsets = store.offsets[[0, -1]] if is_one_chain else store.offsets
        rows = len(store.vectors)  # numbers beyond it say the same, and may be beyond int64
        self.store = store
        self.context_length = context_length
        self.stride: int | None = stride
        self.targets, chain_starts = _targets(offsets, min(stride, rows), min(min_length, rows + 1))
        if not len(self.targets):
            longest = int(np.diff(offsets).max())
            raise ValueError(f"Windows: no window: the longest chain has {longest} rows, min_length is {min_length}")
        self.starts = np.maximum(chain_starts, self.targets - min(context_length, rows))
        self._keep_coherent(min_coherence)

    @staticmethod
    def usual_stride(context_length: int) -> int:
        """Return the rows between targets where none are given: half the context length, at least 1."""
        return max(1, context_length // 2)

    def _keep_coherent(self, min_coherence: float | None) -> None:
        """Count the targets of each window, and drop the windows that have none; the rest of the constructor."""
        if min_coherence is not None:
            min_coherence = real_number(min_coherence, "Windows: min_coherence")
        self.counts, self.dropped_incoherent = self._count_targets(min_coherence)
        keep = self.counts > 0
        if not keep.any():
            raise ValueError(
                f"Windows: min_coherence = {min_coherence} drops all {len(keep)} windows; expected a lower value"
            )
        self.starts, self.targets, self.counts = self.starts[keep], self.targets[keep], self.counts[keep]
        self.chains = self.store.chain_of(self.targets)

    def _count_targets(self, min_coherence: float | None) -> tuple[Int64, int]:
        """Return the targets of each window that are coherent enough (W,), and how many are not."""
        if min_coherence is None:
            return np.ones_like(self.targets), 0
        counts = (coherence(self.store, self.targets) >= min_coherence).astype(np.int64)
        return counts, int(len(counts) - counts.sum())

    def target_rows(self, indices: npt.ArrayLike) -> Int64:
        """Return the target rows of the windows `indices` (B,), in the order of `batch`: (B,)."""
        return self.targets[self._chosen(indices)]

    def batch(self, indices: npt.ArrayLike) -> Batch:
        """Gather the windows `indices` (B,), whose context rows are read once each and nothing else is.

        Raises:
            ValueError: `indices` is empty or has an entry outside 0 to len(self) - 1.
        """
        chosen = self._chosen(indices)
        starts = self.starts[chosen]
        lengths = self.targets[chosen] - starts
        steps = np.arange(lengths.max())
        valid = steps < lengths[:, None]  # (B, n)
        rows = self.store.vectors[(starts[:, None] + steps)[valid]]  # (sum of lengths, D)
        if valid.all():
            context = rows.reshape(*valid.shape, self.store.dim)
        else:
            context = np.zeros((*valid.shape, self.store.dim), dtype=np.float32)
            context[valid] = rows
        targets = self.target_rows(chosen)
        # row r - 1 of the store is row r - 1 - start of its window's part of the flat context
        shifts = np.arange(len(chosen)) * len(steps) - starts - 1
        positions = targets + np.repeat(shifts, self.counts[chosen])
        return Batch(context, lengths, self.store.vectors[targets], positions)

    def _chosen(self, indices: npt.ArrayLike) -> Int64:
        chosen = np.asarray(indices)
        is_list = chosen.ndim == 1 and len(chosen) and chosen.dtype.kind in "iu"
        if not is_list or chosen.min() < 0 or chosen.max() >= len(self):
            raise ValueError(f"Windows.batch: expected indices (B,) within 0 to {len(self) - 1}, got {indices!r}")
        return chosen

    @property
    def knows_chains(self) -> bool:
        """Whether the chains are documents; a sequence file's are guessed from windows that overlap."""
        return True

    @property
    def lengths(self) -> Int64:
        """(W,) rows in each context."""
        return self.targets - self.starts

    def __len__(self) -> int:
        return len(self.targets)


def _targets(offsets: Int64, stride: int, min_length: int) -> tuple[Int64, Int64]:
    """Every target row, ascending, and the first row of its chain, both (W,)."""
    lengths = np.diff(offsets)
    counts = np.maximum(0, (lengths - min_length) // stride + 1)  # (C,)
    window = np.arange(counts.sum())
    from_last = np.repeat(np.cumsum(counts), counts) - 1 - window  # 0 for a chain's last target
    targets = np.repeat(offsets[1:], counts) - 1 - from_last * stride
    return targets, np.repeat(offsets[:-1], counts)


def coherence(store: ChainStore, targets: Int64) -> Float32:
    """Compute cos(row before the target, target) of each target row (W,), in blocks."""
    cosines = np.empty(len(targets), dtype=np.float32)
    for first in range(0, len(targets), _BLOCK_ROWS):
        block = targets[first : first + _BLOCK_ROWS]
        target, last = store.vectors[block], store.vectors[block - 1]
        norms = np.linalg.norm(target, axis=1) * np.linalg.norm(last, axis=1)
        cosines[first : first + _BLOCK_ROWS] = np.einsum("wd,wd->w", target, last) / norms
    return cosines


class GivenWindows(Windows):
    """Windows at given places of a store, in the given order; several may have one target.

    Attributes:
        stride: None: the targets follow no rule.
        context_length: the most rows in a context.
    """

    def __init__(
        self,
        store: ChainStore,
        starts: npt.ArrayLike,
        targets: npt.ArrayLike,
        min_coherence: float | None = None,
    ) -> None:
        """Lay out the windows.

        Args:
            store: where the vectors are.
            starts: (W,) the first context row of each window.
            targets: (W,) the target row, of the same chain; the context is rows starts to targets - 1.
            min_coherence: drop windows with cos(last context vector, target) below this.

        Raises:
            ValueError: the places do not fit the store, or no window is left.
        """
        self.store = store
        self.starts, self.targets = _checked_places(store, starts, targets)
        self.stride = None
        self.context_length = int(self.lengths.max())
        self._keep_coherent(min_coherence)

    @classmethod
    def of_sequences(cls, path: str | os.PathLike[str]) -> GivenWindows:
        """Return the windows of the reference's sequence file, as they are, on the chains they were cut from.

        Raises:
            OSError, ValueError: as `ChainStore.from_sequences`.
        """
        where = f"GivenWindows.of_sequences: {os.fspath(path)}"
        read = read_sequences(path, where)
        metadata = {"source": unicode_text(os.path.basename(path)), "sequences": read.facts}
        store = ChainStore(read.rows, read.offsets, metadata=metadata, where=where)
        return cls(store, read.starts, read.starts + read.context_length)

    @property
    def knows_chains(self) -> bool:
        """See `Windows.knows_chains`."""
        return "sequences" not in self.store.metadata

    def part(self, indices: npt.ArrayLike, min_coherence: float | None = None) -> GivenWindows:
        """Return some of the windows, by their indices (B,). Raises ValueError as the constructor does."""
        chosen = self._chosen(indices)
        return GivenWindows(self.store, self.starts[chosen], self.targets[chosen], min_coherence)


def _checked_places(store: ChainStore, starts: Any, targets: Any) -> tuple[Int64, Int64]:
    firsts, lasts = np.asarray(starts), np.asarray(targets)
    if firsts.ndim != 1 or firsts.shape != lasts.shape or not len(firsts):
        raise ValueError(
            f"GivenWindows: starts has shape {firsts.shape}, targets {lasts.shape}; expected (W,) each, W at least 1"
        )
    if firsts.dtype.kind not in "iu" or lasts.dtype.kind not in "iu":
        raise ValueError(f"GivenWindows: starts are {firsts.dtype}, targets {lasts.dtype}; expected integers")
    firsts, lasts = firsts.astype(np.int64), lasts.astype(np.int64)
    within = (firsts >= 0) & (firsts < lasts) & (lasts < len(store.vectors))
    fits = within & (store.chain_of(firsts) == store.chain_of(lasts))
    if not fits.all():
        at = int(np.argmin(fits))
        raise ValueError(
            f"GivenWindows: window {at} is rows {firsts[at]} to {lasts[at]}; expected a context and a target of one "
            f"chain, within the store's {len(store.vectors)} rows"
        )
    return firsts, lasts


def query_windows(
    store: ChainStore,
    context_length: int,
    stride: int | None = None,
    min_length: int = 7,
    min_coherence: float | None = None,
) -> Windows:
    """Lay out the windows to validate or score on; the arguments are those of `Windows`.

    Without a stride it is half the context length, or less, down to 2, until there are 200 questions: a few documents
    would else be asked a dozen, which anything answers.
    """
    if stride is None:
        stride = _usual_stride(store.lengths, context_length, min_length)
    return Windows(store, context_length, stride, min_length, min_coherence)


def _usual_stride(lengths: Int64, context_length: int, min_length: int) -> int:
    longest = Windows.usual_stride(context_length)
    spare = lengths[lengths >= min_length] - min_length
    strides = range(min(longest, _LEAST_STRIDE), longest + 1)
    # the longer the stride, the fewer the questions
    enough = bisect_left(strides, True, key=lambda stride: int((spare // stride + 1).sum()) < ENOUGH)
    return strides[max(0, enough - 1)]
