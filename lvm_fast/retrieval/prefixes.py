"""Prefixes of vectors in their principal axes: a quarter of the numbers, which decides most pairs by itself.

With orthonormal axes A (P, D), q.c = (Aq).(Ac) + (tail of q).(tail of c), where a tail is what a vector has beyond its
prefix. So a score differs from the product of two prefixes by at most the product of the tails' lengths.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._core import Bank, Rows
from ..data.vectors import Vectors

Axes = NDArray[np.float64]

FEWEST_ROWS = 4096  # smaller banks are scanned with products that are kept
_SAMPLE = 4096
_BLOCK_ROWS = 8192  # whole blocks of the core's
_ODD = 1e15  # the core's codes follow no larger numbers
_SLACK = 2.0**-20  # of the squared length: covers the roundings of prefixes to float32 and of cosines' rows


class Prefixes(NamedTuple):
    """Prefixes (n, P) float32, and upper bounds of the tails' lengths (n,) float32."""

    rows: NDArray[np.float32]
    tails: NDArray[np.float32]


def principal_axes(vectors: Vectors, metric: str) -> Axes | None:
    """Return the axes along which a sample of vectors is longest, (P, D); P is about a quarter of D, in steps of 64.

    None where prefixes do not pay: few rows or few columns.
    """
    rows, dim = vectors.shape
    count = 64 * max(1, round(dim / 256))
    if rows < FEWEST_ROWS or 2 * count > dim:
        return None
    sample = vectors[np.linspace(0, rows - 1, min(rows, _SAMPLE)).astype(np.int64)].astype(np.float64)
    lengths = np.linalg.norm(sample, axis=1, keepdims=True)
    scale = lengths if metric == "cosine" else max(float(lengths.max()), np.finfo(np.float64).tiny)
    sample /= scale
    _, axes = np.linalg.eigh(sample.T @ sample)
    return np.ascontiguousarray(axes[:, : -count - 1 : -1].T)


def prefixes_of(vectors: NDArray[np.float32], axes: Axes, metric: str) -> Prefixes:
    """Return the prefixes of float32 vectors (n, D), by metric="cosine" those of their directions."""
    with np.errstate(all="ignore"):  # rows that are not finite or zero are refused by the core
        wide = vectors.astype(np.float64)
        if metric == "cosine":
            wide /= np.linalg.norm(wide, axis=1, keepdims=True)
        squares = np.einsum("ij,ij->i", wide, wide)
        prefixes = wide @ axes.T
        tails = np.sqrt(np.maximum(squares - np.einsum("ij,ij->i", prefixes, prefixes), 0) + _SLACK * squares)
        is_odd = ~(np.abs(wide).max(axis=1, initial=0) < _ODD)
        prefixes[is_odd], tails[is_odd] = 0, np.inf  # nothing is known of them
        return Prefixes(prefixes.astype(np.float32), np.nextafter(tails.astype(np.float32), np.float32(np.inf)))


def add_prefixes(core: Bank, vectors: Vectors, axes: Axes, metric: str) -> None:
    """Give a packed bank the prefixes of its vectors."""
    for first in range(0, len(vectors), _BLOCK_ROWS):
        rows, tails = prefixes_of(vectors[first : first + _BLOCK_ROWS], axes, metric)
        core.add_prefixes(Rows(rows), tails, first)


def are_orthonormal(axes: Axes) -> bool:
    """Whether axes (P, D) are of unit length and orthogonal to each other, but for float64's roundings."""
    return bool(np.abs(axes @ axes.T - np.eye(len(axes))).max() < 1e-10)
