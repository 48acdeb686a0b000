"""Scores a router and each of its arms: how often it answers, how long it takes, how well it predicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._util.numbers import whole_number
from ..data.windows import Windows, query_windows
from ..inference.router import Router
from ..models.answering import answering
from .evaluate import evaluate
from .figures import MODEL, Latency
from .latency import latencies
from .markdown_table import cell, heading, table
from .report import Report
from .report_markdown import headline_metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.chain_store import ChainStore


@dataclass(frozen=True)
class Arm:
    """The use of one arm of a router.

    Attributes:
        name: What the report's figures call it.
        longest: The most vectors it sees.
        asked: Share of the queries that it ran for.
        answered: Share of the queries that its answer stood for.
    """

    name: str
    longest: int
    asked: float
    answered: float


@dataclass(frozen=True, repr=False)
class RouterReport(Report):
    """A `Report` on a router, whose arms are rivals in the same pool, each on all queries.

    Attributes:
        arms: How often each arm is used.
        latencies: Of the router (``"model"``) and of each arm alone, by name, on the same contexts.
    """

    arms: list[Arm]
    latencies: dict[str, Latency]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {**super().to_dict(), "latencies": {name: latency._asdict() for name, latency in self.latencies.items()}}

    def to_markdown(self, picture: str | None = None) -> str:
        """Return the report as Markdown; see `Report.to_markdown`."""
        return f"{super().to_markdown(picture)}\n## The arms\n\n{arms_table(self)}\n"


def evaluate_router(
    router: Router,
    store: ChainStore | Windows,
    context_length: int | None = None,
    *,
    stride: int | None = None,
    min_length: int = 7,
    min_coherence: float | None = None,
    rivals: Mapping[str, torch.nn.Module] | None = None,
    timed: int = 40,
    **options: Any,
) -> RouterReport:
    """Score a router beside each of its arms alone and the baselines, all on the same queries and pool.

    Args:
        router: The router.
        store: Held-out chains, or windows over them, as `evaluate` takes them.
        context_length: Most context vectors a window has; the largest limit of the router unless given.
        stride, min_length, min_coherence, rivals: As `evaluate` takes them.
        timed: Contexts to time, one at a time, spread evenly over all lengths.
        **options: Everything else that `evaluate` takes.

    Returns:
        The report; the arms are called "arm 100" and so on, by the most vectors they see.

    Raises:
        ValueError: As `evaluate`, or `timed` is below 1.
    """
    timed = whole_number(timed, "evaluate_router: timed", 1)
    windows = store
    if not isinstance(windows, Windows):
        length = max(router.arms) if context_length is None else context_length
        windows = query_windows(windows, length, stride, min_length, min_coherence)
    alone = {f"arm {longest}": Router({longest: answering(arm)}) for longest, arm in router.arms.items()}
    watched = _Watched(router)
    report = evaluate(watched, windows, rivals={**alone, **(rivals or {})}, **options)
    times = latencies({MODEL: router, **alone}, windows, timed)
    return RouterReport(**vars(report), arms=watched.arms(list(alone)), latencies=times)


class _Watched(torch.nn.Module):
    """A router that takes down which arm each context is for, and which answers."""

    model_type = Router.model_type
    casts_contexts = True

    def __init__(self, router: Router) -> None:
        super().__init__()
        self.router, self.input_dim = router, router.input_dim
        self._meant: list[NDArray[np.int64]] = []
        self._answered: list[NDArray[np.int64]] = []

    def forward(self, context: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        answers, arms = self.router.routed(context, lengths)
        self._meant.append(self.router.route(lengths.cpu()))
        self._answered.append(arms)
        return answers

    def arms(self, names: list[str]) -> list[Arm]:
        meant, answered = np.concatenate(self._meant), np.concatenate(self._answered)
        first_tried = self.router.threshold is not None  # for contexts that are meant for others
        arms = []
        for place, (name, longest) in enumerate(zip(names, self.router.arms, strict=True)):
            is_answered = answered == place
            asked = is_answered | (meant > 0) if first_tried and place == 0 else is_answered
            arms.append(Arm(name, longest, float(asked.mean()), float(is_answered.mean())))
        return arms


def arms_table(report: RouterReport) -> str:
    """Return a table of the router and its arms: how often each answers, how long it takes, how well it predicts."""
    metric = headline_metric(report)
    arms = {arm.name: arm for arm in report.arms}
    rows = []
    for name, latency in report.latencies.items():
        shares = ["", ""]
        difference = ""
        if name in arms:
            shares = [f"{100 * share:.1f}%" for share in (arms[name].asked, arms[name].answered)]
            lead = report.scores[MODEL][metric] - report.scores[name][metric]
            difference = cell(metric, lead, report.intervals[f"{MODEL} - {name}"][metric], signed=True)
        times = [f"{latency.median_ms:.1f} ms", f"{latency.mean_ms:.1f} ms"]
        hits = cell(metric, report.scores[name][metric], report.intervals[name][metric])
        rows.append(["router" if name == MODEL else name, *shares, *times, hits, difference])
    head = ["", "asked", "answers", "median", "mean", heading(metric), "router minus it"]
    timed = report.latencies[MODEL]
    note = (
        f"{heading(metric)} in percent, pool of {report.pool:,}, every arm on all queries; times of one prediction at "
        f"a time, on {timed.contexts} contexts (median length {timed.vectors:,})."
    )
    return "\n".join([note, "", *table(head, rows)])
