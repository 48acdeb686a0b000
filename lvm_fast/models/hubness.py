"""Hubness correction: a candidate that is near to every question scores less.

In many dimensions some vectors are among the nearest neighbours of nearly everything: hubs (Radovanovic et al., "Hubs
in space", 2010). So the score of a query q and a candidate x becomes ``q . x - s h(x)``, where h(x) is the mean cosine
of x with those k queries of a query bank that are nearest to it. The query bank holds predictions for the training
part, and nothing of the questions. Conneau et al., "Word translation without parallel data" (2018), subtract the same
mean; Bogolin et al., "Cross modal retrieval with querybank normalisation" (2022), use such a bank.

The score stays an inner product of unit rows, with two numbers more: the key is ``(x, -s h(x), rest) / r``, where the
rest brings every key to the same length ``r = sqrt(1 + s^2)``, and the query ``(q, 1, 0) / sqrt(2)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._util.numbers import real_number, whole_number
from ..ops.rowwise import l2_normalize
from ..retrieval.bank import VectorBank

EXTRA = 2  # numbers that a key and a query have beside a vector's


def check_hubness(facts: Any) -> dict[str, Any]:
    """Return the facts of a correction as plain numbers.

    Args:
        facts: "queries", the rows M of the query bank; "neighbours", how many of them a candidate is compared with, k;
            "strength", s.

    Raises:
        ValueError: They are no mapping, one is missing or out of range, or there are fewer queries than neighbours.
    """
    where = "space: hubness"
    try:
        queries, neighbours, strength = facts["queries"], facts["neighbours"], facts["strength"]
    except (KeyError, TypeError):
        expected = "a mapping with queries, neighbours and strength"
        raise ValueError(f"{where} = {facts!r}; expected {expected}") from None
    queries = whole_number(queries, f"{where}: queries", 1)
    return {
        "queries": queries,
        "neighbours": whole_number(neighbours, f"{where}: neighbours", 1, queries),
        "strength": real_number(strength, f"{where}: strength", 0, 1),
    }


def corrected_keys(
    keys: NDArray[np.float32], vectors: NDArray[np.float32], query_bank: Tensor, facts: dict[str, Any]
) -> NDArray[np.float32]:
    """Return keys with the correction of their candidates: (N, E) -> unit rows (N, E + 2).

    Args:
        keys: What is searched in, unit rows.
        vectors: The candidates as the encoder gives them, (N, D).
        query_bank: Unit predictions in the encoder's own space, (M, D).
        facts: As `check_hubness` returns them.
    """
    strength = facts["strength"]
    radius = np.sqrt(1.0 + strength**2)
    bias = strength * closeness(vectors, query_bank, facts["neighbours"])
    rows = np.empty((len(keys), keys.shape[1] + EXTRA), np.float32)
    rows[:, :-EXTRA] = keys / radius
    rows[:, -2] = -bias / radius
    rows[:, -1] = np.sqrt(np.maximum(radius**2 - 1.0 - bias**2, 0.0)) / radius
    rows[~keys.any(axis=1)] = 0.0  # a candidate without a direction stays one
    return rows


def closeness(vectors: NDArray[np.float32], query_bank: Tensor, neighbours: int) -> NDArray[np.float64]:
    """Return the mean cosine of every vector (N, D) with its nearest queries of a bank (M, D), (N,); 0 for zeros."""
    bank = VectorBank(query_bank.detach().float().cpu().numpy(), normalize=True)
    means, directed = np.zeros(len(vectors)), vectors.any(axis=1)
    if directed.any():
        scores, _ = bank.topk(l2_normalize(vectors[directed]), neighbours)
        means[directed] = scores.astype(np.float64).mean(axis=1)
    return means


def corrected_query(query: Tensor) -> Tensor:
    """Return unit queries (B, E) as they meet `corrected_keys`: unit rows (B, E + 2)."""
    one, zero = torch.ones_like(query[..., :1]), torch.zeros_like(query[..., :1])
    rows: Tensor = torch.cat((query, one, zero), dim=-1) * 0.5**0.5
    return rows
