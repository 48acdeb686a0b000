"""Tells whether a model has learned from some data, by a sketch of its training chunks that is kept beside it.

A chunk's hash is made of the places of the five largest of its numbers, which survive int8, float16 and bfloat16. One
hash in sixteen is kept, chosen by its own value, so that sketches of the same chunks keep the same ones: MinHash
(Broder, "On the resemblance and containment of documents", 1997).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

if TYPE_CHECKING:
    from ..data.vectors import Vectors

SKETCH = "seen.safetensors"
_LARGEST = 5  # numbers of a chunk that its hash is made of
_ONE_IN = 16
_MIX = np.uint64(0x9E3779B97F4A7C15)
_ROWS = 8192  # at once
_KNOWN = 0.02  # share of known chunks from which on data counts as seen


def sketch_of(vectors: Vectors | NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the sketch of chunks: sorted hashes (S,), about one chunk in sixteen.

    Args:
        vectors: (T, D) float rows or stored `Vectors`, D at least 5.
    """
    hashes = [_hashes(rows) for rows in _blocks(vectors)]
    every = np.unique(np.concatenate(hashes)) if hashes else np.empty(0, np.uint64)
    kept: NDArray[np.int64] = every[every % np.uint64(_ONE_IN) == 0].view(np.int64)
    return kept


def save_sketch(folder: Path, sketch: NDArray[np.int64]) -> None:
    """Keep a sketch beside a saved model."""
    save_file({"hashes": sketch}, folder / SKETCH)


def has_seen(folder: Path, vectors: Vectors | NDArray[np.float32]) -> bool:
    """Return whether a saved model has learned from more than a few of these chunks; False without a sketch.

    Args:
        folder: The folder of a saved model.
        vectors: (T, D) float rows or stored `Vectors`.
    """
    if not (folder / SKETCH).exists():
        return False
    asked = sketch_of(vectors)
    known = np.isin(asked, load_file(folder / SKETCH)["hashes"]).sum()
    return bool(known > _KNOWN * len(asked))


def _blocks(vectors: Vectors | NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for first in range(0, len(vectors), _ROWS):
        yield np.asarray(vectors[first : first + _ROWS], np.float32)


def _hashes(rows: NDArray[np.float32]) -> NDArray[np.uint64]:
    """The hash of each row, (R,): its largest numbers' places as the digits of one number, mixed."""
    dim = rows.shape[1]
    places = np.sort(np.argpartition(np.abs(rows), dim - _LARGEST, axis=1)[:, dim - _LARGEST :], axis=1)
    digits = np.zeros(len(rows), np.uint64)
    for place in places.T:
        digits = digits * np.uint64(dim) + place.astype(np.uint64)
    digits *= _MIX
    digits ^= digits >> np.uint64(29)
    digits *= _MIX
    digits >>= np.uint64(1)
    return digits
