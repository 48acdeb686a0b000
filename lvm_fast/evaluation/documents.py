"""Findings as files: numbers in JSON, words in Markdown, a picture in PNG."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..files import atomic_write_text, check_not_an_input, made_folder

_KINDS = ("json", "md", "png")


def check_documents(
    folder: str | Path, name: str, called: str, inputs: Iterable[str | os.PathLike[str] | None]
) -> None:
    """Raise ValueError where `save_documents` would write over one of the inputs, before the work that ends with it."""
    given = [source for source in inputs if source is not None]
    for kind in _KINDS:
        check_not_an_input(Path(folder, f"{name}.{kind}"), called, given)


def save_documents(
    folder: str | Path,
    name: str,
    numbers: dict[str, Any],
    in_words: Callable[[str | None], str],
    draw: Callable[[Path], bool],
) -> list[Path]:
    """Write ``NAME.json``, ``NAME.md`` and, with matplotlib, ``NAME.png``; each appears whole or not at all.

    Without matplotlib the document says which extra brings it.

    Args:
        folder: Where; made if it is not there.
        name: What the files are called.
        numbers: Plain JSON values.
        in_words: Gives the document, which shows the picture of that file name, or none.
        draw: Draws the picture to a path; says whether there was anything to draw.

    Returns:
        The files written.
    """
    is_drawn, note = False, ""
    with made_folder(folder) as place:
        data, document, picture = (place / f"{name}.{kind}" for kind in _KINDS)
        try:
            is_drawn = draw(picture)
        except ImportError as missing:
            note = f"\nNo picture: {missing}.\n"
        atomic_write_text(data, json.dumps(numbers, indent=2) + "\n")
        atomic_write_text(document, in_words(picture.name if is_drawn else None) + note)
    return [data, document, *([picture] if is_drawn else [])]
