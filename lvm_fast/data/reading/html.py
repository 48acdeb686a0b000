"""The text of HTML pages, by Beautiful Soup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..._util.optional import optional_module
from .readers import EXTRA, PURPOSE, Read, paragraphs

_UNSEEN = ("script", "style", "noscript", "template", "svg", "nav", "head", "title")
_BLOCKS = (
    *("address", "article", "aside", "blockquote", "body", "br", "dd", "div", "dl", "dt", "figcaption", "figure"),
    *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre", "section"),
    *("table", "td", "th", "tr", "ul"),
)
_BREAK = "\x00"


def read_html(path: Path) -> Read:
    """Read a page without scripts, styles and navigation; its bytes say, or show, how they are encoded.

    Raises:
        ImportError: beautifulsoup4 is missing.
    """
    return Read(html_text(path.read_bytes()))


def html_text(page: bytes) -> str:
    """Return the text of a page, the blocks of it as paragraphs."""
    soup: Any = optional_module("bs4", EXTRA, PURPOSE).BeautifulSoup(page, "html.parser")
    for unseen in soup(_UNSEEN):
        unseen.decompose()
    for block in soup(_BLOCKS):
        block.insert_before(_BREAK)
        block.insert_after(_BREAK)
    return paragraphs([" ".join(part.split()) for part in soup.get_text().split(_BREAK)])
