"""Readers of the corpora: from an unpacked package to documents, each a list of paragraphs of running text."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from html import unescape
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple


class Prose(NamedTuple):
    """A document as a reader gives it: its id and its paragraphs."""

    id: str
    paragraphs: list[str]


_BLOCKS = {"p", "li", "dd", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote"}
_BREAKS = _BLOCKS | {"div", "ul", "ol", "dl", "table", "tr", "td", "th", "section", "article", "body", "hr", "pre"}
_SKIPPED = {"pre", "table", "script", "style", "nav", "header", "footer", "form", "head", "sup", "button"}
_SHORTEST = 4  # words a paragraph needs: below are headings, menus and the like


class _Paragraphs(HTMLParser):
    """Collects the text of paragraphs, list items and definitions, and leaves out code, tables and navigation."""

    def __init__(self, skipped_classes: Sequence[str], text_classes: Sequence[str]) -> None:
        super().__init__()
        self.found: list[str] = []
        self._skipped_classes, self._text_classes = set(skipped_classes), set(text_classes)
        self._text: list[str] = []
        self._inside = False
        self._skipping: tuple[str, int] | None = None  # the tag being left out, and how deep in others of its name

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._skipping:
            name, depth = self._skipping
            self._skipping = (name, depth + (tag == name))
            return
        classes = {name for key, value in attrs if key in ("class", "id") for name in (value or "").lower().split()}
        if tag in _BREAKS:
            self._flush()
            self._inside = tag in _BLOCKS or bool(classes & self._text_classes)
        if tag in _SKIPPED or classes & self._skipped_classes:
            self._skipping = (tag, 1)

    def handle_endtag(self, tag: str) -> None:
        if self._skipping:
            name, depth = self._skipping
            depth -= tag == name
            self._skipping = (name, depth) if depth else None
        elif tag in _BREAKS:
            self._flush()
            self._inside = tag not in _BLOCKS and self._inside

    def handle_data(self, data: str) -> None:
        if self._inside and not self._skipping:
            self._text.append(data)

    def close(self) -> None:
        super().close()
        self._flush()

    def _flush(self) -> None:
        text = " ".join("".join(self._text).split())
        if len(text.split()) >= _SHORTEST:
            self.found.append(text)
        self._text = []


def html_paragraphs(html: str, skipped_classes: Sequence[str] = (), text_classes: Sequence[str] = ()) -> list[str]:
    """The running text of a page, one string a paragraph.

    Args:
        skipped_classes: Classes or ids of elements to leave out, in lower case.
        text_classes: Classes or ids of divisions that are paragraphs, in lower case.
    """
    parser = _Paragraphs(skipped_classes, text_classes)
    parser.feed(html)
    parser.close()
    return parser.found


def read_html(
    root: Path,
    folder: str,
    patterns: Sequence[str] = ("*.html",),
    skipped_classes: Sequence[str] = (),
    text_classes: Sequence[str] = (),
    language: str | None = None,
) -> Iterator[Prose]:
    """A document a page, in the order of their paths; pages of everything at once, for printing, are left out.

    Args:
        language: Leave out pages that say they are in another one.
    """
    top = root / folder
    for page in sorted({page for pattern in patterns for page in top.glob(pattern) if page.stem != "print"}):
        html = _decoded(page.read_bytes())
        said = re.search(r'<html[^>]*\blang="(\w+)', html)
        if language is None or (said and said[1] == language):
            name = page.relative_to(top).with_suffix("").as_posix()
            yield Prose(name, html_paragraphs(html, skipped_classes, text_classes))


def _decoded(page: bytes) -> str:
    said = re.search(rb"charset=[\"']?([\w-]+)", page[:2000])
    return page.decode(said[1].decode() if said else "utf-8", "replace")


def read_text(root: Path, pattern: str, without: Sequence[str] = ()) -> Iterator[Prose]:
    """A document a text file, in the order of numbers and words in their names, but for those `without`."""
    files = [file for file in root.glob(pattern) if file.stem not in without]
    for file in sorted(files, key=lambda file: [part.zfill(9) for part in re.split(r"(\d+)", file.stem)]):
        yield Prose(file.stem, _split_paragraphs(file.read_text("utf-8")))


def read_sword(root: Path, chapters: int) -> Iterator[Prose]:
    """A Bible in the SWORD project's compressed format: so many chapters of one book a document, without notes."""
    (folder,) = root.glob("usr/share/sword/modules/texts/ztext/*")
    for testament in ("ot", "nt"):
        table = (folder / f"{testament}.bzs").read_bytes()
        packed = (folder / f"{testament}.bzz").read_bytes()
        for begin, size, _ in struct.iter_unpack("<III", table):
            if size:
                yield from _bible_book(zlib.decompress(packed[begin : begin + size]).decode(), chapters)


