"""Draws the pictures of a page as SVG in the colours of its style, which knows light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ..figures import CURVE_K, MODEL, RAW_COSINE
from ..markdown_table import heading
from ..report_markdown import display_name, headline_metric
from ..spread_labels import spread

if TYPE_CHECKING:
    from ..figures import Interval, ReportFigures

_WIDTH, _HEIGHT = 430, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 122, 12, 34  # around the lines; their names stand on the right
_LINE = 15  # between names
_KNOWN = ("model", "model_raw_cosine", "copy_last", "recency_mean", "centred_recency", "whitened_recency", "chance")

Points = Sequence[tuple[float, float]]


def colour_of(name: str) -> str:
    """Return the CSS colour of a predictor."""
    return f"var(--{name if name in _KNOWN else 'rival'})"


def hits_picture(report: ReportFigures) -> str:
    """Draw the headline's Hit@K of every predictor with its interval, best first."""
    metric = headline_metric(report)
    names = sorted(report.scores, key=lambda name: -report.scores[name][metric])
    ends = {name: report.intervals.get(name, {}).get(metric) for name in names}
    most = max([report.scores[name][metric] for name in names] + [end[1] for end in ends.values() if end])
    top, row, left, right = 8, 30, 128, 104
    height = top + row * len(names) + 26
    scale = _nice_top(100 * most)

    def x(value: float) -> float:
        return left + (_WIDTH - left - right) * 100 * value / scale

    parts = [
        f'<line class="grid" x1="{x(tick / 100):.1f}" x2="{x(tick / 100):.1f}" y1="{top}" y2="{height - 24}"/>'
        f'<text x="{x(tick / 100):.1f}" y="{height - 8}" text-anchor="middle">{tick:g}</text>'
        for tick in _ticks(scale)
    ]
    for place, name in enumerate(names):
        y, value, colour = top + row * (place + 0.5), report.scores[name][metric], colour_of(name)
        strong = ' class="strong"' if name == MODEL else ""
        parts.append(f'<text x="0" y="{y + 4:.1f}"{strong}>{escape(_short(display_name(name), 19))}</text>')
        if end := ends[name]:
            parts.append(
                f'<line x1="{x(end[0]):.1f}" x2="{x(end[1]):.1f}" y1="{y}" y2="{y}" style="stroke:{colour}" '
                'stroke-width="6" stroke-opacity=".3" stroke-linecap="round"/>'
            )
        size = 6 if name == MODEL else 4.5
        parts.append(f'<circle cx="{x(value):.1f}" cy="{y}" r="{size}" style="fill:{colour}"/>')
        parts.append(f'<text x="{_WIDTH}" y="{y + 4:.1f}" text-anchor="end"{strong}>{_with_ends(value, end)}</text>')
    title = f"{heading(metric)} of every method"
    return _figure(title, "percent; bars: 95% intervals over chains", parts, height)


def curve_picture(report: ReportFigures) -> str:
    """Draw Hit@5 against pool size, with bands for the model and the best closed form."""
    pools = [point.pool for point in report.curve]
    low, high = math.log(pools[0]), math.log(pools[-1])
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x(pool: float) -> float:
        return _LEFT + (right - _LEFT) * (math.log(pool) - low) / (high - low)

    def y(percent: float) -> float:
        return bottom - (bottom - _TOP) * percent / 100

    parts = _percent_lines(right, y, _ticks(100))
    shown = [pool for pool in (10, 100, 1000, 10_000, 100_000, 1_000_000) if pools[0] <= pool <= pools[-1]]
    for pool in shown or [pools[0], pools[-1]]:
        parts.append(f'<text x="{x(pool):.1f}" y="{bottom + 16}" text-anchor="middle">{pool:,}</text>')
    parts.append(f'<text x="{right}" y="{bottom + 30}" text-anchor="end">candidates in the pool</text>')
    names = [name for name in report.curve[0].hits if name != MODEL + RAW_COSINE]
    lines = {name: [(x(point.pool), y(100 * point.hits[name])) for point in report.curve] for name in names}
    for name in (report.yardstick, MODEL):
        bands = [point.intervals.get(str(name)) for point in report.curve]
        if all(bands):
            parts.append(_band(pools, [end for end in bands if end], x, y, str(name)))
    parts += _lines(lines, right)
    return _figure(f"Hit@{CURVE_K} falls as the pool grows", "percent; bands: 95% intervals over chains", parts)


