"""Turning vectors that exist already (arrays, sequence files, lines, tables, indexes) into a `ChainStore`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from .._util.numbers import whole_number
from .._util.temporary_names import set_aside
from .._util.text import unicode_text
from .chain_names import free_mark
from .chain_store import ChainStore
from .jsonl import read_jsonl
from .npz import array_names, first_line
from .number_formats import Float32, Raw, check_rows
from .reading.embeddings import (
    FAISS_SUFFIXES,
    LANCE_SUFFIX,
    PARQUET_SUFFIX,
    Embeddings,
    read_faiss,
    read_lance,
    read_npz,
    read_parquet,
)
from .sequences import is_sequences
from .source import chunks_path


def read_vectors(
    path: str | os.PathLike[str],
    offsets: str | os.PathLike[str] | None = None,
    dtype: str | None = None,
    *,
    vector_column: str | None = None,
    chain_column: str | None = None,
) -> ChainStore:
    """Read a file of vectors as a store in memory, or mapped where the rows lie in a file.

    Args:
        path: `.npz` as for `ChainStore.from_sequences`, or with an array (T, D) and, if they are there, "offsets" and
            "ids"; `.npy` of shape (T, D); `.jsonl` / `.jsonl.gz` with a chain a line, {"id": ..., "vectors": [[...],
            ...]}; `.parquet` or `.lance` with a column of lists of numbers; or a flat FAISS index, `.faiss` or
            `.index`.
        offsets: for rows without chains, a `.npy` of the chain boundaries (C + 1,); without it the rows are one chain.
        dtype: how the store will be saved; with it, float64 is read too, as float32.
        vector_column: the column, or array of an `.npz`, that holds the vectors; "vectors", "embeddings" and the like
            when left out.
        chain_column: the column that says of which chain a row is; its rows follow each other.

    Raises:
        ImportError: the file needs a package that is missing.
        OSError: a file cannot be opened.
        ValueError: names the file, what was expected and what came.
    """
    name, place = os.fspath(path).lower().rstrip("/"), Path(path)
    is_table = name.endswith((PARQUET_SUFFIX, LANCE_SUFFIX))
    if chain_column is not None and not is_table:
        raise ValueError(f"{place}: a chain column goes with a .parquet or .lance file only")
    if vector_column is not None and not (is_table or name.endswith(".npz")):
        raise ValueError(f"{place}: a vector column goes with a .parquet, .lance or .npz file only")
    if name.endswith((".jsonl", ".jsonl.gz")) or (name.endswith(".npz") and is_sequences(place)):
        if offsets is not None:
            raise ValueError(f"{place}: offsets go with a file of rows only")
        return _read_jsonl(place) if "jsonl" in name else ChainStore.from_sequences(place)
    if name.endswith(".npy"):
        found = Embeddings(_map_npy(place))
    elif name.endswith(".npz"):
        found = read_npz(place, array_names(place), vector_column)
    elif name.endswith(PARQUET_SUFFIX):
        found = read_parquet(place, vector_column, chain_column)
    elif name.endswith(LANCE_SUFFIX):
        found = read_lance(place, vector_column, chain_column)
    elif name.endswith(FAISS_SUFFIXES):
        found = read_faiss(place)
    else:
        raise ValueError(f"{place}: expected a .npz, .npy, .jsonl, .jsonl.gz, .parquet, .lance, .faiss or .index file")
    return _store_of(found, place, offsets, dtype)


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


def _store_of(found: Embeddings, path: Path, offsets: str | os.PathLike[str] | None, dtype: str | None) -> ChainStore:
    """Make a store of rows; without boundaries they are one chain, called as the file."""
    rows, where, metadata = found.rows, str(path), {"source": unicode_text(path.name)}
    if rows.dtype.kind == "f" and rows.dtype.itemsize > 4:
        if dtype is None:
            raise ValueError(f"{where}: holds {rows.dtype}; say with dtype (--dtype) how to store it")
        with np.errstate(over="ignore"):  # becomes Inf, which saving reports by row
            rows = rows.astype(np.float32)
    if offsets is not None:
        if found.offsets is not None:
            raise ValueError(f"{where}: tells its chains itself; offsets are for rows without chains")
        return ChainStore(rows, _map_npy(offsets), metadata=metadata, where=where)
    if found.offsets is not None:
        return ChainStore(rows, found.offsets, found.ids, metadata, where=where)
    return ChainStore(rows, [0, len(rows)], [unicode_text(path.stem)], metadata, where=where)


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
