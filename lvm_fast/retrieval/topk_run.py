"""The exact best candidates of many queries, written to a file: ground truth for other searches."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._util.atomic_files import atomic_path, check_output
from .._util.kept_parts import kept_parts
from .._util.numbers import whole_number
from ..data.chain_store import ChainStore
from ..data.number_formats import check_rows
from ..data.source import files_of, open_source
from ..data.vectors import Vectors
from .bank import VectorBank
from .topk_files import record_of, writer_for

_AT_ONCE = 1024  # queries: what a run that is cut off repeats


@dataclass(frozen=True)
class TopkRun:
    """What was written.

    Attributes:
        queries: How many queries there were.
        candidates: How many candidates.
        k: How many of them are listed for each query.
        metric: How they were compared.
    """

    queries: int
    candidates: int
    k: int
    metric: str


def write_topk(
    queries: Any,
    data: Any,
    output: str | os.PathLike[str],
    k: int,
    *,
    metric: str = "cosine",
    device: str = "cpu",
    progress: bool = True,
    overwrite: bool = False,
) -> TopkRun:
    """Find the k best candidates of every query, exactly, and write them to one file.

    Finished parts are kept in the folder `<output>.partial` until the file is written: the same call again goes on from
    there, and ends in the same file. Two processes never work at one output.

    Args:
        queries: (B, D) in a `.npy` file, or the vectors of a `ChainStore`, of its path, or of "sample".
        data: The candidates (N, D): a `ChainStore`, its path, or "sample".
        output: The file to write: `.trec`, `.npz` ("ids" int64 and "scores" float32, (B, k) each) or `.parquet`
            (columns query, rank, id, score). Queries and candidates are numbered from 0, ranks from 1.
        k: How many, from 1 to N.
        metric: As `VectorBank` takes it.
        device: As `VectorBank` takes it.
        progress: Show a bar on a terminal.
        overwrite: Replace a file that is there already.

    Raises:
        ValueError: An argument does not fit, a query holds NaN or infinity, or (by cosines) is all zeros.
        FileExistsError: The output is there, and `overwrite` is False.
        BlockingIOError: Another process writes the same output.
        OSError: A file cannot be read or written.
    """
    from .._util.terminal import progress_bar

    writer = writer_for(output, "topk: output")
    check_output(output, "topk: output", [*files_of(queries), *files_of(data)], overwrite)
    store = open_source(data, "topk: data")
    asked = _queries(queries, store.dim)
    run = TopkRun(len(asked), len(store.vectors), whole_number(k, "topk: k", 1, len(store.vectors)), metric)
    digest = _digest(asked, store, run, metric == "cosine")
    with kept_parts(output, digest, len(asked), _AT_ONCE, record_of(run.k), "topk") as parts:
        if parts.missing:
            bank = VectorBank(store.vectors, metric=metric, device=device)
            answer = lambda first, last: _answers(bank, asked.select(slice(first, last)), run.k)  # noqa: E731
            left = sum(min(_AT_ONCE, len(asked) - first) for first in parts.missing)
            with progress_bar(len(asked), "query", None if progress else False, initial=len(asked) - left) as bar:
                for done in parts.make(answer):
                    bar.update(done)
        with atomic_path(output) as temporary:
            writer(temporary, parts, len(asked), run.k)
    return run


def _answers(bank: VectorBank, queries: Vectors, k: int) -> NDArray[Any]:
    """Return a record for each query."""
    records = np.empty(len(queries), record_of(k))
    records["scores"], records["ids"] = bank.topk(queries, k)
    return records


def _queries(given: Any, dim: int) -> Vectors:
    """Return the queries as they are stored. Raises ValueError where they are none."""
    if not isinstance(given, str | os.PathLike) or Path(given).suffix.lower() != ".npy":
        vectors = open_source(given, "topk: queries").vectors
    else:
        vectors = _read(Path(given))
    if vectors.shape[1] != dim:
        raise ValueError(f"topk: queries: expected vectors of {dim} numbers, as in the store, got {vectors.shape[1]}")
    return vectors


def _read(path: Path) -> Vectors:
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"topk: queries: {path}: no .npy file of numbers: {error}") from error
    if not isinstance(rows, np.ndarray):
        raise ValueError(f"topk: queries: {path}: no .npy file of numbers, but an archive of several")
    with np.errstate(over="ignore"):  # an overflow becomes infinity, which the check reports
        stored = rows.astype(np.float32) if rows.dtype == np.float64 else rows
    return Vectors.of(stored, None, f"topk: queries: {path}")


def _digest(queries: Vectors, store: ChainStore, run: TopkRun, need_direction: bool) -> str:
    """Check every query, and return a digest of all that the answers follow from."""
    digest = hashlib.sha256(json.dumps([store.fingerprint(), asdict(run), queries.dtype_name]).encode())
    for first, block in queries.blocks():
        _check(block[:], first, need_direction)
        digest.update(np.ascontiguousarray(block.raw).data)
        if block.scales is not None:
            digest.update(np.ascontiguousarray(block.scales).data)
    return digest.hexdigest()[:16]


def _check(rows: NDArray[np.float32], first: int, need_direction: bool) -> None:
    if need_direction:
        check_rows(rows, "topk: queries", first)
        return
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise ValueError(f"topk: queries: row {first + bad[0]} holds NaN or infinity; expected finite numbers")
