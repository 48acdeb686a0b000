"""The figures of an evaluation and of a comparison: plain data, which becomes JSON, Markdown and pictures above."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

Interval = tuple[float, float]

CLOSED_FORMS = ("copy_last", "recency_mean", "centred_recency", "whitened_recency")
MODEL = "model"  # the name of the scored model among the predictors
RAW_COSINE = "_raw_cosine"  # ends the name of a model's prediction, where it searches a space with another vector
CURVE_K = 5  # the K of the curve against pool size
PRODUCTION_TARGETS = {"hit@5": 0.55, "hit@10": 0.70}


def best_of(scores: Mapping[str, Mapping[str, float]], metric: str) -> str | None:
    """Return the closed form with the best figure, of equals the one with the best MRR; None where there is none.

    Args:
        scores: Of predictors, by name, closed forms among them.
        metric: Of which figure, such as "hit@5".
    """
    known = [name for name in CLOSED_FORMS if name in scores]
    return max(known, key=lambda name: (scores[name][metric], scores[name].get("mrr", 0.0)), default=None)


def headline_of(metrics: Mapping[str, Any]) -> str:
    """Return the metric of the headline: Hit@5, or the largest K where the metrics do without it."""
    hits = [metric for metric in metrics if metric.startswith("hit@")]
    return f"hit@{CURVE_K}" if f"hit@{CURVE_K}" in hits else hits[-1]


@dataclass(frozen=True)
class CurvePoint:
    """Hit@5 in pools of one size.

    Attributes:
        pool: Candidates in the pool.
        hits: Hit@5 by predictor, ``chance`` among them; the mean over all pools of this size.
        intervals: 95% intervals by predictor; None where there are fewer than two chains.
        production: What the model reaches of each production target's metric.
    """

    pool: int
    hits: dict[str, float]
    intervals: dict[str, Interval | None]
    production: dict[str, float]


@dataclass(frozen=True)
class ExpertScores:
    """The use of one expert of a mixture, and the hits of the queries it serves, in the report's pool.

    Attributes:
        name: What it is called: its domain, where it has one.
        first: Share of the queries that it has most to say on; all experts' add up to one.
        at_all: Share of the queries that it has a say in.
        queries: How many these are.
        hits: ``"hit@1"``, ... on these queries, of ``model`` and of the report's yardstick (``whitened_recency``, for
            instance), and ``"model - whitened_recency"``; empty where there are none.
        intervals: Their 95% intervals; None where there are fewer than two chains.
    """

    name: str
    first: float
    at_all: float
    queries: int
    hits: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, Interval | None]]


class Chunk(NamedTuple):
    """A chunk as a reader knows it: its chain and its place there, in the whole store, and its text if it has one."""

    chain: str
    position: int
    text: str | None


class Found(NamedTuple):
    """A candidate that a predictor found: its score, and the chunk; None where the pool does not say which it is."""

    score: float
    chunk: Chunk | None
    is_right: bool


@dataclass(frozen=True)
class Question:
    """One question of an evaluation.

    Attributes:
        context: The last chunks read, the current one last.
        read: How many chunks were read.
        target: The right answer.
        ranks: The place of the right answer by predictor, 1 = best, by the rules of the report's headline.
        best: The best candidates of the model and of the best closed form, by name, best first; by the same rules.
    """

    context: list[Chunk]
    read: int
    target: Chunk
    ranks: dict[str, int]
    best: dict[str, list[Found]]


@dataclass(frozen=True)
class ReportFigures:
    """The figures of an evaluation: fractions in [0, 1] (cosines in [-1, 1]); the documents print percent.

    Attributes:
        model_type: The architecture's name.
        data: What the data is called, and what the store's metadata says: source, encoder, the split it comes from.
        context_length: Most context vectors a query has.
        median_context: Context vectors the median query has.
        stride: Rows between the targets of a chain; None where they follow no rule.
        pool: Candidates every prediction is ranked against.
        pool_words: What these candidates are.
        pool_holds_current: Share of queries whose current chunk is a candidate too; None where that is not known.
        queries: Predictions scored.
        chains: Chains they come from; the pieces of a cut chain count as one.
        hits: ``"hit@1"``, ... of the model.
        mrr: Mean reciprocal rank of the model.
        mean_cosine: Mean cos(predicted, next) of the model.
        direction_margin: Mean of cos(predicted, next) - cos(predicted, current): below 0, it looks back, not ahead.
        baselines: The same metrics of every rival and of the closed forms ``copy_last``, ``recency_mean``,
            ``centred_recency`` and ``whitened_recency``; hits and MRR of ``chance``. Where a model searches a space,
            ``model_raw_cosine`` is its prediction among the candidates themselves, by cosine. Cosines and margins are
            of the encoder's own space throughout: of a closed form, those of its recency mean there.
        intervals: 95% intervals by predictor and metric, and by ``"model - copy_last"``, ... for the paired
            differences, of rivals from the best closed form too; None where there are fewer than two chains.
        curve: Hit@5 against pool size.
        bootstrap: Resamples behind the intervals.
        seed: Seed of random pools and resamples.
        exclude_read: Whether chunks that a query's chain has said before are left out of its candidates.
        other_way: Hits and MRR of every predictor the other way: with these chunks, or without them; empty where
            chains are not known.
        fitted_on: What mean and covariance of the closed forms come from: "the training part" or "the candidates".
        decays: What a chunk weighs beside the one after it, by closed form.
        experts: How a mixture of experts shares the queries out; empty for a model in one piece.
        notes: What a reader has to know: what training has seen of the answers, and what so few questions or
            candidates cannot tell; a sentence each.
        questions: Single questions to look at, as many as `evaluate` was asked to keep.
    """

    model_type: str
    data: dict[str, Any]
    context_length: int
    median_context: int
    stride: int | None
    pool: int
    pool_words: str
    pool_holds_current: float | None
    queries: int
    chains: int
    hits: dict[str, float]
    mrr: float
    mean_cosine: float
    direction_margin: float
    baselines: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, Interval | None]]
    curve: list[CurvePoint]
    bootstrap: int
    seed: int
    exclude_read: bool = field(default=True, kw_only=True)
    other_way: dict[str, dict[str, float]] = field(default_factory=dict, kw_only=True)
    fitted_on: str = field(default="the candidates", kw_only=True)
    decays: dict[str, float] = field(default_factory=dict, kw_only=True)
    experts: list[ExpertScores] = field(default_factory=list, kw_only=True)
    notes: list[str] = field(default_factory=list, kw_only=True)
    questions: list[Question] = field(default_factory=list, kw_only=True, repr=False)

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """All metrics of all predictors, the model first."""
        mine = {"mrr": self.mrr, "mean_cosine": self.mean_cosine, "direction_margin": self.direction_margin}
        return {MODEL: {**self.hits, **mine}, **self.baselines}

    @property
    def yardstick(self) -> str | None:
        """The best closed form, which is what the model has to beat; None where none was scored."""
        return best_of(self.baselines, headline_of(self.hits))

    @property
    def production_targets(self) -> dict[str, dict[str, Any]]:
        """For Hit@5 and Hit@10: the target, the figure, whether it is met, and the pool that is said of."""
        return {
            metric: {
                "target": target,
                "reached": self.hits[metric],
                "met": self.hits[metric] >= target,
                "pool": self.pool,
            }
            for metric, target in PRODUCTION_TARGETS.items()
            if metric in self.hits
        }

    @property
    def interval_note(self) -> str | None:
        """Why there are no intervals, or why they are rough; None where neither is the case."""
        if self.chains < 2:
            return "No intervals: all queries come from one chain, and one chain cannot tell how much chains differ."
        if self.chains < 10:
            return f"Only {self.chains} chains: read the intervals as rough, they tend to be too narrow."
        return None

    @property
    def warnings(self) -> list[str]:
        """All that a reader has to know before the figures: the notes, and that on the intervals."""
        return [*self.notes, *([self.interval_note] if self.interval_note else [])]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the questions as plain JSON values."""
        derived: dict[str, Any] = {"yardstick": self.yardstick, "production_targets": self.production_targets}
        derived["interval_note"] = self.interval_note
        figures = asdict(replace(self, questions=[]))
        del figures["questions"]
        plain: dict[str, Any] = json.loads(json.dumps({**figures, **derived}, allow_nan=False))
        return plain


