"""Findings as files: numbers in JSON, words in Markdown, a picture in PNG."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .._util.atomic_files import atomic_write_text, check_not_an_input, made_folder
from .._util.folders import locked_folder

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

    The numbers come first and the picture last: whatever fails in drawing, they are there. Without a picture the
    document says why; where matplotlib is there and fails, a warning says so too. Two processes that write to one
    folder take turns.

    Args:
        folder: Where; made if it is not there.
        name: What the files are called.
        numbers: Plain JSON values.
        in_words: Gives the document, which shows the picture of that file name, or none.
        draw: Draws the picture to a path; says whether there was anything to draw.

    Returns:
        The files written.
    """
    with made_folder(folder) as place, locked_folder(place, wait=True):
        data, document, picture = (place / f"{name}.{kind}" for kind in _KINDS)
        atomic_write_text(data, json.dumps(numbers, indent=2) + "\n")
        atomic_write_text(document, _encodable(in_words(None)))
        is_drawn, note = _drawn(draw, picture)
        atomic_write_text(document, _encodable(in_words(picture.name if is_drawn else None) + note))
        if not is_drawn:
            picture.unlink(missing_ok=True)  # of the findings before
    return [data, document, *([picture] if is_drawn else [])]


def _drawn(draw: Callable[[Path], bool], picture: Path) -> tuple[bool, str]:
    """Whether the picture is there, and words for the document where it could not be drawn."""
    try:
        return draw(picture), ""
    except ModuleNotFoundError as missing:
        return False, f"\nNo picture: {missing}.\n"
    except Exception as error:  # whatever a drawing library does, numbers and words are worth more
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        warnings.warn(f"no picture {picture}: {reason}", stacklevel=3)
        return False, f"\nNo picture: {reason}.\n"


def _encodable(text: str) -> str:
    """The text with escapes for what UTF-8 has no bytes for: parts of file names that are no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
