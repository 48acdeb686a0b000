"""`AllPositions`: windows whose every row has its next row as a target, each target once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .chain_store import ChainStore
from .number_formats import Int64
from .windows import Windows, coherence


class AllPositions(Windows):
    """Windows from which a causal model learns every next vector in one pass.

    The windows lie as those of `Windows` do, but with a stride of `context_length` unless another is given: they are
    then consecutive pieces of a chain, and each row is predicted from what its piece holds before it: from one row up
    to `context_length`. With a smaller stride windows overlap, and a window predicts its last `stride` targets only,
    which no earlier one has, each from more than `context_length` - `stride` rows (but for a chain's first window,
    which predicts all it can). So no row is a target twice in a pass over the windows. Never a target are a chain's
    first row, and a rest at its beginning too short for a window of `min_length`.

    Attributes:
        counts: (W,) int64, the targets of each window.
        targets: (W,) int64, the last target row of each window.
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
            stride: rows between the last targets of windows; the context length when left out.
            min_length: the fewest rows of context and last target together, at least 2.
            min_coherence: drop targets with cos(row before it, target) below this; a window without targets goes too.
            cross_chains: treat the whole store as one chain, as the reference did.

        Raises:
            ValueError: an argument out of range, or no window is left.
        """
        super().__init__(store, context_length, stride, min_length, min_coherence, cross_chains)
        self._ends = np.cumsum(self.counts)  # (W,) of each window's part of the target rows

    @staticmethod
    def usual_stride(context_length: int) -> int:
        """Return the rows between the last targets of windows where none are given: the context length."""
        return context_length

    def _count_targets(self, min_coherence: float | None) -> tuple[Int64, int]:
        before = np.concatenate(([-1], self.targets[:-1]))  # in another chain it lies before the start
        firsts = np.maximum(self.starts, before) + 1
        windows, rows = np.arange(len(firsts)), _ranges(firsts, self.targets + 1 - firsts)
        kept = np.ones(len(rows), np.bool_) if min_coherence is None else coherence(self.store, rows) >= min_coherence
        self._rows = rows[kept]  # ascending, so window after window
        counts = np.bincount(np.repeat(windows, self.targets + 1 - firsts)[kept], minlength=len(windows))
        return counts, int(len(rows) - len(self._rows))

    def target_rows(self, indices: npt.ArrayLike) -> Int64:
        """Return the rows of the store that the windows `indices` (B,) have as targets, window after window: (P,)."""
        chosen = self._chosen(indices)
        counts = self.counts[chosen]
        return self._rows[_ranges(self._ends[chosen] - counts, counts)]


def _ranges(firsts: Int64, counts: Int64) -> Int64:
    """firsts[0], firsts[0] + 1, ... (counts[0] of them), then those of the next: (sum of counts,)."""
    ends = np.cumsum(counts)
    return np.arange(counts.sum()) + np.repeat(firsts - ends + counts, counts)
