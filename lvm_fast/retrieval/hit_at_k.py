"""Hit@K: how often the true next vector is among the k best of a pool."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._util.numbers import truth_value
from .bank import VectorBank
from .checked_input import Names, array_of, at_least_one


def hit_at_k(
    predictions: Any,
    targets: Any,
    ks: Iterable[int] = (1, 5, 10),
    bank: VectorBank | None = None,
    mrr: bool = True,
    normalize: bool = False,
    *,
    exclude: ArrayLike | None = None,
    exclude_ranges: ArrayLike | None = None,
    allow: ArrayLike | None = None,
) -> dict[str, float | int]:
    """Compute the fraction of predictions whose true next vector is among the k best of the pool, exactly.

    Args:
        predictions: (B, D), as `VectorBank` takes queries.
        targets: (B, D) vectors: they are the pool, and row b is the target of prediction b; with a bank, (B,) ids.
        ks: Each at least 1. A k beyond the pool is always a hit, as the count says.
        bank: The pool, where it is more than the targets.
        mrr: Also the mean reciprocal rank (needs full ranks).
        normalize: Score cosines; with a bank, say so when making the bank.
        exclude, exclude_ranges, allow: Members of the pool that are no competitors, as `VectorBank` takes them: what a
            reader has read, for instance. The target itself always competes.

    Returns:
        {"hit@1": fraction in [0, 1], ..., "mrr": ..., "pool": candidates before filters, "queries": B}.

    Raises:
        ValueError: An argument does not fit, as `VectorBank` says, or there is not one target a prediction.

    Example:
        >>> hit_at_k([[1.0, 0.1], [0.9, 0.2]], [[1.0, 0.0], [0.0, 1.0]], ks=(1, 2))
        {'hit@1': 0.5, 'hit@2': 1.0, 'mrr': 0.75, 'pool': 2, 'queries': 2}
    """
    wanted, predictions = _each_k(ks), array_of(predictions, "hit_at_k: predictions")
    mrr, normalize = truth_value(mrr, "hit_at_k: mrr"), truth_value(normalize, "hit_at_k: normalize")
    if bank is None:
        bank = VectorBank.__new__(VectorBank)
        metric = "cosine" if normalize else "ip"
        bank._fill(array_of(targets, "hit_at_k: targets"), metric, Names("hit_at_k", {"vectors": "targets"}))
        if len(predictions) != len(bank):
            raise ValueError(f"hit_at_k: targets: expected {len(predictions)} rows, one a prediction, got {len(bank)}")
        targets = np.arange(len(bank))
    elif not hasattr(bank, "rank"):
        raise ValueError(f"hit_at_k: bank: expected a VectorBank, got a {type(bank).__name__}")
    elif normalize and not bank.normalize:
        raise ValueError("hit_at_k: normalize: expected a VectorBank(..., normalize=True), got one of inner products")
    most, asked = None if mrr else max(wanted), Names("hit_at_k", {"queries": "predictions"})
    scorer: Any = bank  # a ShardedBank speaks for itself
    is_whole = isinstance(scorer, VectorBank)
    if is_whole:
        answered = scorer._rank(predictions, targets, most, asked, (exclude, exclude_ranges, allow))
    else:
        filters = {"exclude": exclude, "exclude_ranges": exclude_ranges, "allow": allow}
        given = {name: value for name, value in filters.items() if value is not None}
        answered = scorer.rank(predictions, targets, most, **given)
    ranks = np.atleast_1d(answered)
    if len(ranks) == 0:
        raise ValueError("hit_at_k: predictions: expected at least one row, got none")
    figures: dict[str, float | int] = {f"hit@{k}": float(np.mean(ranks < k)) for k in wanted}
    if mrr:
        figures["mrr"] = float(np.mean(1.0 / (ranks + 1)))
    return figures | {"pool": len(bank), "queries": len(ranks)}


def _each_k(ks: Any) -> list[int]:
    try:
        wanted = [at_least_one(k, "hit_at_k: ks") for k in ks]
    except TypeError:
        raise ValueError(f"hit_at_k: ks: expected some whole numbers, got {ks!r}") from None
    if not wanted:
        raise ValueError("hit_at_k: ks: expected at least one number, got none")
    return wanted
