"""Draws a report: how training went, and how Hit@5 falls as the pool grows. Needs the extra `plot`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .figures import CURVE_K, MODEL, PRODUCTION_TARGETS
from .plot_style import COLOURS, INK, NOTE_HEIGHT, figure_title, panel_title, png_figure, wrap_notes, write_notes
from .report_markdown import display_name, headline
from .spread_labels import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .figures import ReportFigures

_RIVALS = ("#8a5ab5", "#b0892a", "#c2477f")
_LABEL = 10.5  # points
_LONGEST = 28  # characters of a name that there is room for


def save_picture(report: ReportFigures, path: Path, history: Sequence[Mapping[str, Any]] | None = None) -> bool:
    """Draw the report to a PNG file, atomically.

    Args:
        report: The figures; its curve gives the right panel.
        path: The PNG file.
        history: Rows, one an epoch, with ``epoch``, ``hit5`` (percent) and ``train_loss``; they give the left panels.

    Returns:
        Whether there was anything to draw: a history, or a curve of at least two points.

    Raises:
        ImportError: If matplotlib is missing; says which extra brings it.
    """
    if not history and len(report.curve) < 2:
        return False
    width = 12.5 if history and len(report.curve) > 1 else 8.2
    notes = wrap_notes(report.notes, width - 1.0)
    with png_figure(path, (width, 5.6 + NOTE_HEIGHT * len(notes))) as figure:
        _draw(report, figure, history or (), notes)
    return True


def _draw(report: ReportFigures, figure: Figure, history: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> None:
    """Lay out the panels on an empty figure: training on the left, the curve on the right, as far as they are there."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    longest = max(len(display_name(name)) for name in report.scores)
    names = 0.35 + 0.085 * min(_LONGEST, longest)  # inches beside the lines
    left, right = 0.75 / width, 1 - names / width
    gap = names + 0.55
    top, bottom = 1 - 1.18 / height, (0.56 + NOTE_HEIGHT * len(notes)) / height
    figure_title(figure, left, headline(report), _subtitle(report))
    write_notes(figure, left, notes)
    columns = bool(history) + (len(report.curve) > 1)
    grid = figure.add_gridspec(
        2,
        columns,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        height_ratios=(2.2, 1),
        hspace=0.32,
        wspace=2 * gap / (width - 0.75 - names - gap),
    )
    if len(report.curve) > 1:
        _draw_curve(figure.add_subplot(grid[:, -1]), report)
    if history:
        hits = figure.add_subplot(grid[0, 0])
        _draw_hits(hits, report, history)
        _draw_loss(figure.add_subplot(grid[1, 0], sharex=hits), history)


def _subtitle(report: ReportFigures) -> str:
    chains = f"{report.chains:,} chain{'s' * (report.chains != 1)}"
    return (
        f"{report.model_type}, contexts of up to {report.context_length:,} chunks; "
        f"{report.queries:,} queries from {chains}, pool of {report.pool:,}"
    )


def _draw_curve(axes: Axes, report: ReportFigures) -> None:
    """Draw Hit@5 of every predictor against pool size, with 95% bands."""
    panel_title(axes, f"Hit@{CURVE_K} falls as the pool grows", "%, bands: 95% intervals over chains")
    pools = [point.pool for point in report.curve]
    axes.set_xscale("log")
    axes.set_xlim(pools[0], pools[-1])
    axes.set_xlabel("candidates in the pool")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.tick_params(axis="x", which="minor", bottom=False)
    _draw_goal(axes)
    ends = {}
    for name, colour in _colours(report).items():
        line = [100 * point.hits[name] for point in report.curve]
        strong = name == MODEL
        axes.plot(pools, line, color=colour, lw=2.6 if strong else 1.7, ls=_dashes(name), zorder=4 if strong else 3)
        bands = [point.intervals.get(name) for point in report.curve]
        if all(bands):
            low, high = zip(*((100 * a, 100 * b) for a, b in filter(None, bands)), strict=True)
            axes.fill_between(pools, low, high, color=colour, alpha=0.2 if strong else 0.12, lw=0)
        ends[name] = line[-1]
    axes.set_ylim(0, 100)
    _label_ends(axes, ends, _colours(report))
    metric = f"hit@{CURVE_K}"
    if metric in report.hits:
        hit, others = 100 * report.hits[metric], [100 * scores[metric] for scores in report.baselines.values()]
        # the curves fall to the right, so there is room above to the right and below to the left
        above = hit >= max(others)
        _ring(axes, report.pool, hit, f"{hit:.1f}% at {report.pool:,}", above, "left" if above else "right")


