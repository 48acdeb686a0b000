"""Draws a comparison: the score of every run, and its distance from the one compared with. Needs the extra `plot`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .compare_markdown import comparison_headline
from .figures import MODEL
from .markdown_table import heading
from .plot_style import COLOURS, INK, MUTED, NOTE_HEIGHT, figure_title, panel_title, png_figure, wrap_notes, write_notes
from .report_markdown import display_name, headline_metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .figures import ComparisonFigures, Interval

_LONGEST = 28  # characters of a name


def save_comparison(comparison: ComparisonFigures, path: Path) -> bool:
    """Draw the comparison to a PNG file, atomically. Raises ImportError where matplotlib is missing."""
    rows = len(comparison.entries) + len(comparison.baselines)
    notes = wrap_notes(_notes(comparison), 12.0)
    with png_figure(path, (12.5, 1.9 + 0.42 * rows + NOTE_HEIGHT * len(notes))) as figure:
        _draw(comparison, figure, notes)
    return True


def _notes(comparison: ComparisonFigures) -> list[str]:
    return [
        *(f"{_short(entry.name)}: {entry.note}." for entry in comparison.entries if entry.note),
        *comparison.report.notes,
    ]


def _draw(comparison: ComparisonFigures, figure: Figure, notes: Sequence[str]) -> None:
    width, height = figure.get_figwidth(), figure.get_figheight()
    report, metric = comparison.report, headline_metric(comparison.report)
    names = [entry.name for entry in comparison.entries]
    figures = [*(entry.figures for entry in comparison.entries), *comparison.baselines.values()]
    colours = [INK if name == comparison.against else COLOURS[MODEL] for name in names]
    colours += [COLOURS[name] for name in comparison.baselines]
    left = (0.5 + 0.085 * min(_LONGEST, max(map(len, [*names, "whitened recency"])))) / width
    figure_title(figure, 0.3 / width, comparison_headline(comparison), _subtitle(comparison))
    write_notes(figure, 0.3 / width, notes)
    bottom = (0.4 + NOTE_HEIGHT * len(notes)) / height
    grid = figure.add_gridspec(1, 2, left=left, right=0.985, top=1 - 1.3 / height, bottom=bottom, wspace=0.06)
    scores, apart = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    panel_title(scores, f"{heading(metric)}, pool of {report.pool:,}", "%, 95% intervals over chains")
    _draw_rows(scores, [row.scores[metric] for row in figures], [row.intervals.get(metric) for row in figures], colours)
    panel_title(
        apart, f"{heading(metric)} minus {_short(comparison.against)}", "points, paired 95% intervals over chains"
    )
    apart.axvline(0, color=INK, lw=1.0, zorder=1)
    differences = [row.differences.get(metric) for row in figures]
    _draw_rows(apart, differences, [row.difference_intervals.get(metric) for row in figures], colours)
    labels = [*map(_short, names), *map(display_name, comparison.baselines)]
    scores.set_yticks(range(len(labels)), labels, fontsize=10.5)
    for label, colour in zip(scores.get_yticklabels(), colours, strict=True):
        label.set_color(colour)
    scores.set_xlim(left=0)
    apart.tick_params(labelleft=False)


def _subtitle(comparison: ComparisonFigures) -> str:
    report = comparison.report
    chains = f"{report.chains:,} chain{'s' * (report.chains != 1)}"
    return f"{report.queries:,} queries from {chains}, contexts of up to {report.context_length:,} chunks"


def _draw_rows(
    axes: Axes, values: Sequence[float | None], intervals: Sequence[Interval | None], colours: Sequence[str]
) -> None:
    """Draw one row a run, from the top down: a dot, its interval, its figure."""
    for row, (value, interval, colour) in enumerate(zip(values, intervals, colours, strict=True)):
        if value is None:
            continue
        if interval is not None:
            axes.plot([100 * end for end in interval], [row, row], color=colour, lw=2.2, alpha=0.5, zorder=2)
        axes.plot([100 * value], [row], "o", ms=7, color=colour, zorder=3)
        axes.annotate(
            f"{100 * value:.1f}",
            (100 * value, row),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=MUTED,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )
    axes.set_ylim(len(values) - 0.4, -0.7)
    axes.grid(True, axis="x")
    axes.grid(False, axis="y")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"
