"""The figures of one evaluation: plain data that becomes JSON, Markdown and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .write_files import save_documents
from .yardstick import best_of

Interval = tuple[float, float]

MODEL = "model"  # the name of the scored model among the predictors
RAW_COSINE = "_raw_cosine"  # ends the name of a model's prediction, where it searches a space with another vector
CURVE_K = 5  # the K of the curve against pool size
PRODUCTION_TARGETS = {"hit@5": 0.55, "hit@10": 0.70}


def headline_of(metrics: Mapping[str, Any]) -> str:
    """Hit@5, or the largest K where the metrics do without it."""
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
    """How often an expert of a mixture serves, and the hits of the queries it serves, in the report's pool.

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


@dataclass(frozen=True)
class Report:
    """What `evaluate` found. All figures are fractions in [0, 1] (cosines in [-1, 1]); the documents print percent.

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
        """Everything as plain JSON values."""
        derived: dict[str, Any] = {"yardstick": self.yardstick, "production_targets": self.production_targets}
        derived["interval_note"] = self.interval_note
        plain: dict[str, Any] = json.loads(json.dumps({**asdict(self), **derived}, allow_nan=False))
        return plain

    def to_markdown(self, picture: str | None = None) -> str:
        """The report in words and tables.

        Args:
            picture: File name of the picture to show, relative to the document.
        """
        from .report_markdown import report_in_words

        return report_in_words(self, picture)

    def save(
        self, folder: str | Path, history: Sequence[dict[str, Any]] | None = None, name: str = "report"
    ) -> list[Path]:
        """Write ``report.json``, ``report.md`` and, with matplotlib, ``report.png``; each appears whole or not at all.

        Without matplotlib the document says which extra brings it.

        Args:
            folder: Where; made if it is not there.
            history: The training's rows, one an epoch, for the picture's training curves.
            name: What the files are called instead of "report".

        Returns:
            The files written.
        """
        from .report_plot import save_picture

        return save_documents(
            folder, name, self.to_dict(), self.to_markdown, lambda path: save_picture(self, path, history)
        )
