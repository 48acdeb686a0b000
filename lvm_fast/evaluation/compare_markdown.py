"""Renders a comparison as Markdown: who is better than whom, then the tables, every hit figure with its pool."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

from .describe_data import describe_data, describe_queries
from .figures import RAW_COSINE
from .markdown_table import cell, heading, table
from .report_markdown import BEST, READ_KEPT, READ_LEFT_OUT, display_name, headline_metric, join_names, outcome

if TYPE_CHECKING:
    from .figures import ComparisonFigures, Entry, Figures


def comparison_headline(comparison: ComparisonFigures) -> str:
    """Say how contenders stand to the best closed form, and to the one they are compared with, in a sentence each."""
    metric = headline_metric(comparison.report)
    runs = {entry.name: entry.figures for entry in comparison.entries}
    to_best = {
        name: outcome(figures.over_yardstick[metric], figures.over_yardstick_intervals[metric])
        for name, figures in runs.items()
    }
    to_against = {
        name: outcome(figures.differences[metric], figures.difference_intervals[metric])
        for name, figures in runs.items()
        if figures.differences
    }
    alone = "on a single chain, which proves nothing, " if comparison.report.chains < 2 else ""
    sentence = f"Against {display_name(str(comparison.report.yardstick))} ({BEST}), {alone}{_standings(to_best)}."
    return f"{sentence} Against {comparison.against}, {_standings(to_against)}." if to_against else sentence


def _standings(outcomes: dict[str, str]) -> str:
    clauses = []
    for verb, one, several in _STANDS:
        names = [name for name, outcome in outcomes.items() if outcome == verb]
        if names:
            clauses.append(f"{join_names(names)} {one if len(names) == 1 else several}")
    return "; ".join(clauses)


_STANDS = (
    ("beats", "is better", "are better"),
    ("cannot be told apart from", "cannot be told apart", "cannot be told apart"),
    ("loses to", "is worse", "are worse"),
)


def render_comparison(comparison: ComparisonFigures, picture: str | None = None) -> str:
    """Return the whole comparison as Markdown."""
    report = comparison.report
    metric = headline_metric(report)
    count = len(comparison.entries)
    notes = [f"- **{entry.name}**: {entry.note}." for entry in comparison.entries if entry.note]
    parts = [
        f"# {count} run{'s' * (count != 1)} compared",
        f"**{comparison_headline(comparison)}**",
        describe_data(report),
        describe_queries(report),
        "\n".join([*notes, *(f"- **{note}**" for note in report.warnings)]),
        f"![{heading(metric)} of every run, and its distance from {comparison.against}]({picture})"
        if picture
        else None,
        "\n".join(
            ["## Scores", "", f"Pool of {report.pool:,}; hits and MRR in percent.", "", *_score_table(comparison)]
        ),
        "\n".join(["## What they take", "", _timed(comparison), "", *_cost_table(comparison)]),
        "\n".join([f"## Minus {display_name(str(report.yardstick))}, {BEST}", "", *_yardstick_table(comparison)]),
        "\n".join([f"## Minus {comparison.against}", "", *_difference_table(comparison)]),
        "\n".join([f"## {_other_way(comparison)}", "", *_other_way_table(comparison)]) if report.other_way else None,
        _HOW_TO_READ.format(
            resamples=report.bootstrap,
            seed=report.seed,
            fitted=report.fitted_on,
            reading=READ_LEFT_OUT if report.exclude_read else READ_KEPT,
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def comparison_summary(comparison: ComparisonFigures, width: int = 100) -> str:
    """Return the headline and the tables of scores and costs, for a terminal."""
    report = comparison.report
    note = f"Pool of {report.pool:,}; hits and MRR in percent, 95% intervals over chains."
    lines = [fill(comparison_headline(comparison), width), "", note, "", *_score_table(comparison, brief=True)]
    if report.other_way:
        lines += ["", f"{_other_way(comparison)}:", "", *_other_way_table(comparison)]
    return "\n".join([*lines, "", _timed(comparison), "", *_cost_table(comparison)])


_HOW_TO_READ = """## How to read this

- Every run was asked the same queries and ranked the same candidates. **Hit@K**: the true next chunk is among the K
  candidates closest to the prediction. A run that was trained on shorter contexts sees the last vectors of each.
