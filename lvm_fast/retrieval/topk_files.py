"""Writes the best candidates of many queries: TREC runs, numpy archives and Parquet tables, part by part."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._util.optional import optional_module

TAG = "lvm_fast"  # the last word of a line of a TREC run

Part: TypeAlias = tuple[int, NDArray[Any]]  # the first query, and records of ids (k,) int64 and scores (k,) float32
Writer: TypeAlias = Callable[[Path, Iterable[Part], int, int], None]


def record_of(k: int) -> np.dtype[Any]:
    """Return the dtype of one query's answer."""
    return np.dtype([("ids", "<i8", (k,)), ("scores", "<f4", (k,))])


def writer_for(path: str | os.PathLike[str], called: str) -> Writer:
    """Return what writes a file of this name: ``writer(path, parts, queries, k)``, which may walk over the parts twice.

    Raises:
        ValueError: The name has another suffix.
        ImportError: The suffix is `.parquet`, and pyarrow is missing.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise ValueError(f"{called} = {os.fspath(path)!r}; expected a name ending in {', '.join(_WRITERS)}")
    if suffix == ".parquet":
        optional_module("pyarrow.parquet", "parquet", f"{called}: Parquet")
    return _WRITERS[suffix]


def _write_trec(path: Path, parts: Iterable[Part], queries: int, k: int) -> None:
    """Write lines ``query Q0 id rank score lvm_fast``: queries and candidates by number, ranks from 1."""
    del queries, k
    with open(path, "w", encoding="ascii", newline="\n") as file:
        for first, part in parts:
            for query, (ids, scores) in enumerate(part.tolist(), first):
                file.writelines(
                    f"{query} Q0 {i} {rank} {np.float32(score)!s} {TAG}\n"
                    for rank, (i, score) in enumerate(zip(ids, scores, strict=True), 1)
                )


def _write_npz(path: Path, parts: Iterable[Part], queries: int, k: int) -> None:
    """Write "ids" (B, k) int64 and "scores" (B, k) float32, each streamed, which `numpy.savez` cannot."""
    dtype = record_of(k)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("ids", "scores"):
            header = {"descr": dtype[name].base.str, "fortran_order": False, "shape": (queries, k)}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, header)
                for _, part in parts:
                    file.write(np.ascontiguousarray(part[name]).data)


def _write_parquet(path: Path, parts: Iterable[Part], queries: int, k: int) -> None:
    """Write a row for each hit: query, rank (from 1), id and score, in this order."""
    del queries
    pyarrow: Any = optional_module("pyarrow", "parquet")
    parquet: Any = optional_module("pyarrow.parquet", "parquet")
    fields = {"query": pyarrow.int64(), "rank": pyarrow.int32(), "id": pyarrow.int64(), "score": pyarrow.float32()}
    schema = pyarrow.schema(list(fields.items()))
    with parquet.ParquetWriter(path, schema) as writer:
        for first, part in parts:
            columns = {
                "query": np.repeat(np.arange(first, first + len(part)), k),
                "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), len(part)),
                "id": part["ids"].ravel(),
                "score": part["scores"].ravel(),
            }
            writer.write_table(pyarrow.table(columns, schema=schema))


_WRITERS: dict[str, Writer] = {".trec": _write_trec, ".npz": _write_npz, ".parquet": _write_parquet}
