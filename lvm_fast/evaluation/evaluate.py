"""Scores a model beside what needs no model: exact Hit@K with its pool, baselines, paired chain-level intervals."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._util.numbers import plain, truth_value, whole_number
from ..data.windows import Windows, query_windows
from ..retrieval.bank import VectorBank
from .baselines import chance, check_training, closed_forms
from .experts import Mixture, expert_scores, route_windows
from .figures import CLOSED_FORMS, MODEL, RAW_COSINE, CurvePoint, best_of, headline_of
from .intervals import MOST_RESAMPLES
from .metrics import differences, intervals_of, query_scores, small_sample_notes
from .pool_curve import RanksInPools, hit_curve
from .pools import Candidates, Pool, Ranks, pool_of_bank
from .predictions import Answer, answer_windows, plain_answer
from .questions import look_at
from .report import Report

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..data.chain_store import ChainStore

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
    exclude_read: bool | None = None,
    training: ChainStore | None = None,
    distractors: ChainStore | None = None,
    pool_ids: NDArray[np.int64] | None = None,
    rivals: Mapping[str, torch.nn.Module] | None = None,
    curve: bool = True,
    data_name: str | os.PathLike[str] | None = None,
    notes: Sequence[str] = (),
    questions: int = 0,
    progress: bool = False,
) -> Report:
    """Score a model on every window of a store, beside closed forms that have not learned anything.

    The right answer is always in the pool, and scores are cosines; a model with a space is searched with its `query`
    among its `keys` of the candidates, and its prediction's cosines are told beside that. Equal scores go to the lower
    index, so an exact duplicate of a target that stands before it counts as a miss. The pool is one of

    - ``"targets"``: the targets of the windows themselves;
    - a size: all targets and random other chunks up to that size; where it is smaller than the number of targets, a
      random subset of that many queries and their targets;
    - ``"store"``: every chunk. It holds the contexts' own chunks, so copy-last finds itself first and never gets Hit@1;
    - a `VectorBank` that holds the targets.

    Args:
        model: Called as ``model(context (B, N, D), lengths (B,))``; returns deltas (B, D). One whose `space` is not
            None has `predict`, `query` and `keys` instead, as a `LatentVectorModel` has them. Of a `Mixture`, such as
            one of experts, the report tells which parts serve which queries, and how well.
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
        exclude_read: Leave out of each query's candidates what its chain has said before the target, for models and
            baselines alike; False counts it, as the reference does (the research project whose models we reproduce).
            The report has both, and this one is its headline. True unless given, but for a sequence file's windows,
            whose chains are not known.
        training: The chains that mean, covariance and decays of the closed forms are taken from: those that the
            model was trained on. Else mean and covariance come from all chunks of the store, and decays are fixed.
        distractors: More chains (the training part, say) that add their chunks to sized and ``"store"`` pools.
        pool_ids: With a bank as the pool: the place in it of every row of the store, (T,); looked up unless given.
        rivals: Other models by name, scored on the same queries and pool and compared in the same pairs.
        curve: Also work out Hit@5 against pool size, which ranks against every chunk there is.
        data_name: What the report calls the data, a file name for instance.
        notes: What a reader of the report has to know, such as what the model's training has seen; a sentence each.
        questions: Keep so many questions, spread evenly over all, with their best candidates, for
            `Report.save_html` to show.
        progress: Show progress bars on stderr.

    Returns:
        The report: fractions in [0, 1] everywhere, the pool beside them.

    Raises:
        ValueError: If an argument does not fit, there is no window, or the model predicts NaN.

    Example:
        >>> from lvm_fast import create_model, sample
        >>> report = evaluate(create_model("whitened_recency", input_dim=768), sample(), 16, stride=150, curve=False)
        >>> sorted(report.hits), report.queries == report.pool
        (['hit@1', 'hit@10', 'hit@5'], True)
    """
    seed = whole_number(seed, "evaluate: seed", 0)
    bootstrap = whole_number(bootstrap, f"evaluate: bootstrap = {bootstrap}", 1, MOST_RESAMPLES)
    batch_size = whole_number(batch_size, "evaluate: batch_size", 1)
    questions = whole_number(questions, "evaluate: questions", 0)
    if not len(ks):
        raise ValueError("evaluate: ks = (); expected at least one number")
    ks = sorted({whole_number(k, f"evaluate: ks = {tuple(ks)}", 1) for k in ks})
    windows = store
    if not isinstance(windows, Windows):
        windows = query_windows(windows, context_length, stride, min_length, min_coherence)
    store = windows.store
    input_dim = getattr(model, "input_dim", store.dim)
    if input_dim != store.dim:
        raise ValueError(f"evaluate: the store has {store.dim} dimensions; expected {input_dim}, as the model reads")
    check_training(training, store.dim, "evaluate")
    leaves_out = _leaves_out(exclude_read, windows)
    candidates = Candidates(windows, distractors)
    chosen_pool = _make_pool(candidates, pool, pool_ids, seed)

    models = {MODEL: model, **_checked_rivals(rivals or {})}
    answers: dict[str, Answer] = {}
    for name, asked_model in models.items():
        answers |= _answers(name, asked_model, windows, batch_size, device, progress)
    forms = closed_forms(windows, training)
    answers |= forms.answers

    clusters = store.documents_of(windows.chains)
    ranks_both_ways = chosen_pool.both_ranks(answers)
    ranks, others = _headline(ranks_both_ways, leaves_out)
    predicted = {name: answer.predicted for name, answer in answers.items()}
    queries = chosen_pool.queries  # (Q,)
    scores = query_scores(predicted, ranks, windows, queries, ks)
    means = {name: {metric: float(v.mean()) for metric, v in metrics.items()} for name, metrics in scores.items()}
    model_means = means.pop(MODEL)
    yardstick = str(best_of(means, headline_of(model_means)))
    left_out = chosen_pool.read.counts if leaves_out and chosen_pool.read else 0
    sizes = np.full(len(queries), len(chosen_pool)) - left_out
    origin = {key: store.metadata[key] for key in _ORIGIN if key in store.metadata}
    experts = []
    if isinstance(model, Mixture):
        shares = route_windows(model, windows, batch_size, device, progress)[queries]
        experts = expert_scores(model.route_names, shares, scores, yardstick, clusters[queries], bootstrap, seed)
    pairs = differences(scores, yardstick)
    points: list[CurvePoint] = []
    if curve:
        known = (chosen_pool, pool, ranks_both_ways)
        points = _curve(answers, candidates, *known, leaves_out, clusters, bootstrap, seed)
    stores = [store] if distractors is None else [store, distractors]
    asked = (chosen_pool, answers, ranks, [MODEL, yardstick], stores, questions, leaves_out)
    few = small_sample_notes(len(queries), len(chosen_pool), ks)
    return Report(
        model_type=str(getattr(model, "model_type", type(model).__name__)),
        data=plain({"name": data_name and os.fspath(data_name), **origin}),
        context_length=plain(windows.context_length),
        median_context=int(np.median(windows.lengths[queries])),
        stride=plain(windows.stride),
        pool=len(chosen_pool),
        pool_words=chosen_pool.description,
        pool_holds_current=chosen_pool.holds_current,
        queries=len(queries),
        chains=len(np.unique(clusters[queries])),
        hits={f"hit@{k}": model_means[f"hit@{k}"] for k in ks},
        mrr=model_means["mrr"],
        mean_cosine=model_means["mean_cosine"],
        direction_margin=model_means["direction_margin"],
        baselines={**means, "chance": chance(sizes, ks)},
        intervals=intervals_of({**scores, **pairs}, clusters[queries], bootstrap, seed),
        curve=points,
        bootstrap=bootstrap,
        seed=seed,
        exclude_read=leaves_out,
        other_way={} if others is None else {name: _hits(ranked, ks) for name, ranked in others.items()},
        fitted_on=forms.fitted_on,
        decays=forms.decays,
        experts=experts,
        notes=[*notes, *forms.notes, *_of_reading(windows), *few],
        questions=look_at(*asked) if questions else [],
    )


def _leaves_out(exclude_read: bool | None, windows: Windows) -> bool:
    known = windows.knows_chains
    if exclude_read is None:
        return known
    if truth_value(exclude_read, "evaluate: exclude_read") and not known:
        raise ValueError(
            "evaluate: exclude_read = True, but the windows of a sequence file do not tell which chunks are of one "
            "document; expected chains, as `lvm-fast prepare` makes them, or exclude_read=False"
        )
    return bool(exclude_read)


def _of_reading(windows: Windows) -> list[str]:
    """Warn a reader where chains are not known."""
    if windows.knows_chains:
        return []
    return ["The windows of a sequence file tell no documents: what a context has said before is among the candidates."]


def _answers(
    name: str,
    model: torch.nn.Module,
    windows: Windows,
    batch_size: int,
    device: torch.device | str | None,
    progress: bool,
) -> dict[str, Answer]:
    """Return a model's answer, and where it searches a space, also that of its prediction among the candidates."""
    answer = answer_windows(model, windows, batch_size, device, progress)
    plainly = {} if answer.keys is None else {name + RAW_COSINE: plain_answer(answer.predicted)}
    return {name: answer, **plainly}


