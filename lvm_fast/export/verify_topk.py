"""Compares the function ``topk`` of a package with exact retrieval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .candidate_bank import ROWS_NAME, CandidateBank, rows_digest
from .compare_weights import wrong_constants
from .compression import Stored
from .metadata import BankMetadata
from .verification_result import RetrievalCheck

Search: TypeAlias = Callable[[NDArray[np.float32]], Mapping[str, NDArray[Any]]]

# of a score: products of unit vectors are float32 sums, rounded to the precision twice
_TOLERANCES = {"float16": 1e-3, "float32": 1e-6}


def check_topk(
    search: Search,
    rows: Stored | None,
    name: str,
    metadata: BankMetadata,
    queries: NDArray[np.float32],
    bank: CandidateBank | None,
    precision: str,
) -> RetrievalCheck:
    """Ask a package for the candidates nearest to some queries, and compare its answers with exact inner products.

    Args:
        search: Runs the function: a query (1, D) -> ``scores`` (1, K) and ``ids`` (1, K), by name.
        rows: The rows that the function searches, as the package stores them; None where it has none.
        name: The function ``topk``.
        metadata: The package's metadata on its bank.
        queries: Unit vectors (P, D).
        bank: The candidates it was exported with, to compare row by row; None compares the digest alone.
        precision: The package's.

    Raises:
        ValueError: The function has no rows.
    """
    if rows is None:
        raise ValueError(f"it has no {ROWS_NAME}")
    values = np.asarray(rows if isinstance(rows, np.ndarray) else rows.values(), np.float64)  # (N, D)
    exact = queries.astype(np.float64) @ values.T  # (P, N)
    k = metadata.topk
    best = -np.sort(-exact, axis=1)[:, :k]  # (P, K)
    error, hits = 0.0, 0
    for query, products, largest in zip(queries, exact, best, strict=True):
        outputs = search(query[None])
        scores, ids = outputs["scores"][0], outputs["ids"][0]
        if len(np.unique(ids)) < k or not np.isin(ids, np.arange(len(values))).all():
            error = float("inf")  # a row found twice, or one that is not there
            continue
        error = np.max([error, *np.abs(scores - products[ids]), *np.abs(products[ids] - largest)])  # NaN if any is
        hits += int((products[ids] >= largest[-1]).sum())
    if bank is None:
        is_same = rows_digest(rows) == metadata.sha256
        wrong = [] if is_same else [f"{ROWS_NAME} differs from what was exported"]
    else:
        stored_in = precision if bank.dtype == "int8" else bank.dtype
        wrong = list(wrong_constants({ROWS_NAME: rows}, {ROWS_NAME: bank.rows}, stored_in))
    return RetrievalCheck(
        name=name,
        queries=len(queries),
        candidates=len(values),
        k=k,
        max_abs_error=float(error),
        agreement=hits / best.size,
        tolerance=_TOLERANCES[precision],
        bank_compared=bank is not None,
        wrong_weights=tuple(wrong),
    )