class Latency(NamedTuple):
    """Milliseconds a prediction at batch 1.

    Attributes:
        median_ms, mean_ms: Over the contexts timed.
        contexts: How many those are.
        vectors: Vectors of the median one.
    """

    median_ms: float
    mean_ms: float
    contexts: int
    vectors: int


@dataclass(frozen=True)
class Figures:
    """The scores of a contender or a baseline, and its distance from the contender compared with, by metric.

    Fractions in [0, 1] (cosines in [-1, 1]) with 95% intervals, which are None where there are fewer than two chains.

    Attributes:
        scores: hits, mrr, mean_cosine and direction_margin; of chance, hits and mrr.
        intervals: Of the scores; empty for chance.
        differences: The scores minus those of `against`, in pairs; empty for `against` itself and chance.
        difference_intervals: Of the differences.
        over_yardstick: The scores minus those of the best closed form, in pairs; empty for closed forms and chance.
        over_yardstick_intervals: Of these.
        other_way: Hits and MRR the other way: with what each query's chain has said before among the candidates, or
            without it; empty for chance, and where chains are not known.
    """

    scores: dict[str, float]
    intervals: dict[str, Interval | None]
    differences: dict[str, float]
    difference_intervals: dict[str, Interval | None]
    over_yardstick: dict[str, float]
    over_yardstick_intervals: dict[str, Interval | None]
    other_way: dict[str, float]


@dataclass(frozen=True)
class Entry:
    """A contender's row.

    Attributes:
        context_length: The most vectors it saw.
        latency: Of one prediction at a time.
        raw_cosine: Where the model searches a space, the figures of its prediction among the candidates themselves.
        note: As the contender's, like what is not explained here.
    """

    name: str
    model_type: str
    parameters: int
    context_length: int
    training_seconds: float | None
    package_bytes: int | None
    note: str | None
    latency: Latency
    figures: Figures
    raw_cosine: Figures | None = None


@dataclass(frozen=True)
class ComparisonFigures:
    """The figures of a comparison.

    Attributes:
        against: The name of the contender that the others are compared with.
        entries: A row for each contender, in the order they were given.
        baselines: The figures of the closed forms (copy_last, recency_mean, centred_recency, whitened_recency) and of
            chance. A contender is called better only where it is better than the best of them.
        report: The report on that one; its pool, queries and data are everybody's.
    """

    against: str
    entries: list[Entry]
    baselines: dict[str, Figures]
    report: ReportFigures

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        shared = self.report.to_dict()
        own = {"hits", "mrr", "mean_cosine", "direction_margin", "model_type", "curve", "production_targets"}
        own |= {"other_way"}
        return {
            "against": self.against,
            "runs": [{**asdict(entry), "latency": entry.latency._asdict()} for entry in self.entries],
            "baselines": {name: asdict(figures) for name, figures in self.baselines.items()},
            **{key: value for key, value in shared.items() if key not in own | {"baselines", "intervals"}},
        }