def _headline(
    ranks: Ranks, leaves_out: bool
) -> tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[np.int64]] | None]:
    """Return the headline's ranks, and those the other way, where there are some."""
    if leaves_out and ranks.unread is not None:
        return ranks.unread, ranks.with_read
    return ranks.with_read, ranks.unread


def _hits(ranks: NDArray[np.int64], ks: Sequence[int]) -> dict[str, float]:
    return {**{f"hit@{k}": float((ranks < k).mean()) for k in ks}, "mrr": float(np.reciprocal(ranks + 1.0).mean())}


def _checked_rivals(rivals: Mapping[str, torch.nn.Module]) -> Mapping[str, torch.nn.Module]:
    taken = {MODEL, MODEL + RAW_COSINE, *CLOSED_FORMS, "chance"} & set(rivals)
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
        raise ValueError(f"evaluate: pool_ids with pool = {pool!r}; expected a VectorBank as the pool")
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
    answers: dict[str, Answer],
    candidates: Candidates,
    chosen_pool: Pool,
    pool: str | int | VectorBank,
    ranks: Ranks,
    leaves_out: bool,
    clusters: NDArray[np.int64],
    bootstrap: int,
    seed: int,
) -> list[CurvePoint]:
    """Compute Hit@5 in pools of the targets, then with ever more other chunks; with a given bank, in ever more of it.

    `ranks` in `chosen_pool` are known already.
    """

    def ranked(given: Pool, known: Ranks | None = None) -> RanksInPools:
        headline, _ = _headline(known or given.both_ranks(answers), leaves_out)
        return RanksInPools(headline, len(given), given.read.counts if leaves_out and given.read else 0)

    if isinstance(pool, VectorBank):
        alone = RanksInPools({name: np.zeros(len(clusters), np.int64) for name in answers}, 1)
        return hit_curve(alone, ranked(chosen_pool, ranks), clusters, bootstrap, seed)
    inner = ranked(chosen_pool, ranks) if pool == "targets" else ranked(candidates.targets())
    outer = ranked(chosen_pool, ranks) if pool == "store" else ranked(candidates.all())
    return hit_curve(inner, outer, clusters, bootstrap, seed)
