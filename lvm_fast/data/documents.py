"""Reading documents to encode: texts, pages and books, folders of them, JSON lines and tables."""

from __future__ import annotations

import codecs
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._util.text import check_unicode, unicode_text
from .folders import scan_folder
from .jsonl import read_jsonl
from .reading.readers import READERS, TEXT_SUFFIXES, Read
from .reading.tables import TABLE_SUFFIXES, Columns, is_dataset, read_table

LINES_SUFFIXES = (".jsonl", ".jsonl.gz")
_ANY_COLUMNS = Columns()


class WrongEncodingError(ValueError):
    """A text file that is of another encoding."""


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


@dataclass(frozen=True)
class ReadOptions:
    """How documents are read.

    Attributes:
        suffixes: the kinds of file that are read in a folder; text, and the kinds of `READERS`, when None.
        encoding: of text files and `.csv`; a byte-order mark is no text.
        columns: the columns of tables.
    """

    suffixes: tuple[str, ...] | None = None
    encoding: str = "utf-8-sig"
    columns: Columns = _ANY_COLUMNS


def read_documents(
    paths: Iterable[str | os.PathLike[str]],
    *,
    suffixes: Iterable[str] | None = None,
    encoding: str | None = None,
    text_column: str | None = None,
    id_column: str | None = None,
) -> list[Document]:
    """Read documents from files, and from folders, which are searched through in name order.

    Text is read from `.txt` and `.md`; from `.html`, `.pdf`, `.epub` and `.docx` with the extra `documents`; a document
    a line from `.jsonl` and `.jsonl.gz`, {"id": ..., "text": ...} or {"id": ..., "chunks": [...]}; a document a row
    from `.csv`, `.parquet` and folders that Hugging Face `datasets` has saved. A file is called by its file name, one
    in a folder by its path from there, with U+FFFD for what is no UTF-8 in it; a row by its id, or file name and
    number. Suffixes count in any case. A warning says what was left out, and why: of a folder the files of other kinds,
    those without text or that cannot be read, and what is hidden; of a document what holds no text.

    Args:
        paths: files and folders.
        suffixes: the kinds of file that are read in folders, such as ".txt" and ".csv"; text and documents, but no
            tables or lines, when left out.
        encoding: of text files and `.csv`, such as "latin-1"; UTF-8 when left out.
        text_column: the column of tables that holds the text; "text", or the only one of text, when left out.
        id_column: the column that holds the ids; "id", or the numbers of the rows, when left out.

    Raises:
        ImportError: a file that was named needs a package that is missing.
        OSError: a file or folder cannot be opened.
        ValueError: no documents, a document without text, two of the same id, a file of another kind or encoding, or an
            option that does not fit.
    """
    options = ReadOptions(_checked_suffixes(suffixes), _checked_encoding(encoding), Columns(text_column, id_column))
    documents = [document for path in paths for document in _documents_in(Path(path), options)]
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


def _checked_suffixes(suffixes: Iterable[str] | None) -> tuple[str, ...] | None:
    if suffixes is None:
        return None
    if isinstance(suffixes, str):
        raise ValueError(f"read_documents: suffixes = {suffixes!r}; expected several, such as ['.txt']")
    return tuple(f".{suffix.lower().lstrip('.')}" for suffix in suffixes)


def _checked_encoding(encoding: str | None) -> str:
    if encoding is None:
        return "utf-8-sig"
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        raise ValueError(
            f"read_documents: encoding = {encoding!r}; expected one that Python knows, such as latin-1"
        ) from None


def _documents_in(path: Path, options: ReadOptions) -> Iterator[Document]:
    if path.is_dir() and not is_dataset(path):
        return _folder_documents(path, options)
    return _file_documents(path, Path(path.name), options)


