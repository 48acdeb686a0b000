"""The readers of documents by suffix. A new format is one new file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..._util.registry import Registry

EXTRA, PURPOSE = "documents", "reading this file"
TEXT_SUFFIXES = (".txt", ".md")


class Read(NamedTuple):
    """A document as a reader gives it.

    Attributes:
        text: paragraphs, a blank line between them.
        left_out: what of it has no text, in words; empty where nothing is missing.
    """

    text: str
    left_out: str = ""


READERS: Registry[Callable[[Path], Read]] = Registry(
    "kind of document",
    __package__,
    {
        ".html": ".html:read_html",
        ".htm": ".html:read_html",
        ".xhtml": ".html:read_html",
        ".pdf": ".pdf:read_pdf",
        ".epub": ".epub:read_epub",
        ".docx": ".docx:read_docx",
    },
)


def paragraphs(parts: list[str]) -> str:
    """Join paragraphs, those of white space only left out."""
    return "\n\n".join(part.strip() for part in parts if part.strip())
