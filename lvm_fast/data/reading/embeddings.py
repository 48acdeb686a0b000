"""Vectors that another program has stored: Parquet and Lance tables, FAISS flat indexes, arrays in an `.npz`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np

from ..._util.did_you_mean import unknown_name
from ..._util.optional import optional_module
from ..number_formats import Int64, Raw

EXTRA, PURPOSE = "vectors", "reading this file"
FAISS_SUFFIXES, LANCE_SUFFIX, PARQUET_SUFFIX = (".faiss", ".index"), ".lance", ".parquet"
_BATCH = 4096
_VECTORS = ("vectors", "vector", "embeddings", "embedding", "arr_0")  # names that need not be said


class Embeddings(NamedTuple):
    """Rows as they are stored, and the chains that they make.

    Attributes:
        rows: (T, D), or a map of a temporary file.
        offsets: (C + 1,) boundaries of the chains; None where the file does not tell them apart.
        ids: one a chain; None likewise.
    """

    rows: Raw
    offsets: Int64 | None = None
    ids: list[str] | None = None


def read_parquet(path: Path, vector_column: str | None, chain_column: str | None) -> Embeddings:
    """Read a column of equally long lists of numbers; rows that follow each other with one chain id are a chain.

    Raises:
        ImportError: pyarrow is missing.
        ValueError: the file is damaged, or the columns are not there or hold something else.
    """
    pyarrow, parquet = (optional_module(name, EXTRA, PURPOSE) for name in ("pyarrow", "pyarrow.parquet"))
    try:
        with parquet.ParquetFile(path) as file:
            columns = _columns(file.schema_arrow.names, vector_column, chain_column, path)
            return _of_batches(file.iter_batches(_BATCH, columns=list(filter(None, columns))), columns, path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path}: no Parquet file that can be read: {error}") from error


def read_lance(path: Path, vector_column: str | None, chain_column: str | None) -> Embeddings:
    """Read a Lance dataset as `read_parquet` does a Parquet file.

    Raises:
        ImportError: pylance is missing.
        ValueError: the dataset is damaged, or the columns are not there or hold something else.
    """
    lance = optional_module("lance", EXTRA, PURPOSE)
    try:
        dataset = lance.dataset(str(path))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: no Lance dataset that can be read: {error}") from error
    columns = _columns(dataset.schema.names, vector_column, chain_column, path)
    return _of_batches(dataset.to_batches(columns=list(filter(None, columns)), batch_size=_BATCH), columns, path)


def read_faiss(path: Path) -> Embeddings:
    """Read the vectors of a flat index, in the order of their ids.

    Raises:
        ImportError: faiss is missing.
        ValueError: the file is damaged, or the index holds no plain vectors.
    """
    faiss = optional_module("faiss", EXTRA, PURPOSE)
    try:
        index = faiss.read_index(os.fspath(path))
    except RuntimeError as error:
        raise ValueError(f"{path}: no FAISS index that can be read: {str(error).splitlines()[0]}") from error
    flat = faiss.downcast_index(index)
    if not isinstance(flat, faiss.IndexFlat):
        raise ValueError(f"{path}: a {type(flat).__name__}; expected a flat index, which holds the vectors themselves")
    return Embeddings(
        _stored(flat.reconstruct_n(first, min(_BATCH, flat.ntotal - first)) for first in range(0, flat.ntotal, _BATCH))
    )


def read_npz(path: Path, names: Iterable[str], vector_column: str | None) -> Embeddings:
    """Read an array (T, D), "offsets" (C + 1,) where they are there, and "ids" (C,) of text, of an `.npz`.

    Raises:
        ValueError: an array is not there, is pickled, or is damaged.
    """
    held = list(names)
    (name, _) = _columns(held, vector_column, None, path)
    try:
        with np.load(path, allow_pickle=False) as file:
            offsets = file["offsets"] if "offsets" in held else None
            ids = file["ids"].astype(str).tolist() if "ids" in held else None
            return Embeddings(file[name], offsets, ids)
    except (OSError, EOFError) as error:
        raise ValueError(f"{path}: array {name!r} cannot be read: {error}") from error


def _columns(names: list[str], vectors: str | None, chains: str | None, path: Path) -> tuple[str, str | None]:
    """Return the names of the vectors and of the chain ids."""
    for asked in filter(None, (vectors, chains)):
        if asked not in names:
            raise ValueError(f"{path}: {unknown_name('column', asked, names)}")
    usual = [name for name in _VECTORS if name in names]
    if vectors is None and not usual:
        raise ValueError(f"{path}: which column holds the vectors? Say --vector-column; found {', '.join(names)}")
    return vectors or usual[0], chains


def _of_batches(batches: Iterable[Any], columns: tuple[str, str | None], path: Path) -> Embeddings:
    chains: list[Any] = []
    rows = _stored(_matrices(batches, columns, chains, path))
    if columns[1] is None:
        return Embeddings(rows)
    begins = [0, *(row for row, (one, other) in enumerate(pairwise(chains), 1) if one != other)]
    ids = [str(chains[row]) for row in begins]
    if len(set(ids)) < len(ids):
        again = next(name for place, name in enumerate(ids) if name in ids[:place])
        raise ValueError(f"{path}: the rows of chain {again!r} do not follow each other; expected them in one run")
    return Embeddings(rows, np.array([*begins, len(chains)], np.int64), ids)


def _matrices(batches: Iterable[Any], columns: tuple[str, str | None], chains: list[Any], path: Path) -> Iterator[Raw]:
    """Give the vectors of each batch, (n, D), and add their chain ids to `chains`."""
    first, width = 0, None
    for batch in batches:
        lists = batch.column(columns[0])
        if not hasattr(lists, "flatten") or lists.null_count:
            raise ValueError(f"{path}: column {columns[0]!r} is {lists.type}; expected lists of numbers, none missing")
        values = lists.flatten().to_numpy(zero_copy_only=False)
        lengths = np.fromiter((len(one) for one in lists), np.int64, len(lists))
        width = int(lengths[0]) if width is None and len(lengths) else width
        odd = np.flatnonzero(lengths != width)
        if len(odd):
            raise ValueError(f"{path}: row {first + odd[0]} has {lengths[odd[0]]} numbers; expected {width} as before")
        if values.dtype.kind != "f":
            raise ValueError(f"{path}: column {columns[0]!r} holds {lists.type}; expected floating-point numbers")
        if columns[1] is not None:
            chains += batch.column(columns[1]).to_pylist()
        first += len(lengths)
        if len(lengths):
            yield values.reshape(len(lengths), width)


def _stored(matrices: Iterator[Raw]) -> Raw:
    """Write rows one after the other to a file without a name, and map it."""
    with TemporaryFile() as file:
        count, last = 0, np.empty((0, 0), np.float32)
        for last in matrices:
            file.write(np.ascontiguousarray(last).data)
            count += len(last)
        if not count:
            return last
        file.flush()
        return np.memmap(file, last.dtype, "r", shape=(count, last.shape[1]))
