"""Chooses how sure a router's first arm has to be, on held-out chains, where it is known who was right."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from .._util.numbers import real_number, whole_number
from ..data.windows import Windows, query_windows
from ..inference.router import Router
from ..models.answering import answering
from .pools import Candidates
from .predictions import predict_windows

if TYPE_CHECKING:
    from ..data.chain_store import ChainStore
    from ..retrieval.bank import VectorBank


class Calibration(NamedTuple):
    """A threshold and what it does on the chains it was read off.

    Attributes:
        threshold: The least lead of a sure answer; None where the first arm never does well enough.
        share: Share of the longer contexts that the first arm then answers.
        difference: Hit@K of the router minus Hit@K of routing by length alone, a fraction of all queries.
        pool: Candidates behind that Hit@K.
        queries: Contexts, of which `longer` exceed the first arm's limit.
        longer: As said.
    """

    threshold: float | None
    share: float
    difference: float
    pool: int
    queries: int
    longer: int


def calibrate_router(
    router: Router,
    store: ChainStore | Windows,
    bank: VectorBank,
    context_length: int | None = None,
    *,
    stride: int | None = None,
    tolerance: float = 0.0,
    k: int = 5,
    batch_size: int = 256,
) -> Calibration:
    """Let the router's first arm answer as many longer contexts as it can without costing Hit@K, and remember how.

    On chains that neither training nor the final figures use: each longer context is predicted by the first arm and by
    the arm of its length, and ranked among the targets. The threshold is the smallest lead for which answers of the
    first arm with at least that lead do not bring Hit@K of all queries down by more than `tolerance`.

    Args:
        router: Given its bank and threshold (`Router.trust`); what it had is replaced.
        store: Held-out chains, or windows over them.
        bank: The candidates that leads are measured against.
        context_length: Most context vectors a window has; the largest limit of the router unless given.
        stride: Rows between the targets of a chain; as `evaluate` chooses it unless given.
        tolerance: The loss of Hit@K to accept, a fraction.
        k: The K of Hit@K.
        batch_size: Windows a forward pass.

    Raises:
        ValueError: An argument does not fit, there is no window, or none exceeds the first arm's limit.
    """
    tolerance = real_number(tolerance, f"calibrate_router: tolerance = {tolerance}", 0)
    k = whole_number(k, f"calibrate_router: k = {k}", 1)
    batch_size = whole_number(batch_size, "calibrate_router: batch_size", 1)
    windows = store
    if not isinstance(windows, Windows):
        windows = query_windows(windows, max(router.arms) if context_length is None else context_length, stride)
    longer = np.flatnonzero(router.route(windows.lengths))
    if not len(longer):
        raise ValueError(
            f"calibrate_router: the longest context has {windows.lengths.max()} vectors; expected some of more than "
            f"{min(router.arms)}, the first arm's limit"
        )
    router.trust(bank, None)
    (limit, first), *_ = router.arms.items()
    quick = predict_windows(Router({limit: answering(first)}), windows, batch_size)
    ranks = Candidates(windows).targets().ranks({"quick": quick, "own": predict_windows(router, windows, batch_size)})
    hits = {name: (rank[longer] < k).astype(np.int64) for name, rank in ranks.items()}
    margins = router.margins(torch.from_numpy(quick[longer]))
    order = np.argsort(-margins, kind="stable")
    gains = np.cumsum((hits["quick"] - hits["own"])[order])  # of trusting the first arm on the 1, 2, ... surest
    last_of_equals = np.append(np.diff(margins[order]) != 0, True)
    good = np.flatnonzero((gains >= -tolerance * len(windows)) & last_of_equals)
    sure = int(good[-1]) + 1 if len(good) else 0
    threshold = float(margins[order[sure - 1]]) if sure else None
    router.trust(bank, threshold)
    gained = int(gains[sure - 1]) if sure else 0
    pool = len(np.unique(windows.targets))
    return Calibration(threshold, sure / len(longer), gained / len(windows), pool, len(windows), len(longer))
