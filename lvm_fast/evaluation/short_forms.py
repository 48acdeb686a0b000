"""What a report or a comparison shows of itself in a line, and in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._util.notebook import html_table
from .figures import MODEL
from .markdown_table import cell, heading
from .report_markdown import display_name, headline, headline_metric

if TYPE_CHECKING:
    from .figures import ComparisonFigures, ReportFigures


def report_line(report: ReportFigures, kind: str) -> str:
    """Return the figures that matter most of a report, as its repr."""
    metric = headline_metric(report)
    best = report.yardstick
    beside = "" if best is None else f", {best} {_percent(report.baselines[best][metric])}"
    return (
        f"{kind}({report.model_type}: {heading(metric)} {_percent(report.hits[metric])}{beside}; "
        f"pool {report.pool:,}, {report.queries:,} queries of {report.chains:,} chains)"
    )


def report_table(report: ReportFigures) -> str:
    """Return a report as HTML for a notebook: the verdict, and the hits of all with the headline's interval."""
    lead = headline_metric(report)
    metrics = [*report.hits, "mrr"]
    rows = []
    for name, scores in report.scores.items():
        ends = report.intervals.get(name, {}).get(lead)
        cells = [cell(metric, scores[metric], ends if metric == lead else None) for metric in metrics]
        rows.append([display_name(name), *cells])
    note = f"Pool of {report.pool:,}, {report.queries:,} queries of {report.chains:,} chains; percent, 95% intervals."
    return html_table(headline(report), [*report.warnings, note], ["", *map(heading, metrics)], rows)


def comparison_line(comparison: ComparisonFigures, kind: str) -> str:
    """Return each contender's figure, as a comparison's repr."""
    metric = headline_metric(comparison.report)
    figures = [f"{entry.name} {_percent(entry.figures.scores[metric])}" for entry in comparison.entries]
    return f"{kind}({heading(metric)}: {', '.join(figures)}; pool {comparison.report.pool:,})"


def comparison_table(comparison: ComparisonFigures) -> str:
    """Return a comparison as HTML for a notebook: a row for each contender and baseline."""
    report = comparison.report
    lead = headline_metric(report)
    metrics = [*report.hits, "mrr"]
    shown = {entry.name: entry.figures for entry in comparison.entries}
    shown |= {display_name(name): figures for name, figures in comparison.baselines.items() if name != MODEL}
    rows = [
        [name]
        + [
            cell(metric, figures.scores[metric], figures.intervals.get(lead) if metric == lead else None)
            for metric in metrics
        ]
        for name, figures in shown.items()
    ]
    note = f"Pool of {report.pool:,}, {report.queries:,} queries of {report.chains:,} chains; percent, 95% intervals."
    title = f"{len(comparison.entries)} models, compared with {comparison.against}"
    return html_table(title, [note], ["", *map(heading, metrics)], rows)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}%"
