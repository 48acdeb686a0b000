"""Reading `.npz` members row by row, believing no header before it is checked against the file."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from .number_formats import Raw

# What zipfile and the npy header reader raise for damaged files, beside ValueError.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)


@dataclass(frozen=True)
class Member:
    """One array inside an `.npz`: its shape and dtype, known to fit the bytes the member holds."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _file: IO[bytes]

    def rows(self) -> Iterator[Raw]:
        """Give array[0], array[1], ... one at a time; the walk can be made once."""
        row_bytes = prod(self.shape[1:]) * self.dtype.itemsize
        for row in range(self.shape[0]):
            try:
                data = self._file.read(row_bytes)
            except _DAMAGE as error:
                raise ValueError(f"array '{self.name}' is damaged at row {row}: {error}") from error
            if len(data) != row_bytes:
                raise ValueError(f"array '{self.name}' ends inside row {row} of {self.shape[0]}; the file is truncated")
            yield np.frombuffer(data, self.dtype).reshape(self.shape[1:])

    def read(self) -> Raw:
        """Return the whole array; the rows cannot be walked after this, nor this after them."""
        return np.stack(list(self.rows()))


@contextmanager
def open_members(path: str | os.PathLike[str], names: tuple[str, ...]) -> Iterator[dict[str, Member]]:
    """Open those of `names` that the `.npz` holds.

    Raises:
        OSError: the file cannot be opened.
        ValueError: not a zip file, an array of pickled objects, or a header that does not fit its member.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError) as error:  # a damaged version of the format is "not implemented"
        raise ValueError(f"not an .npz file ({error}); expected a zip of arrays") from error
    with archive:
        held = set(archive.namelist())
        yield {name: _open_member(archive, name) for name in names if f"{name}.npy" in held}


def array_names(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of the arrays that an `.npz` holds; none where it is no zip file.

    Raises:
        OSError: the file cannot be opened.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except (zipfile.BadZipFile, NotImplementedError):
        return []


def first_line(error: Exception) -> str:
    """Return the text of an error without its advice: numpy's is to trust pickles."""
    return str(error).partition("\n")[0] or type(error).__name__


def _open_member(archive: zipfile.ZipFile, name: str) -> Member:
    try:
        file = archive.open(f"{name}.npy")
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = read_header(file)
    except Exception as error:  # numpy parses the header as Python, and a damaged one can raise almost anything
        raise ValueError(f"array '{name}' cannot be read: {first_line(error)}") from error
    if dtype.hasobject:
        raise ValueError(f"array '{name}' holds pickled Python objects; expected plain numbers")
    if fortran_order and len(shape) > 1:
        raise ValueError(f"array '{name}' is in Fortran order; expected C order (numpy.ascontiguousarray)")
    claimed = file.tell() + prod(shape) * dtype.itemsize
    held = archive.getinfo(f"{name}.npy").file_size
    if claimed != held or min(shape, default=0) < 0:
        raise ValueError(f"array '{name}' claims {claimed} bytes (shape {shape}, {dtype}); its member holds {held}")
    return Member(name, shape, dtype, file)
