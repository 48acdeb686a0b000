"""Turning vectors that exist already (`.npz` sequence files, `.npy` arrays, `.jsonl` lines) into a `ChainStore`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from .._util.atomic_files import set_aside
from .._util.numbers import whole_number
from .._util.text import unicode_text
from .chain_names import free_mark
from .chain_store import ChainStore
from .jsonl import read_jsonl
from .npz import first_line
from .number_formats import Float32, Raw, check_rows
from .source import chunks_path


def read_vectors(
    path: str | os.PathLike[str], offsets: str | os.PathLike[str] | None = None, dtype: str | None = None
) -> ChainStore:
    """Read a file of vectors as a store in memory (a `.npy` is mapped).

    Args:
        path: `.npz` as for `ChainStore.from_sequences`; `.npy` of shape (T, D); or `.jsonl` / `.jsonl.gz` with a chain
            a line, {"id": ..., "vectors": [[...], ...]}.
        offsets: for `.npy`, a `.npy` of the chain boundaries (C + 1,); without it the rows are one chain.
        dtype: how the store will be saved; with it, float64 in a `.npy` is read too, as float32.

    Raises:
        OSError: a file cannot be opened.
        ValueError: names the file, what was expected and what came.
    """
    name = os.fspath(path).lower()
    if offsets is not None and not name.endswith(".npy"):
        raise ValueError(f"{os.fspath(path)}: offsets go with a .npy file only")
    if name.endswith(".npz"):
        return ChainStore.from_sequences(path)
    if name.endswith(".npy"):
        return _read_npy(path, offsets, dtype)
    if name.endswith((".jsonl", ".jsonl.gz")):
        return _read_jsonl(path)
    raise ValueError(f"{os.fspath(path)}: expected a .npz, .npy, .jsonl or .jsonl.gz file")


def cut_chains(store: ChainStore, max_length: int) -> ChainStore:
    """Cut every longer chain into pieces of at most `max_length` rows, as equal as can be, without copying a row.

    The pieces of a chain are called by its id and their rows, such as "chain_0[0:500]". They count as chains of their
    own: where nothing tells the documents of a source apart, this gives a split something to deal.

    Raises:
        ValueError: as `check_max_length`.
    """
    check_max_length(max_length)
    cuts = [_cuts(length, max_length) for length in store.lengths.tolist()]
    chains = [(name, list(pairwise(places))) for name, places in zip(store.ids, cuts, strict=True)]

    def pieces(mark: str) -> Iterator[str]:
        return (name for chain, places in chains if len(places) > 1 for name in _piece_names(chain, places, mark))

    mark = free_mark("[", pieces, store.ids)
    ids = [name for chain, places in chains for name in _piece_names(chain, places, mark)]
    starts = store.offsets[:-1].tolist()
    offsets = [0, *(first + cut for first, places in zip(starts, cuts, strict=True) for cut in places[1:])]
    return ChainStore(store.vectors, offsets, ids, {**store.metadata, "max_length": int(max_length)})


def check_max_length(max_length: int) -> None:
    """Raise ValueError unless the longest piece of a chain is a whole number of at least 2."""
    whole_number(max_length, "cut_chains: max_length", least=2)


def save_prepared(store: ChainStore, path: str | os.PathLike[str], dtype: str | None = None) -> None:
    """Save a store as `ChainStore.save` does; texts of the chunks of the store that stood there before go with it."""
    with set_aside(chunks_path(path)):
        store.save(path, dtype)


def _cuts(length: int, max_length: int) -> list[int]:
    """Find where the pieces of a chain begin and end."""
    pieces = max(1, -(-length // max_length))
    return [length * piece // pieces for piece in range(pieces + 1)]


def _piece_names(chain: str, places: Sequence[tuple[int, int]], mark: str) -> list[str]:
    return [chain] if len(places) == 1 else [f"{chain}{mark}{begin}:{end}]" for begin, end in places]


def _read_npy(path: str | os.PathLike[str], offsets: str | os.PathLike[str] | None, dtype: str | None) -> ChainStore:
    rows = _map_npy(path)
    if rows.dtype.kind == "f" and rows.dtype.itemsize > 4:
        if dtype is None:
            raise ValueError(f"{os.fspath(path)}: holds {rows.dtype}; say with dtype (--dtype) how to store it")
        with np.errstate(over="ignore"):  # becomes Inf, which saving reports by row
            rows = rows.astype(np.float32)
    source = Path(path)
    if offsets is not None:
        return ChainStore(
            rows, _map_npy(offsets), metadata={"source": unicode_text(source.name)}, where=os.fspath(path)
        )
    return ChainStore(
        rows, [0, len(rows)], [unicode_text(source.stem)], {"source": unicode_text(source.name)}, where=os.fspath(path)
    )


def _map_npy(path: str | os.PathLike[str]) -> Raw:
    try:
        array: Raw = npy.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # numpy parses the header as Python, and a damaged one can raise almost anything
        raise ValueError(f"{os.fspath(path)}: not a plain, whole .npy file: {first_line(error)}") from error
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
    return ChainStore(
        np.concatenate(blocks), offsets, ids, {"source": unicode_text(Path(path).name)}, where=os.fspath(path)
    )


def _rows(record: dict[str, Any], place: str) -> Float32:
    if "vectors" not in record:
        hint = "; `lvm-fast encode` turns text into vectors" if {"text", "chunks"} & record.keys() else ""
        raise ValueError(f'{place}: no "vectors"{hint}')
    listed = record["vectors"]
    are_numbers = isinstance(listed, list) and all(
        isinstance(row, list) and set(map(type, row)) <= {int, float} for row in listed
    )
    if not are_numbers or len(set(map(len, listed))) > 1:
        raise ValueError(f'{place}: "vectors" is not a list of equally long lists of numbers')
    with np.errstate(over="ignore"):  # becomes Inf, which check_rows reports
        rows = np.array(listed, np.float64).astype(np.float32)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f'{place}: "vectors" has shape {rows.shape}; expected (rows, D), neither of them 0')
    check_rows(rows, place)
    return rows
