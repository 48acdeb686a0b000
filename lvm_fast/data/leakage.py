"""Vectors that training has seen among those that validation asks for: overlapping windows leak, and so do copies."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .chain_store import ChainStore
from .number_formats import Int64
from .windows import Windows


class Leakage(NamedTuple):
    """Counts of the vectors of validation windows that training windows hold, targets and contexts alike.

    Attributes:
        windows: validation windows.
        leaking: those that share at least one vector with a training window.
        targets: those whose target is in a training window.
        share: mean share of the vectors of a validation window that are in a training window.
    """

    windows: int
    leaking: int
    targets: int
    share: float

    def __str__(self) -> str:
        return (
            f"{self.leaking:,} of {self.windows:,} validation windows share vectors with training windows "
            f"({self.share:.0%} of all their vectors), and {self.targets:,} of their targets are among them"
        )


def leakage(training: Windows, validation: Windows) -> Leakage:
    """Count the vectors that validation windows share with training windows, of the same store or of another.

    Vectors are the same where all their float32 values are (told by a digest of 64 bits).
    """
    seen, asked = covered_rows(training), covered_rows(validation)
    shared = np.zeros(len(asked), np.int64)
    shared[asked] = np.isin(_digests(validation.store, asked), _digests(training.store, seen))
    before = np.concatenate([[0], np.cumsum(shared)])
    held = before[validation.targets + 1] - before[validation.starts]  # (W,)
    return Leakage(
        windows=len(validation),
        leaking=int(np.count_nonzero(held)),
        targets=int(shared[validation.targets].sum()),
        share=float(np.mean(held / (validation.lengths + 1))),
    )


def covered_rows(windows: Windows) -> NDArray[np.bool_]:
    """Mark the rows of the store that are in a window, (T,)."""
    steps = np.zeros(len(windows.store.vectors) + 1, np.int64)
    np.add.at(steps, windows.starts, 1)
    np.add.at(steps, windows.targets + 1, -1)
    return np.cumsum(steps[:-1]) > 0


def _digests(store: ChainStore, chosen: NDArray[np.bool_]) -> Int64:
    """Return a number for each chosen row, equal for equal float32 values."""
    digests = bytearray()
    for first, block in store.vectors.blocks():
        for row in block[chosen[first : first + len(block)]]:
            digests += hashlib.blake2b(row, digest_size=8).digest()
    return np.frombuffer(bytes(digests), np.int64)
