"""The function ``topk`` of a package against exact retrieval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .candidate_bank import ROWS, Bank, digest
from .compare_weights import wrong_constants
from .mil.constants import mil_name
from .package_metadata import BankFacts
from .verification_result import RetrievalCheck

if TYPE_CHECKING:
    from .mil.interpreter import Interpreter

# of a cosine; products of unit vectors are sums of float32, and rounded to the precision twice
_TOLERANCES = {"float16": 1e-3, "float32": 1e-6}


def check_retrieval(
    saved: Interpreter,
    name: str,
    facts: BankFacts,
    queries: NDArray[np.float32],
    bank: Bank | None,
    precision: str,
) -> RetrievalCheck:
    """Ask a package for the candidates nearest to some predictions, and compare with exact inner products.

    Args:
        saved: The package.
        name: Its retrieval function.
        facts: What the package says of its bank.
        queries: Unit vectors (P, D).
        bank: The candidates it was given, for a comparison row by row; without them, the digest must do.
        precision: Of the package.

    Raises:
        ValueError: The function has no rows.
    """
    rows = saved.weights(name).get(mil_name(ROWS))
    if rows is None:
        raise ValueError(f"it has no {mil_name(ROWS)}")
    values = np.asarray(rows if isinstance(rows, np.ndarray) else rows.values(), np.float64)  # (N, D)
    exact = queries.astype(np.float64) @ values.T  # (P, N)
    k = facts.topk
    best = -np.sort(-exact, axis=1)[:, :k]  # (P, K)
    error, hits = 0.0, 0
    for query, mine, wanted in zip(queries, exact, best, strict=True):
        found = saved.run(name, {"query": query[None]})
        scores, ids = found["scores"][0], found["ids"][0]
        if len(np.unique(ids)) < k or not np.isin(ids, np.arange(len(values))).all():
            error = float("inf")  # a row found twice, or one that is not there
            continue
        error = np.max([error, *np.abs(scores - mine[ids]), *np.abs(mine[ids] - wanted)])  # NaN if any is
        hits += int((mine[ids] >= wanted[-1]).sum())
    if bank is None:
        wrong = [] if digest(rows) == facts.sha256 else [f"{mil_name(ROWS)} differs from what was exported"]
    else:
        stored_in = precision if bank.dtype == "int8" else bank.dtype
        wrong = list(wrong_constants({ROWS: rows}, {ROWS: bank.rows}, stored_in))
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
