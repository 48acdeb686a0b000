"""Vectors of texts that are encoded already, kept on disk while the rest is not: only ever appended to.

A file holds one frame after the other: a header (magic, rows, D, CRC-32 of what follows), the digests of the texts
(n, 32) and their vectors (n, D) float32. A process that is killed leaves at worst one frame that is not whole; it is
cut off. Each process appends to a file of its own.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..joined_rows import JoinedRows
from ..number_formats import Float32

_HEADER = struct.Struct("<4sIII")
_MAGIC = b"LVK1"
_DIGEST = 32
PATTERN = "*.kept"


def text_key(encoder: str, precision: str, text: str) -> bytes:
    """Return the digest that a text's vector is kept by: of encoder, precision and text."""
    return hashlib.sha256(json.dumps([encoder, precision, text]).encode()).digest()


class KeptRows:
    """The vectors kept in a folder, by `text_key`. Close it when all is added.

    Args:
        folder: where the files are.
        process: the number of this process, which names the file that it appends to.
    """

    def __init__(self, folder: Path, process: int = 0) -> None:
        self._folder, self._own = folder, folder / f"rows-{process}.kept"
        self._place: dict[bytes, tuple[int, int]] = {}  # frame, and row in it
        self._frames: list[Float32] = []
        self._file: BinaryIO | None = None
        for path in sorted(folder.glob(PATTERN)):
            self._read(path)

    def __contains__(self, key: bytes) -> bool:
        return key in self._place

    def add(self, keys: Sequence[bytes], rows: Float32) -> None:
        """Append the vectors (n, D) of n texts, in one write."""
        if self._file is None:
            self._file = open(self._own, "ab", buffering=0)  # noqa: SIM115 - closed by `close`
        body = b"".join(keys) + np.ascontiguousarray(rows, "<f4").tobytes()
        frame = _HEADER.pack(_MAGIC, len(keys), rows.shape[1], zlib.crc32(body)) + body
        while frame:  # a full disk writes a part, and then raises
            frame = frame[self._file.write(frame) :]
        self._hold(list(keys), rows)

    def close(self) -> None:
        """Close the file of this process."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def reopened(self) -> KeptRows:
        """Return what all processes have kept by now, mapped."""
        self.close()
        return KeptRows(self._folder)

    def rows(self, keys: Sequence[bytes]) -> JoinedRows:
        """Return the vectors of some texts (n, D), still on disk.

        Raises:
            ValueError: they are of different widths.
        """
        widths = {self._frames[self._place[key][0]].shape[1] for key in keys}
        if len(widths) > 1:
            few, many = min(widths), max(widths)
            raise ValueError(
                f"{self._folder}: {few} numbers a row, and {many}; expected one width; delete it and run again"
            )
        used = sorted({self._place[key][0] for key in keys})
        firsts = np.cumsum([0, *(len(self._frames[frame]) for frame in used)])
        first_of = dict(zip(used, firsts.tolist(), strict=False))
        places = [first_of[frame] + row for frame, row in map(self._place.__getitem__, keys)]
        return JoinedRows([self._frames[frame] for frame in used]).select(np.array(places, np.int64))

    def _hold(self, keys: list[bytes], rows: Float32) -> None:
        frame = len(self._frames)
        self._frames.append(rows)
        self._place |= {key: (frame, row) for row, key in enumerate(keys)}

    def _read(self, path: Path) -> None:
        """Take over the whole frames of a file; what follows them is cut off a file of this process."""
        size, end = path.stat().st_size, 0
        if size:
            with open(path, "rb") as file:
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            for keys, rows, end in _frames(data):  # noqa: B007 - the last end is needed
                self._hold(keys, rows)
        if end < size and path == self._own:
            os.truncate(path, end)


def _frames(data: memoryview) -> Iterator[tuple[list[bytes], Float32, int]]:
    """Give digests, vectors and the end of each frame, up to the first that is not whole."""
    at = 0
    while at + _HEADER.size <= len(data):
        magic, count, dim, checksum = _HEADER.unpack_from(data, at)
        body = data[at + _HEADER.size : at + _HEADER.size + count * (_DIGEST + 4 * dim)]
        is_whole = magic == _MAGIC and count and dim and len(body) == count * (_DIGEST + 4 * dim)
        if not is_whole or zlib.crc32(body) != checksum:
            return
        keys = [bytes(body[first : first + _DIGEST]) for first in range(0, count * _DIGEST, _DIGEST)]
        at += _HEADER.size + len(body)
        yield keys, np.frombuffer(body[count * _DIGEST :], "<f4").reshape(count, dim), at
