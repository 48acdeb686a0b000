"""A saved bank as segments: one, or pieces of which one at a time is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from .._core import Bank
from .._util.mapped_memory import give_back, will_need
from ..data.vectors import Vectors
from .bank_file import code_columns
from .checked_input import Names, matrix_of, renamed

_BLOCK = 32  # rows of a block of codes
_MOST_SPARED = 16 << 20  # for what the system maps around each array's ends


@dataclass(frozen=True)
class OpenedFile:
    """A file that holds a bank, mapped.

    Attributes:
        path: Where it is.
        vectors: All of them (N, D).
        packed: The arrays of the packed form by name, as `bank_file.py` has them.
        max_memory: At most so many bytes of it are in memory at a time; None for as many as the system likes.
    """

    path: str
    vectors: Vectors
    packed: dict[str, NDArray[Any]]
    max_memory: int | None = None

    def parts(self, where: str) -> Iterator[Part]:
        """Return the file in as many parts as it takes. Raises ValueError where the smallest is too much."""
        size, rows = len(self.vectors), len(self.vectors)
        for name, array in self._by_row().items():  # a part would not show that the whole is too long
            if len(array) != len(_indices(array, 0, size, self._row_bytes(name))):
                raise ValueError(f"{where}: {name}: wrong shape")
        if self.max_memory is not None:
            held = self.vectors.raw.nbytes + sum(array.nbytes for array in self._by_row().values())
            a_block = -(-held * _BLOCK // size)
            spared = min(self.max_memory // 4, _MOST_SPARED)
            rows = (self.max_memory - spared) // a_block * _BLOCK
            if rows == 0:
                least = -(-4 * a_block // 3)
                raise ValueError(f"{where}: max_memory: expected at least {least} bytes, got {self.max_memory}")
        for first in range(0, size, rows):
            yield self._part(first, min(first + rows, size), where)

    def _by_row(self) -> dict[str, NDArray[Any]]:
        return {name: array for name, array in self.packed.items() if name != "axes"}

    def _part(self, first: int, last: int, where: str) -> Part:
        axes = self.packed.get("axes")
        arrays = {name: _rows(array, first, last, self._row_bytes(name)) for name, array in self._by_row().items()}
        vectors = self.vectors.select(slice(first, last))
        matrix = matrix_of(vectors, f"{where}: vectors")
        names = ("coarse", "fine", "bounds", "factors", "offsets", "prefix", "prefix_bounds")
        given = [arrays.get(name) for name in names]
        core = renamed(Names(where), Bank.open, matrix.rows, *given, 0 if axes is None else len(axes))
        is_whole = self.max_memory is None
        return Part(core, vectors, None if is_whole else Pages(vectors, arrays))

    def _row_bytes(self, name: str) -> int | None:
        """Bytes of a row in a plane of codes; None for arrays with a row for each."""
        if name not in ("coarse", "fine", "prefix"):
            return None
        columns = self.vectors.shape[1] if name != "prefix" else len(self.packed["axes"])
        return code_columns(columns)


@dataclass(frozen=True)
class Pages:
    """The mapped memory of a part."""

    vectors: Vectors
    arrays: dict[str, NDArray[Any]]

    def will_need(self) -> None:
        """Ask for what every question reads from end to end."""
        will_need([self.arrays.get("prefix", self.arrays["coarse"])])

    def give_back(self) -> None:
        scales = self.vectors.scales
        give_back([self.vectors.raw, *([] if scales is None else [scales]), *self.arrays.values()])


@dataclass(frozen=True)
class Part:
    """Consecutive rows of the file: their packed form, vectors, and their memory where it is given back."""

    core: Bank
    vectors: Vectors
    pages: Pages | None


def _indices(array: NDArray[Any], first: int, last: int, row_bytes: int | None) -> range:
    """Return which entries of an array belong to rows from `first`, the beginning of a block, to `last`."""
    padded = -(-last // _BLOCK) * _BLOCK
    if row_bytes is not None:
        return range(first * row_bytes, padded * row_bytes)
    return range(first, padded if array.ndim == 2 else last)


def _rows(array: NDArray[Any], first: int, last: int, row_bytes: int | None) -> NDArray[Any]:
    indices = _indices(array, first, last, row_bytes)
    return array[indices.start : indices.stop]
