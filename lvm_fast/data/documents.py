"""Reading documents to encode: text files, folders of them, and JSON lines."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._util.text import check_unicode, unicode_text
from .folders import scan_folder
from .jsonl import read_jsonl

TEXT_SUFFIXES = (".txt", ".md")
_LINES_SUFFIXES = (".jsonl", ".jsonl.gz")


@dataclass(frozen=True)
class Document:
    """One document: its text, or chunks that somebody has already cut it into, and the file that it is from, if any."""

    id: str
    text: str = ""
    chunks: tuple[str, ...] = ()
    path: Path | None = field(default=None, compare=False)

    def check(self, called: str) -> None:
        """Raise ValueError, which begins with `called`, where the id or the text is no Unicode, which has no UTF-8."""
        check_unicode(self.id, f"{called}: the id {self.id!a}")
        for text in (self.text, *self.chunks):
            check_unicode(text, f"{called}: document {self.id!r}")


def read_documents(paths: Iterable[str | os.PathLike[str]]) -> list[Document]:
    """Read `.txt` and `.md` files, folders of them (searched through, in name order), `.jsonl` and `.jsonl.gz` files.

    A line of JSON is {"id": ..., "text": ...} or {"id": ..., "chunks": [...]}. A text file is called by its file name,
    one in a folder by its path from there, with U+FFFD for what is no UTF-8 in it. Suffixes count in any case. Of a
    folder, a warning says what was left out and why: files of other kinds or without text, and what is hidden.

    Raises:
        OSError: a file or folder cannot be opened.
        ValueError: no documents, a document without text, two of the same id, or a file of another kind or encoding.
    """
    documents = [document for path in paths for document in _documents_in(Path(path))]
    seen: dict[str, Path | None] = {}
    for document in documents:
        if document.id in seen:
            places = sorted({str(place) for place in (seen[document.id], document.path) if place})
            raise ValueError(
                f"two documents are called {document.id!r} ({' and '.join(places)}); expected different ids"
            )
        seen[document.id] = document.path
    if not documents:
        raise ValueError("no documents given; expected at least one file or folder")
    return documents


def _documents_in(path: Path) -> Iterator[Document]:
    if path.is_dir():
        yield from _folder_documents(path)
    elif path.name.lower().endswith(_LINES_SUFFIXES):
        for place, record in read_jsonl(path):
            yield _json_document(record, place, path)
    elif path.suffix.lower() in TEXT_SUFFIXES or not path.exists():
        document = _text_document(path, Path(path.name))
        if not document.text.strip():
            raise ValueError(f"{path}: holds no text")
        yield document
    else:
        raise ValueError(f"{path}: expected a .txt, .md, .jsonl or .jsonl.gz file, or a folder")


def _folder_documents(folder: Path) -> Iterator[Document]:
    scan = scan_folder(folder, TEXT_SUFFIXES)
    if not scan.files:
        found = f": {scan.words()}" if scan.skipped else ""
        raise ValueError(f"{folder}: no {' or '.join(TEXT_SUFFIXES)} file in this folder{found}")
    documents = [_text_document(folder / name, name) for name in scan.files]
    for name, document in zip(scan.files, documents, strict=True):
        if not document.text.strip():
            scan.skip("without text", name)
    documents = [document for document in documents if document.text.strip()]
    if not documents:
        raise ValueError(f"{folder}: none of its {len(scan.files)} files holds text")
    if scan.skipped:
        read = f"read {len(documents):,} file{'s' * (len(documents) != 1)}"
        warnings.warn(f"{unicode_text(folder)}: {read}, left out {scan.words()}", stacklevel=2)
    yield from documents


def _text_document(path: Path, name: Path) -> Document:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    called = unicode_text(name.as_posix())
    if called != name.as_posix():
        warnings.warn(f"{unicode_text(path)}: the name is no UTF-8; the document is called {called!r}", stacklevel=2)
    return Document(called, text, path=path)


def _json_document(record: dict[str, Any], place: str, path: Path) -> Document:
    text, chunks = record.get("text", ""), record.get("chunks", [])
    if not isinstance(text, str):
        raise ValueError(f'{place}: "text" is a {type(text).__name__}; expected a string')
    if not isinstance(chunks, list) or not all(isinstance(chunk, str) and chunk.strip() for chunk in chunks):
        raise ValueError(f'{place}: "chunks" is no list of strings that hold text')
    if not chunks and not text.strip():
        raise ValueError(f'{place}: no text; expected "text" or "chunks"')
    return Document(record["id"], text, tuple(chunks), path)