def history_picture(report: ReportFigures, history: Sequence[Mapping[str, Any]]) -> str:
    """Draw validation Hit@5 by epoch, beside closed forms that were scored in a pool of the same size."""
    epochs: list[int] = [row["epoch"] for row in history]
    hits: list[float] = [row["hit5"] for row in history]
    pool, right, bottom = history[-1]["pool"], _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    point = next((point for point in report.curve if point.pool == pool), None)
    known = {} if point is None else point.hits
    levels = {name: 100 * hit for name, hit in known.items() if name not in (MODEL, MODEL + RAW_COSINE)}
    scale = _nice_top(max(*hits, *levels.values(), 1.0))
    first, last = min(epochs), max(epochs[-1], epochs[0] + 1)

    def x(epoch: float) -> float:
        return _LEFT + (right - _LEFT) * (epoch - first) / (last - first)

    def y(percent: float) -> float:
        return bottom - (bottom - _TOP) * percent / scale

    parts = _percent_lines(right, y, _ticks(scale))
    step = max(1, math.ceil(len(epochs) / 8))
    for epoch in epochs[::step]:
        parts.append(f'<text x="{x(epoch):.1f}" y="{bottom + 16}" text-anchor="middle">{epoch}</text>')
    parts.append(f'<text x="{right}" y="{bottom + 30}" text-anchor="end">epoch</text>')
    lines = {name: [(float(_LEFT), y(level)), (float(right), y(level))] for name, level in levels.items()}
    lines[MODEL] = [(x(epoch), y(hit)) for epoch, hit in zip(epochs, hits, strict=True)]
    parts += _lines(lines, right)
    best = max(range(len(hits)), key=hits.__getitem__)
    parts.append(
        f'<circle cx="{x(epochs[best]):.1f}" cy="{y(hits[best]):.1f}" r="5" stroke-width="2.5" '
        f'style="fill:var(--card);stroke:{colour_of(MODEL)}"/>'
    )
    return _figure(f"Hit@5 by epoch, pool of {pool:,}", "percent, validation; ringed: the epoch kept", parts)


def _percent_lines(right: float, y: Any, ticks: Sequence[float]) -> list[str]:
    return [
        f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text x="{_LEFT - 7}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in ticks
    ]


def _lines(lines: Mapping[str, Points], right: float) -> list[str]:
    """Draw lines, the model's last and on top, each with its name at its right end."""
    ends = spread([points[-1][1] for points in lines.values()], _LINE, _TOP, _HEIGHT - _BOTTOM)
    parts = []
    for name, place in sorted(zip(lines, ends, strict=True), key=lambda item: item[0] == MODEL):
        points, colour = lines[name], colour_of(name)
        kind = f"series{' strong' if name == MODEL else ''}{' dashed' if name == 'chance' else ''}"
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="{kind}" points="{path}" style="stroke:{colour}"/>')
        x, y = points[-1]
        parts.append(
            f'<path d="M{x:.1f} {y:.1f}L{right + 9:.1f} {place:.1f}" style="stroke:{colour}" fill="none" '
            'stroke-width="1" stroke-opacity=".6"/>'
        )
        label = escape(_short(display_name(name), 17))
        weight = "name strong" if name == MODEL else "name"
        parts.append(
            f'<text class="{weight}" x="{right + 13}" y="{place + 4:.1f}" style="fill:{colour}">{label}</text>'
        )
    return parts


def _band(pools: Sequence[int], ends: Sequence[Interval], x: Any, y: Any, name: str) -> str:
    above = [f"{x(pool):.1f},{y(100 * end[1]):.1f}" for pool, end in zip(pools, ends, strict=True)]
    below = [f"{x(pool):.1f},{y(100 * end[0]):.1f}" for pool, end in zip(pools, ends, strict=True)]
    return f'<polygon class="band" points="{" ".join(above + below[::-1])}" style="fill:{colour_of(name)}"/>'


def _figure(title: str, unit: str, parts: Sequence[str], height: float = _HEIGHT) -> str:
    label = escape(title, quote=True)
    return (
        f"<figure><figcaption>{escape(title)}<small>{escape(unit)}</small></figcaption>\n"
        f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{label}">{"".join(parts)}</svg></figure>\n'
    )


def _with_ends(value: float, end: Interval | None) -> str:
    figure = f"{100 * value:.1f}"
    return figure if end is None else f"{figure} [{100 * end[0]:.0f}, {100 * end[1]:.0f}]"


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _nice_top(percent: float) -> float:
    """Return the round number of percent, at most 100, that an axis ends at."""
    return next(top for top in (1, 2, 5, 10, 20, 30, 40, 50, 60, 80, 100) if top >= min(percent, 100))


def _ticks(top: float) -> list[float]:
    steps = 3 if top % 3 == 0 else 5 if top in (5, 10, 50) else 4
    return [top * step / steps for step in range(steps + 1)]
