"""Scores a model beside what needs no model: exact Hit@K with its pool, baselines, paired chain-level intervals."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._util.numbers import plain, whole_number
from ..data.windows import Windows
from ..scoring import VectorBank
from .baselines import chance, copy_last, recency_mean
from .curve import hit_curve
from .experts import Mixture, expert_scores, route_windows
from .intervals import MOST_RESAMPLES, clusters_of
from .metrics import differences, intervals_of, query_scores
from .pools import Candidates, Pool, pool_of_bank
from .predictions import predict_windows
from .questions import question_windows, what_cannot_be_told
from .report import MODEL, CurvePoint, Report

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..data.store import ChainStore

_ORIGIN = ("source", "encoder", "split", "near_duplicates_dropped")  # the metadata that tells what was scored


def evaluate(
    model: torch.nn.Module,
    store: ChainStore | Windows,
    context_length: int = 100,
    pool: str | int | VectorBank = "targets",
    stride: int | None = None,
    ks: Sequence[int] = (1, 5, 10),
    seed: int = 42,
    bootstrap: int = 1000,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    *,
    min_length: int = 7,
    min_coherence: float | None = None,
    distractors: ChainStore | None = None,
    pool_ids: NDArray[np.int64] | None = None,
    rivals: Mapping[str, torch.nn.Module] | None = None,
    curve: bool = True,
    data_name: str | os.PathLike[str] | None = None,
    notes: Sequence[str] = (),
    progress: bool = False,
) -> Report:
    """Score a model on every window of a store, beside baselines that have not learned anything.

    The right answer is always in the pool, and scores are cosines. Equal scores go to the lower index, so an exact
    duplicate of a target that stands before it counts as a miss. The pool is one of

    - ``"targets"``: the targets of the windows themselves;
    - a size: all targets and random other chunks up to that size; where it is smaller than the number of targets, a
      random subset of that many queries and their targets;
    - ``"store"``: every chunk. It holds the contexts' own chunks, so copy-last finds itself first and never gets Hit@1;
    - a `VectorBank` that holds the targets.

    Args:
        model: Called as ``model(context (B, N, D), lengths (B,))``; returns deltas (B, D). Of a
            `Mixture`, such as one of experts, the report tells which parts serve which queries, and how well.
        store: The chains to predict: held-out ones, for a figure that means anything. Or windows over them, which are
            then the queries: what says how to lay windows out (context length, stride, least length and coherence) is
            theirs, not what is given here.
        context_length: Most context vectors a window has.
        pool: The candidates, as above.
        stride: Rows between the targets of a chain; half the context unless given, or less, down to 2, until there are
            200 questions.
        ks: The K of each Hit@K; one beyond the pool is always a hit, for chance too.
        seed: Seed of random pools and of the resamples.
        bootstrap: Resamples of whole chains for the 95% intervals, at most 100,000.
        batch_size: Windows a forward pass.
        device: Where the model runs; where its parameters are unless given.
        min_length: Shortest chain piece a window is made from, target included.
        min_coherence: Drop windows whose target has a smaller cosine with its current vector.
        distractors: More chains (the training part, say) that add their chunks to sized and ``"store"`` pools.
        pool_ids: With a bank as the pool: the place in it of every row of the store, (T,); looked up unless given.
        rivals: Other models by name, scored on the same queries and pool and compared in the same pairs.
        curve: Also work out Hit@5 against pool size, which ranks against every chunk there is.
        data_name: What the report calls the data, a file name for instance.
        notes: What a reader of the report has to know, such as what the model's training has seen; a sentence each.
        progress: Show progress bars on stderr.

    Returns:
        The report: fractions in [0, 1] everywhere, the pool beside them.

    Raises:
        ValueError: If an argument does not fit, there is no window, or the model predicts NaN.
    """
    seed = whole_number(seed, "evaluate: seed", 0)
    bootstrap = whole_number(bootstrap, f"evaluate: bootstrap = {bootstrap}", 1, MOST_RESAMPLES)
    batch_size = whole_number(batch_size, "evaluate: batch_size", 1)
    if not len(ks):
        raise ValueError("evaluate: ks = (); expected at least one number")
    ks = sorted({whole_number(k, f"evaluate: ks = {tuple(ks)}", 1) for k in ks})
    windows = store
    if not isinstance(windows, Windows):
        windows = question_windows(windows, context_length, stride, min_length, min_coherence)
    store = windows.store
    input_dim = getattr(model, "input_dim", store.dim)
    if input_dim != store.dim:
        raise ValueError(f"evaluate: the store has {store.dim} dimensions; expected {input_dim}, as the model reads")
    candidates = Candidates(windows, distractors)
    asked = _make_pool(candidates, pool, pool_ids, seed)

    models = {MODEL: model, **_checked_rivals(rivals or {})}
    predictors = {name: predict_windows(m, windows, batch_size, device, progress) for name, m in models.items()}
    predictors |= {"copy_last": copy_last(windows), "recency_mean": recency_mean(windows)}

    clusters = clusters_of(store.origins, windows.chains)
    ranks = asked.ranks(predictors)
    scores = query_scores(predictors, ranks, windows, asked.queries, ks)
    means = {name: {metric: float(v.mean()) for metric, v in metrics.items()} for name, metrics in scores.items()}
    mine = means.pop(MODEL)
    origin = {key: store.metadata[key] for key in _ORIGIN if key in store.metadata}
    experts = []
    if isinstance(model, Mixture):
        shares = route_windows(model, windows, batch_size, device, progress)[asked.queries]
        experts = expert_scores(model.route_names, shares, scores, clusters[asked.queries], bootstrap, seed)
    return Report(
        model_type=str(getattr(model, "model_type", type(model).__name__)),
        data=plain({"name": data_name and os.fspath(data_name), **origin}),
        context_length=plain(windows.context_length),
        median_context=int(np.median(windows.lengths[asked.queries])),
        stride=plain(windows.stride),
        pool=len(asked),
        pool_words=asked.words,
        pool_holds_current=asked.holds_current,
        queries=len(asked.queries),
        chains=len(np.unique(clusters[asked.queries])),
        hits={f"hit@{k}": mine[f"hit@{k}"] for k in ks},
        mrr=mine["mrr"],
        mean_cosine=mine["mean_cosine"],
        direction_margin=mine["direction_margin"],
        baselines={**means, "chance": chance(len(asked), ks)},
        intervals=intervals_of({**scores, **differences(scores)}, clusters[asked.queries], bootstrap, seed),
        curve=_curve(predictors, candidates, pool, len(asked), ranks, clusters, bootstrap, seed) if curve else [],
        bootstrap=bootstrap,
        seed=seed,
        experts=experts,
        notes=[*notes, *what_cannot_be_told(len(asked.queries), len(asked), ks)],
    )


def _checked_rivals(rivals: Mapping[str, torch.nn.Module]) -> Mapping[str, torch.nn.Module]:
    taken = {MODEL, "copy_last", "recency_mean", "chance"} & set(rivals)
    if taken:
        raise ValueError(
            f"evaluate: rivals has the name {min(taken)!r}, which the report uses itself; expected another"
        )
    return rivals


def _make_pool(
    candidates: Candidates, pool: str | int | VectorBank, pool_ids: NDArray[np.int64] | None, seed: int
) -> Pool:
    if isinstance(pool, VectorBank):
        return pool_of_bank(candidates.windows, pool, pool_ids)
    if pool_ids is not None:
        raise ValueError(f"evaluate: pool_ids belong to a VectorBank as the pool; pool is {pool!r}")
    if pool == "targets":
        return candidates.targets()
    if pool == "store":
        return candidates.all()
    try:
        size = whole_number(pool, "pool")
    except ValueError:
        expected = "expected 'targets', 'store', a size or a VectorBank"
        raise ValueError(f"evaluate: pool = {pool!r}; {expected}") from None
    return candidates.sized(size, seed)


def _curve(
    predictors: dict[str, NDArray[np.float32]],
    candidates: Candidates,
    pool: str | int | VectorBank,
    size: int,
    ranks: dict[str, NDArray[np.int64]],
    clusters: NDArray[np.int64],
    bootstrap: int,
    seed: int,
) -> list[CurvePoint]:
    """Hit@5 in pools of the targets, then with ever more other chunks; with a given bank, in ever more of the bank.

    `ranks` in the pool of `size` that was asked are known already.
    """
    if isinstance(pool, VectorBank):
        alone = {name: np.zeros(len(clusters), np.int64) for name in predictors}
        return hit_curve(alone, 1, ranks, size, clusters, bootstrap, seed)
    inner = ranks if pool == "targets" else candidates.targets().ranks(predictors)
    outer = ranks if pool == "store" else candidates.all().ranks(predictors)
    return hit_curve(inner, len(candidates.target_rows), outer, len(candidates), clusters, bootstrap, seed)
