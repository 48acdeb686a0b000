"""Turning vectors that exist already (`.npz` sequence files, `.npy` arrays, `.jsonl` lines) into a `ChainStore`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from .jsonl import read_jsonl
from .quantize import Float32, Raw, check_rows
from .store import ChainStore


def read_vectors(path: str | os.PathLike[str], offsets: str | os.PathLike[str] | None = None) -> ChainStore:
    """Read a file of vectors as a store in memory (a `.npy` is mapped).

    Args:
        path: `.npz` as for `ChainStore.from_sequences`; `.npy` of shape (T, D); or `.jsonl` / `.jsonl.gz` with a chain
            a line, {"id": ..., "vectors": [[...], ...]}.
        offsets: for `.npy`, a `.npy` of the chain boundaries (C + 1,); without it the rows are one chain.

    Raises:
        OSError: a file cannot be opened.
        ValueError: names the file, what was expected and what came.
    """
    name = os.fspath(path)
    if offsets is not None and not name.endswith(".npy"):
        raise ValueError(f"{name}: offsets go with a .npy file only")
    if name.endswith(".npz"):
        return ChainStore.from_sequences(path)
    if name.endswith(".npy"):
        return _read_npy(path, offsets)
    if name.endswith((".jsonl", ".jsonl.gz")):
        return _read_jsonl(path)
    raise ValueError(f"{name}: expected a .npz, .npy, .jsonl or .jsonl.gz file")


def _read_npy(path: str | os.PathLike[str], offsets: str | os.PathLike[str] | None) -> ChainStore:
    rows = _map_npy(path)
    source = Path(path)
    if offsets is not None:
        return ChainStore(rows, _map_npy(offsets), metadata={"source": source.name}, where=os.fspath(path))
    return ChainStore(rows, [0, len(rows)], [source.stem], {"source": source.name}, where=os.fspath(path))


def _map_npy(path: str | os.PathLike[str]) -> Raw:
    try:
        array: Raw = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{os.fspath(path)}: not a plain, whole .npy file: {error}") from error
    if array.ndim == 0:
        raise ValueError(f"{os.fspath(path)}: holds a single number; expected an array")
    return array


def _read_jsonl(path: str | os.PathLike[str]) -> ChainStore:
    blocks: list[Float32] = []
    ids = []
    for place, record in read_jsonl(path):
        rows = _rows(record, place)
        if blocks and rows.shape[1] != blocks[0].shape[1]:
            raise ValueError(f"{place}: vectors of {rows.shape[1]} numbers; expected {blocks[0].shape[1]} as before")
        blocks.append(rows)
        ids.append(record["id"])
    offsets = np.cumsum([0, *map(len, blocks)])
    return ChainStore(np.concatenate(blocks), offsets, ids, {"source": Path(path).name}, where=os.fspath(path))


def _rows(record: dict[str, Any], place: str) -> Float32:
    if "vectors" not in record:
        hint = "; `lvm-fast encode` turns text into vectors" if {"text", "chunks"} & record.keys() else ""
        raise ValueError(f'{place}: no "vectors"{hint}')
    try:
        with np.errstate(over="ignore"):  # becomes Inf, which check_rows reports
            rows = np.asarray(record["vectors"], dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise ValueError(f'{place}: "vectors" is not a list of equally long lists of numbers') from error
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f'{place}: "vectors" has shape {rows.shape}; expected (rows, D), neither of them 0')
    check_rows(rows, place)
    return rows
