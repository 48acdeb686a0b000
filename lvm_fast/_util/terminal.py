"""The one progress bar: a bar on a terminal and in a notebook, and a plain line now and then where there is neither."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from importlib import import_module
from time import time
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 30.0  # between plain lines
_STEP_SECONDS = 0.5  # between changes of a bar
_WIDTH = 100  # where there is no terminal
_VERBOSITY: ContextVar[int] = ContextVar("verbosity", default=0)


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal; one that is closed, missing or cannot tell is none."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError, OSError):
        return False


def terminal_width() -> int:
    """Return how many characters a line of standard output has: those of the terminal, or 100 where there is none."""
    return shutil.get_terminal_size((_WIDTH, 24)).columns if is_terminal(sys.stdout) else _WIDTH


@contextmanager
def verbosity(level: int) -> Iterator[None]:
    """Say less (-1: no progress) or more (1: a plain line every second) while the block runs; 0 is the usual."""
    token = _VERBOSITY.set(level)
    try:
        yield
    finally:
        _VERBOSITY.reset(token)


def progress_bar(total: int, unit: str, shown: bool | None = None, **options: Any) -> tqdm[Any]:
    """Return a tqdm bar, as wide as the terminal, or what stands for it where nobody watches one.

    Args:
        total: Units of the whole work.
        unit: What they are called.
        shown: Whether to show a bar, wherever standard error goes, or nothing. When left out: a bar on a terminal and
            in a notebook; else a line every 30 seconds on standard error.
        **options: What else tqdm takes, such as `initial` or `desc`.
    """
    common: dict[str, Any] = {
        "total": total,
        "unit": unit,
        "mininterval": _STEP_SECONDS,
        "dynamic_ncols": True,
    } | options
    if shown is False or sys.stderr is None or _VERBOSITY.get() < 0:
        return tqdm(disable=True, **common)
    if shown or is_terminal(sys.stderr):
        return tqdm(**common)
    if _is_notebook():
        bar: tqdm[Any] = _notebook_bar()(**common)
        return bar
    return PlainLines(**common)


class PlainLines(tqdm):  # type: ignore[type-arg]  # generic in its stubs alone
    """Progress in lines of plain text: `1,234 of 70,916 chunks, 17.3 chunks/s, 1:07:12 left`."""

    def __init__(self, **options: Any) -> None:
        seconds = LINE_SECONDS if _VERBOSITY.get() <= 0 else 1.0
        super().__init__(**options | {"mininterval": seconds, "maxinterval": seconds, "file": sys.stderr})

    def display(self, *_: Any, **__: Any) -> None:
        """Write a line, unless it is too early for one."""
        now = time()
        if self.n > self.initial and now - getattr(self, "_written", self.start_t) >= self.mininterval:
            self._written = now
            with suppress(AttributeError, ValueError, OSError):  # a stream that is closed, or is none
                self.fp.write(self.line() + "\n")
                self.fp.flush()

    def clear(self, *_: Any, **__: Any) -> None:
        """Leave what is written: no other line needs its place."""

    def line(self) -> str:
        """Return how far the work is."""
        units = self.unit if self.unit.endswith("s") else f"{self.unit}s"
        rate = (self.n - self.initial) / max(time() - self.start_t, 1e-9)
        left = timedelta(seconds=round(((self.total or self.n) - self.n) / rate))
        speed = f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}"
        figures = f", {self.postfix}" if self.postfix else ""
        name = f"{self.desc.removesuffix(': ')}: " if self.desc else ""
        return f"{name}{self.n:,} of {self.total:,} {units}, {speed} {units}/s, {left} left{figures}"

    def close(self) -> None:
        """End without a last line."""
        self.disable = True


def _is_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _notebook_bar() -> Any:
    """Return the bar with widgets, or without them the one of text."""
    try:
        import_module("ipywidgets")
    except ImportError:
        return tqdm
    from tqdm.notebook import tqdm_notebook

    return tqdm_notebook
