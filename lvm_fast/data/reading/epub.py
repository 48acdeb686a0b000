"""The text of EPUB books: a zip of HTML pages, in the order of the book's spine."""

from __future__ import annotations

import posixpath
import zipfile
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from .html import html_text
from .readers import Read, paragraphs

_CONTAINER = "META-INF/container.xml"


def read_epub(path: Path) -> Read:
    """Read all pages of a book in reading order.

    Raises:
        ImportError: beautifulsoup4 is missing.
        ValueError: the file is damaged, protected, or another kind of file.
    """
    try:
        with zipfile.ZipFile(path) as book:
            pages = _pages(book)
            texts = [html_text(book.read(page)) for page in pages]
    except (zipfile.BadZipFile, KeyError, ElementTree.ParseError, StopIteration, RuntimeError) as error:
        raise ValueError(f"{path}: no EPUB book that can be read: {error}") from error
    empty = sum(not text for text in texts)
    return Read(paragraphs(texts), f"{empty} of {len(texts)} pages hold no text" if empty else "")


def _pages(book: zipfile.ZipFile) -> list[str]:
    """Return the names of the pages in the order of the spine."""
    place = next(iter(_elements(book.read(_CONTAINER), "rootfile"))).attrib["full-path"]
    package = book.read(place)
    items = {item.attrib["id"]: item.attrib for item in _elements(package, "item")}
    spine = [items[entry.attrib["idref"]] for entry in _elements(package, "itemref")]
    folder = posixpath.dirname(place)
    return [
        posixpath.normpath(posixpath.join(folder, unquote(item["href"])))
        for item in spine
        if "html" in item.get("media-type", "")
    ]


def _elements(xml: bytes, name: str) -> list[ElementTree.Element]:
    """Return the elements of a name, whatever their namespace."""
    if b"<!ENTITY" in xml:
        raise ElementTree.ParseError("it defines entities")  # which may expand without end
    return [element for element in ElementTree.fromstring(xml).iter() if element.tag.rpartition("}")[2] == name]
