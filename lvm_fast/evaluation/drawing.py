"""How every picture of the package looks. Needs the extra `plot`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import atomic_path
from .report import MODEL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {MODEL: "#1f5fa8", "copy_last": "#d9662b", "recency_mean": "#2f9580", "chance": "#9a9a9a"}
INK, MUTED, _GRID = "#222222", "#6b6b6b", "#e6e6e6"
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": "#bdbdbd",
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "figure.facecolor": "white",
}


@contextmanager
def drawn(path: Path, size: tuple[float, float]) -> Iterator[Figure]:
    """Give an empty figure of so many inches to draw on; it becomes a PNG file, atomically.

    Raises:
        ImportError: If matplotlib is missing; says which extra brings it.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("matplotlib is missing; pip install 'lvm_fast[plot]' brings it") from error
    with matplotlib.rc_context(_STYLE), atomic_path(path) as temporary:
        figure = Figure(figsize=size, dpi=160)
        yield figure
        figure.savefig(temporary, format="png")


def head(figure: Figure, left: float, title: str, subtitle: str) -> None:
    """Write title and subtitle above the panels, from `left` (a share of the width) on, so small that they fit."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    largest = 72 * 0.93 * width / (0.66 * len(title))  # points
    figure.text(left, 1 - 0.31 / height, title, fontsize=min(15.0, largest), fontweight="bold", va="center")
    figure.text(left, 1 - 0.59 / height, subtitle, fontsize=10.5, color=MUTED, va="center")


def panel_title(axes: Axes, title: str, unit: str) -> None:
    """Write what a panel shows above it, and in what unit."""
    axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=INK, pad=18 if unit else 8)
    axes.annotate(unit, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points", fontsize=9, color=MUTED)