- What needs no training: copying the last vector, and the recency mean of the context as it is, centred, and whitened
  (fitted on {fitted}). A run is better only where it is better than the best of these.
- {reading}
- **[low, high]** is a 95% interval: whole chains are drawn again with replacement, {resamples:,} times (seed {seed}).
  Differences are paired: the same queries, the same draws. Where one holds 0, the two cannot be told apart.
- Intervals tell how much chains differ, not how much a training with another seed would."""


def _figures(comparison: ComparisonFigures) -> dict[str, Figures]:
    """Return the figures of contenders and baselines by their display names."""
    named = {}
    for entry in comparison.entries:
        named[entry.name] = entry.figures
        if entry.raw_cosine is not None:
            named[display_name(entry.name + RAW_COSINE)] = entry.raw_cosine
    return {**named, **{display_name(name): figures for name, figures in comparison.baselines.items()}}


def _score_table(comparison: ComparisonFigures, brief: bool = False) -> list[str]:
    """Return a table of every metric with its interval; in brief hits and MRR, and only the headline's interval."""
    lead = headline_metric(comparison.report)
    metrics = [*comparison.report.hits, "mrr"] if brief else list(comparison.entries[0].figures.scores)
    rows = []
    for name, figures in _figures(comparison).items():
        shown = {metric: ends for metric, ends in figures.intervals.items() if metric == lead or not brief}
        scores = figures.scores
        rows.append([name, *(cell(m, scores[m], shown.get(m)) if m in scores else "" for m in metrics)])
    return table(["", *map(heading, metrics)], rows)


def _difference_table(comparison: ComparisonFigures) -> list[str]:
    others = {name: figures for name, figures in _figures(comparison).items() if figures.differences}
    metrics = list(comparison.entries[0].figures.scores)
    rows = [
        [name, *(cell(m, figures.differences[m], figures.difference_intervals[m], signed=True) for m in metrics)]
        for name, figures in others.items()
    ]
    note = f"Paired, pool of {comparison.report.pool:,}; hits and MRR in percentage points."
    return [note, "", *table(["", *map(heading, metrics)], rows)]


def _yardstick_table(comparison: ComparisonFigures) -> list[str]:
    metrics = list(comparison.entries[0].figures.scores)
    rows = [
        [name, *(cell(m, figures.over_yardstick[m], figures.over_yardstick_intervals[m], signed=True) for m in metrics)]
        for name, figures in _figures(comparison).items()
        if figures.over_yardstick
    ]
    note = f"Paired, pool of {comparison.report.pool:,}; hits and MRR in percentage points."
    return [note, "", *table(["", *map(heading, metrics)], rows)]


def _other_way(comparison: ComparisonFigures) -> str:
    left_out = comparison.report.exclude_read
    return "With read chunks among the candidates" if left_out else "With read chunks left out"


def _other_way_table(comparison: ComparisonFigures) -> list[str]:
    metrics = [*comparison.report.hits, "mrr"]
    rows = [
        [name, *(cell(m, figures.other_way[m], None) for m in metrics)]
        for name, figures in _figures(comparison).items()
        if figures.other_way
    ]
    note = f"The same questions and pool of {comparison.report.pool:,}; hits and MRR in percent."
    return [note, "", *table(["", *map(heading, metrics)], rows)]


def _timed(comparison: ComparisonFigures) -> str:
    latency = comparison.entries[0].latency
    return (
        f"Times are of one prediction at batch 1, on {latency.contexts} contexts (median {latency.vectors:,} vectors)."
    )


def _cost_table(comparison: ComparisonFigures) -> list[str]:
    head = ["", "model", "parameters", "context", "training", "median", "mean", "Core ML package"]
    return table(head, [_costs(entry) for entry in comparison.entries])


def _costs(entry: Entry) -> list[str]:
    return [
        entry.name,
        entry.model_type,
        f"{entry.parameters:,}",
        f"{entry.context_length:,}",
        "" if entry.training_seconds is None else _duration(entry.training_seconds),
        f"{entry.latency.median_ms:.1f} ms",
        f"{entry.latency.mean_ms:.1f} ms",
        "" if entry.package_bytes is None else f"{entry.package_bytes / 1e6:.1f} MB",
    ]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
