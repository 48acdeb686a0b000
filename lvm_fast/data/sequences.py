"""Recovering chains from the reference's sequence file, whose overlapping windows hold each vector many times."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from .npz import Member, open_members
from .quantize import Int64, Raw

_ARRAYS = ("context_sequences", "target_vectors", "target_indices")


def chains_of_sequences(path: str | os.PathLike[str], where: str) -> tuple[Raw, Int64, dict[str, Any]]:
    """Join windows that share rows.

    A window and its target are N + 1 rows in reading order. It continues the chain of the window before it when its
    first rows equal, byte for byte, the last rows of that one; it then adds only the rows that are new. Otherwise it
    begins a new chain. Windows out of order are first sorted by `target_indices`, which takes them all into memory;
    in order, they are read one at a time.

    Returns:
        rows (T, D) in the dtype of the file, offsets (C + 1,) int64, and facts about the windows.

    Raises:
        OSError, ValueError: as `ChainStore.from_sequences`, whose messages begin with `where`.
    """
    try:
        with open_members(path, _ARRAYS) as members:
            contexts, targets = _checked_arrays(members)
            blocks, lengths = _join(_windows(contexts, targets, members.get("target_indices")))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    count, length, _ = contexts.shape
    facts = {"windows": count, "context_length": length, "rows_in_windows": count * (length + 1)}
    return np.concatenate(blocks), np.concatenate([[0], np.cumsum(lengths)]), facts


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


def _windows(contexts: Member, targets: Member, indices: Member | None) -> Iterator[Raw]:
    """Each window with its target as the last row, (N + 1, D), in reading order."""
    order = np.arange(1) if indices is None else indices.read()
    pairs: Any = zip(contexts.rows(), targets.rows(), strict=True)
    if (order[1:] < order[:-1]).any():
        kept = list(pairs)
        pairs = (kept[at] for at in np.argsort(order, kind="stable"))
    for context, target in pairs:
        yield np.concatenate([context, target[None]])


def _join(windows: Iterator[Raw]) -> tuple[list[Raw], list[int]]:
    """The new rows of each window, and the length of each chain they form."""
    blocks: list[Raw] = []
    lengths: list[int] = []
    last: Raw | None = None
    shift: int | None = None
    for window in windows:
        shift = None if last is None else _shift(last, window, shift)
        if shift is None:
            lengths.append(0)
        new = window if shift is None else window[len(window) - shift :].copy()  # a view would keep the old rows too
        lengths[-1] += len(new)
        blocks.append(new)
        last = window
    return blocks, lengths


def _shift(last: Raw, window: Raw, expected: int | None) -> int | None:
    """By how many rows `window` goes on past `last` (0: the same window again), or None if they share no rows.

    The step of the window before is tried first, so that repeated rows do not mislead.
    """
    before, after = last.view(np.uint8), window.view(np.uint8)
    candidates: list[int] = np.flatnonzero((before == after[0]).all(axis=1)).tolist()
    for shift in sorted(candidates, key=lambda shift: (shift != expected, shift)):
        if np.array_equal(before[shift:], after[: len(after) - shift]):
            return shift
    return None
