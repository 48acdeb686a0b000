"""Tables of figures in Markdown, which read well in a terminal too."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .report import Interval


def heading(metric: str) -> str:
    """What a column of a metric is called."""
    named = {"mrr": "MRR", "mean_cosine": "cos(predicted, next)", "direction_margin": "direction margin"}
    return named.get(metric, metric.replace("hit", "Hit"))


def cell(metric: str, value: float, interval: Interval | None, signed: bool = False) -> str:
    """A figure and its interval, percent but for cosines."""
    scale, form = (1.0, ".3f") if metric in ("mean_cosine", "direction_margin") else (100.0, ".1f")
    form = f"+{form}" if signed else form
    figure = f"{scale * value:{form}}"
    return figure if interval is None else f"{figure} [{scale * interval[0]:{form}}, {scale * interval[1]:{form}}]"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a Markdown table with padded columns, the first to the left and the others to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        [
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in [head, *rows]
    ]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])]