def _bible_book(text: str, chapters: int) -> Iterator[Prose]:
    text = re.sub(r"<(note|title)\b.*?</\1>", " ", text, flags=re.DOTALL)
    parts = re.split(r'<chapter\b[^>]*osisID="(\w+)\.\d+"[^>]*sID[^>]*>', text)
    names, bodies = parts[1::2], parts[2::2]
    for first in range(0, len(bodies), chapters):
        paragraphs = [" ".join(re.sub(r"<[^>]*>", "", body).split()) for body in bodies[first : first + chapters]]
        last = min(first + chapters, len(bodies))
        yield Prose(f"{names[0]} {first + 1}-{last}", [unescape(text) for text in paragraphs])


def read_r_books(root: Path, chapter: str) -> Iterator[Prose]:
    """Books kept as lines of text in the data of an R package: a chapter a document.

    Args:
        chapter: Regular expression for the line that a chapter begins with.
    """
    (packed,) = root.glob("usr/lib/R/site-library/*/data/Rdata.rdb")
    data = packed.read_bytes()
    while data:
        inflate = zlib.decompressobj()
        lines = _r_strings(inflate.decompress(data[4:]))
        data = inflate.unused_data
        title = next(line for line in lines if line.strip()).strip().title()
        yield from _chapters(title, lines, chapter)


def _r_strings(serialized: bytes) -> list[str]:
    """The strings of an R character vector, as R serialises it."""
    at = serialized.index(b"\x00\x00\x00\x10")  # a character vector, then its length
    (count,) = struct.unpack_from(">i", serialized, at + 4)
    at, strings = at + 8, []
    for _ in range(count):
        (size,) = struct.unpack_from(">i", serialized, at + 4)  # after the flags
        strings.append(serialized[at + 8 : at + 8 + size].decode("utf-8", "replace"))
        at += 8 + size
    return strings


def _chapters(title: str, lines: Sequence[str], chapter: str) -> Iterator[Prose]:
    starts = [number for number, line in enumerate(lines) if re.match(chapter, line)]
    for number, (begin, end) in enumerate(zip(starts, [*starts[1:], len(lines)], strict=True), 1):
        text = "\n".join(line.strip() for line in lines[begin + 1 : end]).replace("_", "")  # marks of emphasis
        yield Prose(f"{title}, chapter {number}", _split_paragraphs(text))


def _split_paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]


def read_speeches(root: Path, file: str, query: str) -> Iterator[Prose]:
    """A document a row of an SQLite database.

    Args:
        query: Gives id and text.
    """
    with closing(sqlite3.connect(root / file)) as database:
        rows = database.execute(query).fetchall()
    for name, text in rows:
        text = re.sub(r"(?<=[^\W\d])\d{1,3}\b", "", text)  # marks of notes
        yield Prose(name, _split_paragraphs(text))


def read_parliament(root: Path, archive: str, member: str) -> Iterator[Prose]:
    """A document a speech of a zipped table with the columns date, speaker, text and parlspeech_row."""
    with zipfile.ZipFile(root / archive) as opened:
        table = opened.read(member).decode()
    csv.field_size_limit(max(csv.field_size_limit(), len(table)))
    rows = list(csv.DictReader(io.StringIO(table)))
    for row in sorted(rows, key=lambda row: (row["date"], int(row["parlspeech_row"]))):
        text = re.sub(r" ([,.;:!?])", r"\1", row["text"])
        yield Prose(f"{row['date']} {row['speaker']} {row['parlspeech_row']}", _split_paragraphs(text))


def read_factbook(root: Path, folder: str) -> Iterator[Prose]:
    """A document a country: the entries that are sentences, in the book's order."""
    for file in sorted((root / folder).glob("*/*.json")):
        entries = [_without_tags(text) for text in _texts(json.loads(file.read_text("utf-8")))]
        yield Prose(file.stem, [text for text in entries if _is_prose(text)])


def _is_prose(text: str) -> bool:
    """Whether an entry is sentences, not a list of names or a few figures."""
    words = text.split()
    return len(words) >= 25 and sum(word[0].islower() for word in words) > len(words) / 2


def _without_tags(text: str) -> str:
    return " ".join(re.sub(r"<[^>]*>|\+\+", " ", unescape(text)).split())


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)


def read_code_of_law(root: Path, files: Sequence[str]) -> Iterator[Prose]:
    """French codes of law: the articles in force of one chapter (or the like) a document."""
    for file in files:
        code = json.loads((root / file).read_text("utf-8"))
        articles = list(_articles(code, ()))
        for path, group in groupby(articles, key=lambda article: article[0]):
            yield Prose(f"{Path(file).stem} {'/'.join(path)}", [text for _, text in group])


def _articles(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    data = node["data"]
    if data.get("etat") not in (None, "VIGUEUR"):
        return
    if node["type"] == "article":
        yield path, _without_tags(data.get("texte") or "")
        return
    deeper = path if node["type"] == "code" or len(path) == 5 else (*path, data["id"].removeprefix("LEGISCTA"))
    for child in node.get("children", []):
        yield from _articles(child, deeper)
