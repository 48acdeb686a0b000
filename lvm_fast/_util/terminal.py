"""The one progress bar: it is shown where a person watches the terminal, and nowhere else."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal; one that is closed, missing or cannot tell is none."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError, OSError):
        return False


def progress_bar(total: int, unit: str, shown: bool | None = None, **options: Any) -> tqdm[Any]:
    """Return a tqdm bar on standard error.

    Args:
        total: Units of the whole work.
        unit: What they are called.
        shown: Whether to show it; where a terminal is, unless given.
        **options: What else tqdm takes, such as `initial` or `desc`.
    """
    shown = is_terminal(sys.stderr) if shown is None else shown and sys.stderr is not None
    return tqdm(total=total, unit=unit, disable=not shown, **options)
