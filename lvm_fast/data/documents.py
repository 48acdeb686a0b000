"""Reading documents to encode: text files, folders of them, and JSON lines."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .jsonl import read_jsonl

_TEXT_SUFFIXES = (".txt", ".md")


@dataclass(frozen=True)
class Document:
    """One document: its text, or chunks that somebody has already cut it into."""

    id: str
    text: str = ""
    chunks: tuple[str, ...] = ()


def read_documents(paths: Iterable[str | os.PathLike[str]]) -> list[Document]:
    """Read `.txt` and `.md` files, folders of them (searched through, in name order), `.jsonl` and `.jsonl.gz` files.

    A line of JSON is {"id": ..., "text": ...} or {"id": ..., "chunks": [...]}. A text file is called by its file name,
    one in a folder by its path from there. Files without text in a folder are left out, and a warning counts them.

    Raises:
        OSError: a file cannot be opened.
        ValueError: no documents, a document without text, two of the same id, or a file of another kind or encoding.
    """
    documents = [document for path in paths for document in _documents_in(Path(path))]
    seen: set[str] = set()
    for document in documents:
        if document.id in seen:
            raise ValueError(f"two documents are called {document.id!r}; expected different ids")
        seen.add(document.id)
    if not documents:
        raise ValueError("no documents given; expected at least one file or folder")
    return documents


def _documents_in(path: Path) -> Iterator[Document]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in _TEXT_SUFFIXES and file.is_file())
        if not files:
            raise ValueError(f"{path}: no {' or '.join(_TEXT_SUFFIXES)} file in this folder")
        yield from _folder_documents(path, files)
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        for place, record in read_jsonl(path):
            yield _json_document(record, place)
    elif path.suffix in _TEXT_SUFFIXES or not path.exists():
        document = _text_document(path, path.name)
        if not document.text.strip():
            raise ValueError(f"{path}: holds no text")
        yield document
    else:
        raise ValueError(f"{path}: expected a .txt, .md, .jsonl or .jsonl.gz file, or a folder")


def _folder_documents(folder: Path, files: Sequence[Path]) -> Iterator[Document]:
    empty = 0
    for file in files:
        document = _text_document(file, file.relative_to(folder).as_posix())
        if document.text.strip():
            yield document
        else:
            empty += 1
    if empty == len(files):
        raise ValueError(f"{folder}: none of its {empty} files holds text")
    if empty:
        warnings.warn(f"{folder}: left out {empty} of {len(files)} files, which hold no text", stacklevel=2)


def _text_document(path: Path, name: str) -> Document:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    return Document(name, text)


def _json_document(record: dict[str, Any], place: str) -> Document:
    text, chunks = record.get("text", ""), record.get("chunks", [])
    if not isinstance(text, str):
        raise ValueError(f'{place}: "text" is a {type(text).__name__}; expected a string')
    if not isinstance(chunks, list) or not all(isinstance(chunk, str) and chunk.strip() for chunk in chunks):
        raise ValueError(f'{place}: "chunks" is no list of strings that hold text')
    if not chunks and not text.strip():
        raise ValueError(f'{place}: no text; expected "text" or "chunks"')
    return Document(record["id"], text, tuple(chunks))