def _file_documents(path: Path, name: Path, options: ReadOptions) -> Iterator[Document]:
    """Give the documents of one file, or saved dataset."""
    suffix = path.suffix.lower()
    if path.is_dir() or suffix in TABLE_SUFFIXES:
        yield from _table_documents(path, options)
    elif path.name.lower().endswith(LINES_SUFFIXES):
        for place, record in read_jsonl(path):
            yield _json_document(record, place, path)
    elif suffix in TEXT_SUFFIXES or suffix in READERS or suffix in (options.suffixes or ()) or not path.exists():
        document = _one_document(path, name, options)
        if not document.text.strip():
            raise ValueError(f"{path}: holds no text")
        yield document
    else:
        kinds = ", ".join((*TEXT_SUFFIXES, *READERS, *TABLE_SUFFIXES, *LINES_SUFFIXES))
        raise ValueError(f"{path}: expected a file that ends in {kinds}, or a folder; --suffix reads another as text")


def _folder_documents(folder: Path, options: ReadOptions) -> Iterator[Document]:
    suffixes = options.suffixes or (*TEXT_SUFFIXES, *READERS)
    scan = scan_folder(folder, suffixes)
    if not scan.files:
        found = f": {scan.words()}" if scan.skipped else ""
        raise ValueError(f"{folder}: no {', '.join(suffixes)} file in this folder{found}")
    documents, count = [], 0
    for name in scan.files:
        try:
            found_here = list(_file_documents(folder / name, name, options))
        except ImportError as error:
            scan.skip(f"without a reader: {str(error).partition('; ')[2]};", name)
        except WrongEncodingError:
            scan.skip(f"of another encoding than {_shown(options.encoding)}", name)
        except ValueError as error:
            scan.skip("without text" if str(error).endswith("holds no text") else "that cannot be read", name)
        else:
            documents += found_here
            count += 1
    if not documents:
        raise ValueError(f"{folder}: none of its {len(scan.files)} files holds text that can be read: {scan.words()}")
    if scan.skipped:
        read = f"read {count:,} file{'s' * (count != 1)}"
        warnings.warn(f"{unicode_text(folder)}: {read}, left out {scan.words()}", stacklevel=2)
    yield from documents


def _one_document(path: Path, name: Path, options: ReadOptions) -> Document:
    suffix = path.suffix.lower()
    is_text = suffix not in READERS or not path.exists()
    read = Read(_text_of(path, options.encoding)) if is_text else READERS.load(suffix)(path)
    if read.left_out and read.text:
        warnings.warn(f"{unicode_text(path)}: left out {read.left_out}", stacklevel=2)
    called = unicode_text(name.as_posix())
    if called != name.as_posix():
        warnings.warn(f"{unicode_text(path)}: the name is no UTF-8; the document is called {called!r}", stacklevel=2)
    return Document(called, read.text, path=path)


def _text_of(path: Path, encoding: str) -> str:
    try:
        return path.read_text(encoding=encoding)
    except UnicodeDecodeError as error:
        raise WrongEncodingError(
            f"{path}: not {_shown(encoding)} text ({error.reason} at byte {error.start}); --encoding says which it is"
        ) from error


def _shown(encoding: str) -> str:
    return "UTF-8" if encoding == "utf-8-sig" else encoding


def _table_documents(path: Path, options: ReadOptions) -> Iterator[Document]:
    empty = total = 0
    for name, text in read_table(path, options.columns, options.encoding):
        total += 1
        if text.strip():
            yield Document(name, text, path=None if path.is_dir() else path)
        else:
            empty += 1
    if empty == total:
        raise ValueError(f"{path}: none of its {total} rows holds text")
    if empty:
        warnings.warn(f"{unicode_text(path)}: left out {empty:,} of {total:,} rows, which hold no text", stacklevel=2)


def _json_document(record: dict[str, Any], place: str, path: Path) -> Document:
    text, chunks = record.get("text", ""), record.get("chunks", [])
    if not isinstance(text, str):
        raise ValueError(f'{place}: "text" is a {type(text).__name__}; expected a string')
    if not isinstance(chunks, list) or not all(isinstance(chunk, str) and chunk.strip() for chunk in chunks):
        raise ValueError(f'{place}: "chunks" is no list of strings that hold text')
    if not chunks and not text.strip():
        raise ValueError(f'{place}: no text; expected "text" or "chunks"')
    return Document(record["id"], text, tuple(chunks), path)
