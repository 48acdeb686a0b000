"""Finished parts of long work beside the file that it ends in: work that was cut off goes on after them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .atomic_files import atomic_path
from .folders import locked_folder


class KeptParts:
    """The parts of one piece of work, arrays of one dtype, each a file of the folder `<output>.partial`.

    Attributes:
        missing: The first row of each part that is still to be made.
    """

    def __init__(self, folder: Path, digest: str, rows: int, at_once: int, dtype: np.dtype[Any], called: str) -> None:
        self._called, self._dtype = called, dtype
        self._sizes = {first: min(at_once, rows - first) for first in range(0, rows, at_once)}
        self._paths = {first: folder / f"{digest}-{first}.npy" for first in self._sizes}
        self.missing = [first for first, path in self._paths.items() if not path.exists()]
        for first in self._sizes.keys() - self.missing:
            self._read(first)  # damage is told before the work

    def make(self, compute: Callable[[int, int], NDArray[Any]]) -> Iterator[int]:
        """Make each missing part by `compute(first row, row after the last)` and keep it; yield its rows when it is."""
        for first in self.missing:
            part = compute(first, first + self._sizes[first])
            with atomic_path(self._paths[first]) as temporary:
                np.save(temporary, part)
            yield len(part)

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the first row of each part, and the part, mapped."""
        return ((first, self._read(first)) for first in self._sizes)

    def remove(self) -> None:
        """Remove the files."""
        for path in self._paths.values():
            path.unlink()

    def _read(self, first: int) -> NDArray[Any]:
        path, rows = self._paths[first], self._sizes[first]
        try:
            part: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
            if part.dtype == self._dtype and part.shape == (rows,):
                return part
        except (ValueError, EOFError):
            pass
        raise ValueError(
            f"{self._called}: {path}: damaged; expected {rows} rows of an earlier run; delete it to make them again"
        )


@contextmanager
def kept_parts(
    output: str | os.PathLike[str], digest: str, rows: int, at_once: int, dtype: np.dtype[Any], called: str
) -> Iterator[KeptParts]:
    """Hold the folder `<output>.partial` while the block runs; where it ends well, its parts are removed.

    Args:
        output: The file that the work ends in.
        digest: Of everything that the parts follow from: parts of other work have other names.
        rows: Rows of the whole work.
        at_once: Rows of a part.
        dtype: Of the parts, which are (rows of the part,).
        called: What messages begin with.

    Raises:
        BlockingIOError: Another process works at the same output.
        ValueError: A part is damaged.
        OSError: The folder cannot be made or read.
    """
    place = Path(output)
    folder = place.with_name(f"{place.name}.partial")
    folder.mkdir(exist_ok=True)
    try:
        with locked_folder(folder, wait=False):
            parts = KeptParts(folder, digest, rows, at_once, dtype, called)
            yield parts
            parts.remove()
    finally:
        with suppress(OSError):  # not empty: parts of this work, if it failed, or of other work
            folder.rmdir()
