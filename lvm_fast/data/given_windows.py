"""`GivenWindows`: windows whose places somebody else has chosen, a sequence file for instance."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from .._util.text import unicode_text
from .chain_store import ChainStore
from .number_formats import Int64
from .sequences import read_sequences
from .windows import Windows


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
