"""The reference's sequence file, whose overlapping windows hold each vector many times: read, each vector kept once."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .joining import join_windows
from .npz import Member, array_names, open_members
from .number_formats import Int64, Raw

_ARRAYS = ("context_sequences", "target_vectors", "target_indices")
_BLOCK_ROWS = 4096


class Sequences(NamedTuple):
    """The S windows of a sequence file as places in the chains they were cut from.

    Attributes:
        rows: (T, D) in the dtype of the file, a map of a temporary file.
        offsets: (C + 1,) the boundaries of the chains.
        starts: (S,) the first context row of each window, in the order of the file, or of its `target_indices`.
        context_length: N; the target of a window is row start + N.
    """

    rows: Raw
    offsets: Int64
    starts: Int64
    context_length: int

    @property
    def facts(self) -> dict[str, int]:
        """Describe the file for the metadata of a store."""
        held = len(self.starts) * (self.context_length + 1)
        return {"windows": len(self.starts), "context_length": self.context_length, "rows_in_windows": held}


def read_sequences(path: str | os.PathLike[str], where: str) -> Sequences:
    """Read a sequence file one window at a time, and recover the chains that its windows overlap in.

    Rows are the same where they are byte for byte (told by a digest of 128 bits); `join_windows` joins what shares
    them. The different rows go to a temporary file, so memory holds neither the windows nor the rows.

    Raises:
        OSError, ValueError: as `ChainStore.from_sequences`, whose messages begin with `where`.
    """
    try:
        with open_members(path, _ARRAYS) as members:
            contexts, targets = _checked_arrays(members)
            indices = members.get("target_indices")
            order = None if indices is None else np.argsort(indices.read(), kind="stable")
            rows, windows = _distinct_rows(contexts, targets)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    chains = join_windows(windows if order is None else windows[order])
    if not np.array_equal(chains.rows, np.arange(len(rows))):  # a row may stand in several places
        blocks = (rows[chains.rows[first : first + _BLOCK_ROWS]] for first in range(0, len(chains.rows), _BLOCK_ROWS))
        rows = _kept(blocks, rows.dtype, rows.shape[1])
    return Sequences(rows, chains.offsets, chains.starts, windows.shape[1] - 1)


def is_sequences(path: str | os.PathLike[str]) -> bool:
    """Return whether an `.npz` is to be read as a sequence file: it holds such arrays, or none that could be others.

    Raises:
        OSError: the file cannot be opened.
    """
    names = array_names(path)
    return not names or any(name in names for name in _ARRAYS)


def context_length_of(path: str | os.PathLike[str], where: str) -> int:
    """Return the context rows N of a sequence file's windows, from its headers; raises as `read_sequences`."""
    try:
        with open_members(path, _ARRAYS) as members:
            contexts, _ = _checked_arrays(members)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return contexts.shape[1]


def _checked_arrays(members: dict[str, Member]) -> tuple[Member, Member]:
    for name in _ARRAYS[:2]:
        if name not in members:
            raise ValueError(f"no array '{name}'; expected {' and '.join(_ARRAYS[:2])}")
        if members[name].dtype not in (np.float32, np.float16):
            raise ValueError(f"array '{name}' has dtype {members[name].dtype}; expected float32 or float16")
    contexts, targets = members["context_sequences"], members["target_vectors"]
    if len(contexts.shape) != 3 or 0 in contexts.shape:
        raise ValueError(f"array 'context_sequences' has shape {contexts.shape}; expected (S, N, D), none of them 0")
    expected = (contexts.shape[0], contexts.shape[2])
    if targets.shape != expected or targets.dtype != contexts.dtype:
        raise ValueError(
            f"array 'target_vectors' has shape {targets.shape} and dtype {targets.dtype}; "
            f"expected {expected} and {contexts.dtype}, to go with the context_sequences"
        )
    indices = members.get("target_indices")
    if indices is not None and (indices.shape != expected[:1] or indices.dtype.kind not in "iu"):
        raise ValueError(
            f"array 'target_indices' has shape {indices.shape} and dtype {indices.dtype}; "
            f"expected {expected[:1]} integers"
        )
    return contexts, targets


def _distinct_rows(contexts: Member, targets: Member) -> tuple[Raw, Int64]:
    """Return the different rows (R, D), in the order they appear, and which of them each window holds, (S, N + 1)."""
    windows: list[Int64] = []  # grown as they are read: a damaged file may claim any number
    known: dict[bytes, int] = {}

    def new_rows() -> Iterator[Raw]:
        for context, target in zip(contexts.rows(), targets.rows(), strict=True):
            window = np.empty(len(context) + 1, np.int64)
            for place, row in enumerate((*context, target)):
                count = len(known)
                window[place] = known.setdefault(hashlib.blake2b(row, digest_size=16).digest(), count)
                if len(known) > count:
                    _check_row(row, len(windows), place, len(context))
                    yield row
            windows.append(window)

    rows = _kept(new_rows(), contexts.dtype, contexts.shape[2])
    return rows, np.stack(windows)


def _check_row(row: Raw, window: int, place: int, length: int) -> None:
    """Raise ValueError, which names the array and the place in it, unless a row is finite and not all zeros."""
    called = f"context_sequences[{window}, {place}]" if place < length else f"target_vectors[{window}]"
    if not np.isfinite(row).all():
        raise ValueError(f"{called} holds NaN or Inf; expected finite numbers")
    if not row.any():
        raise ValueError(f"{called} is all zeros; expected a vector with a direction")


def _kept(blocks: Iterable[Raw], dtype: np.dtype[Any], dim: int) -> Raw:
    """Rows, or blocks of them, written to a temporary file and mapped: (R, D). The file goes when the map does."""
    with tempfile.TemporaryFile() as file:
        try:
            for block in blocks:
                file.write(block.data)
            file.flush()
        except OSError as error:
            reason = f"{error.strerror}: no room for the rows; TMPDIR names the folder of temporary files"
            raise OSError(error.errno, reason, tempfile.gettempdir()) from error
        rows: Raw = np.memmap(file, dtype, "r").reshape(-1, dim)
    return rows
