"""What a question leaves out of a bank, checked and brought to the form that the core reads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core import Filter
from .checked_input import Matrix, Names, ids_a_query, ids_of, plain_array

Bits = NDArray[np.uint8]
Filters = tuple[ArrayLike | None, ArrayLike | None, ArrayLike | None]  # exclude, exclude_ranges, allow


@dataclass(frozen=True)
class Exclusions:
    """The candidates that the queries of a question must not find; None for nothing of a kind.

    Attributes:
        exclude: (B, E) ids, -1 for none.
        ranges: (B, R, 2) half-open ranges of ids.
        allow: The bits of `numpy.packbits`, of all queries (bytes,) or of each (B, bytes): 1 may be found.
    """

    exclude: NDArray[np.int64] | None = None
    ranges: NDArray[np.int64] | None = None
    allow: Bits | None = None

    def of_ids(self, first: int, size: int, held: Bits | None = None) -> Filter:
        """Return the same for the candidates with ids from `first` to before `first + size`, counted from 0.

        Args:
            first, size: Which ids.
            held: Bits of those candidates that were not removed, (bytes,).
        """
        if first == 0:  # ids beyond `size` meet no candidate
            allow = None if self.allow is None else _first_bytes(self.allow, size)
            return Filter(allow, held, self.exclude, self.ranges)
        own = self.part(first, size)
        return Filter(own.allow, held, own.exclude, own.ranges)

    def part(self, first: int, size: int) -> Exclusions:
        """Return what is left out of the ids from `first` to before `first + size`, counted from 0."""
        return Exclusions(
            None if self.exclude is None else _inside(self.exclude - first, size),
            None if self.ranges is None else np.clip(self.ranges - first, 0, size),
            None if self.allow is None else bits_from(self.allow, first, size),
        )

    def digest(self) -> str:
        """Return a digest of all arrays."""
        parts = [(name, array) for name, array in vars(self).items() if array is not None]
        told = b"".join(f"{name} {array.shape}".encode() + array.tobytes() for name, array in parts)
        return hashlib.sha256(told).hexdigest()


def exclusions_of(
    asked: Matrix,
    size: int,
    names: Names,
    exclude: ArrayLike | None,
    exclude_ranges: ArrayLike | None,
    allow: ArrayLike | None,
) -> Exclusions:
    """Return what a question with queries `asked` leaves out of ids below `size`.

    Raises:
        ValueError: An array of another shape or dtype, or an id that there is not.
    """
    return Exclusions(
        None if exclude is None else ids_a_query(exclude, asked, size, names.of("exclude")),
        None if exclude_ranges is None else _ranges(exclude_ranges, asked, size, names.of("exclude_ranges")),
        None if allow is None else _allowed(allow, asked, size, names.of("allow")),
    )


def bits_from(bits: Bits, first: int, size: int) -> Bits:
    """Return `size` bits from bit `first` on, as `numpy.packbits` has them: (..., bytes)."""
    shift, begin, count = first % 8, first // 8, -(-size // 8)
    some = bits[..., begin : begin + count]
    if shift:
        following = np.zeros_like(some)
        rest = bits[..., begin + 1 : begin + 1 + count]
        following[..., : rest.shape[-1]] = rest
        some = np.bitwise_or(some << shift, following >> (8 - shift), dtype=np.uint8)
    return np.ascontiguousarray(some)


def _first_bytes(bits: Bits, size: int) -> Bits:
    return np.ascontiguousarray(bits[..., : -(-size // 8)])


def _inside(ids: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    return np.where((ids >= 0) & (ids < size), ids, -1)


def _ranges(x: ArrayLike, asked: Matrix, size: int, where: str) -> NDArray[np.int64]:
    ranges = ids_of(x, where)
    if asked.is_single and ranges.ndim == 2:
        ranges = ranges[None]
    elif asked.is_single or ranges.ndim != 3 or len(ranges) != asked.rows.rows:
        expected = "(R, 2)" if asked.is_single else f"({asked.rows.rows}, R, 2)"
        raise ValueError(f"{where}: expected shape {expected}, got {ranges.shape}")
    if ranges.shape[2] != 2:
        raise ValueError(f"{where}: expected pairs of a first id and the one after the last, got {ranges.shape}")
    begins, ends = ranges[..., 0], ranges[..., 1]
    if ranges.size and not (begins.min() >= 0 and ends.max() <= size and (begins <= ends).all()):
        raise ValueError(f"{where}: expected 0 <= first <= end <= {size} for every range, got others")
    return ranges


def _allowed(x: ArrayLike, asked: Matrix, size: int, where: str) -> Bits:
    array, count, packed = plain_array(x, where), asked.rows.rows, -(-size // 8)
    width = {"b": size, "u": packed}.get(array.dtype.kind if array.dtype.itemsize == 1 else "")
    if width is None or array.shape not in ((width,), (count, width)) or (asked.is_single and array.ndim == 2):
        each = "" if asked.is_single else f", ({count}, {size}) or ({count}, {packed})"
        raise ValueError(
            f"{where}: expected truth values ({size},) or their numpy.packbits ({packed},){each}, "
            f"got {array.dtype} of shape {array.shape}"
        )
    bits: Bits = np.packbits(array, axis=-1) if array.dtype.kind == "b" else np.ascontiguousarray(array)
    return bits