def _draw_hits(axes: Axes, report: ReportFigures, history: Sequence[Mapping[str, Any]]) -> None:
    """Draw validation Hit@5 by epoch, and the baselines where they were scored in a pool of the same size."""
    epochs = [row["epoch"] for row in history]
    hits = [row["hit5"] for row in history]
    pool = history[-1]["pool"]
    panel_title(axes, f"Hit@5 by epoch, pool of {pool:,}", "%, validation")
    axes.plot(epochs, hits, color=COLOURS[MODEL], lw=2.6, zorder=4)
    axes.tick_params(labelbottom=False)
    levels = {MODEL: hits[-1]}
    for point in report.curve:
        if point.pool == pool:
            levels |= {name: 100 * hit for name, hit in point.hits.items() if name != MODEL}
    colours = _colours(report)
    for name, level in levels.items():
        if name != MODEL:
            axes.axhline(level, color=colours[name], lw=1.5, ls=_dashes(name), zorder=2)
    axes.set_ylim(0, 1.12 * max(*levels.values(), *hits, 1.0))
    axes.set_xlim(min(epochs), max(max(epochs), min(epochs) + 1))
    _label_ends(axes, levels, colours)
    best = max(range(len(hits)), key=hits.__getitem__)
    align = "right" if 0 < best == len(hits) - 1 else "center"  # the lines' names stand to the right of the last epoch
    _ring(axes, epochs[best], hits[best], f"best {hits[best]:.1f}%", hits[best] >= max(levels.values()), align)


def _draw_loss(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    panel_title(axes, "Training loss", "")
    axes.plot([row["epoch"] for row in history], [row["train_loss"] for row in history], color=INK, lw=1.7, marker=".")
    axes.set_xlabel("epoch")
    axes.locator_params(axis="x", integer=True)
    axes.locator_params(axis="y", nbins=4)


def _draw_goal(axes: Axes) -> None:
    goal = 100 * PRODUCTION_TARGETS[f"hit@{CURVE_K}"]
    axes.axhline(goal, color="#c9c9c9", lw=1.0, ls=(0, (1, 2)), zorder=1)
    axes.annotate(
        f"production target {goal:.0f}%",
        (1, goal),
        (-4, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        fontsize=8.5,
        color="#8f8f8f",
    )


def _ring(axes: Axes, x: float, y: float, text: str, above: bool, align: str) -> None:
    """Ring one point worth reading off, with its figure above or below it."""
    axes.plot([x], [y], "o", ms=8, mfc="white", mec=COLOURS[MODEL], mew=2.2, zorder=6, clip_on=False)
    axes.annotate(
        text,
        (x, y),
        (0, 11 if above else -11),
        textcoords="offset points",
        ha=align,
        va="bottom" if above else "top",
        fontsize=9.5,
        fontweight="bold",
        color=COLOURS[MODEL],
        zorder=7,
    )


def _label_ends(axes: Axes, ends: Mapping[str, float], colours: Mapping[str, str]) -> None:
    """Name each line at its right end, within the axes; names that would overlap move apart, each tied to its line."""
    low, high = axes.get_ylim()
    line_height = 1.3 * _LABEL / 72 * axes.figure.dpi  # pixels
    gap = (high - low) * line_height / axes.bbox.height
    places = spread(list(ends.values()), gap, low + gap / 2, high - gap / 2)
    beside: Any = ("axes fraction", "data")
    for (name, end), place in zip(ends.items(), places, strict=True):
        axes.annotate(
            display_name(name),
            (1, end),
            (1.035, place),
            xycoords=beside,
            textcoords=beside,
            arrowprops={"arrowstyle": "-", "color": colours[name], "lw": 0.8, "relpos": (0, 0.5), "shrinkB": 0},
            va="center",
            fontsize=_LABEL,
            color=colours[name],
            fontweight="bold" if name == MODEL else "normal",
        )


def _colours(report: ReportFigures) -> dict[str, str]:
    """Choose a colour for every predictor, in drawing order; the model keeps its own in every picture."""
    rivals = iter(_RIVALS * len(report.scores))
    return {name: COLOURS.get(name) or next(rivals) for name in report.scores}


def _dashes(name: str) -> str:
    return "--" if name == "chance" else "-"
