"""How every picture of the package looks. Needs the extra `plot`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from .._util.atomic_files import atomic_path
from .._util.optional import optional_module
from .report import MODEL, RAW_COSINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    MODEL: "#1f5fa8",
    MODEL + RAW_COSINE: "#7ea6d6",
    "copy_last": "#d9662b",
    "recency_mean": "#2f9580",
    "centred_recency": "#6aa84f",
    "whitened_recency": "#274e13",
    "chance": "#9a9a9a",
}
INK, MUTED, _GRID, _ALARM = "#222222", "#6b6b6b", "#e6e6e6", "#b3261e"
NOTE_HEIGHT, _NOTE_CHARACTERS = 0.17, 14.5  # inches a line, characters an inch
_STYLE: Any = {
    "text.usetex": False,
    "text.parse_math": False,
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

    It looks the same everywhere: neither the user's matplotlibrc nor MPLBACKEND matters, and text is text, never TeX.

    Raises:
        ImportError: matplotlib is missing (the message says which extra brings it), or does not work.
    """
    matplotlib = _matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")}
    with matplotlib.rc_context({**defaults, **_STYLE}), warnings.catch_warnings(), atomic_path(path) as temporary:
        warnings.simplefilter("ignore")  # letters that the font lacks become boxes
        figure = Figure(figsize=size, dpi=160)
        FigureCanvasAgg(figure)
        yield figure
        figure.savefig(temporary, format="png")


def _matplotlib() -> Any:
    """matplotlib, whose import would fail on a backend that MPLBACKEND misspells."""
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        return optional_module("matplotlib", "plot")
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def wrapped(notes: Sequence[str], width: float) -> list[str]:
    """Notes in lines that fit a figure of so many inches."""
    return wrap(" ".join(notes), int(width * _NOTE_CHARACTERS))


def write_notes(figure: Figure, left: float, lines: Sequence[str]) -> None:
    """Write lines at the foot of a figure, from `left` (a share of the width) on; each takes `NOTE_HEIGHT`."""
    height = figure.get_figheight()
    for row, line in enumerate(reversed(lines)):
        place = (0.1 + NOTE_HEIGHT * row) / height
        figure.text(left, place, line, fontsize=8.5, color=_ALARM, va="bottom")


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
