"""Tables with a column of text: `.csv`, `.parquet`, and folders that Hugging Face `datasets` has saved."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..._util.did_you_mean import unknown_name
from ..._util.optional import optional_module
from .readers import EXTRA, PURPOSE

TABLE_SUFFIXES = (".csv", ".parquet")
_STATE, _SPLITS = "state.json", "dataset_dict.json"  # of a folder saved by `datasets`
_TEXT, _ID = "text", "id"
_BATCH = 1024


class Columns(NamedTuple):
    """Which columns hold text and ids; None for "text" (or the only column of text), and for "id" (or numbers)."""

    text: str | None = None
    id: str | None = None


def is_dataset(path: Path) -> bool:
    """Return whether a folder was saved by `datasets`: `Dataset.save_to_disk`, or `DatasetDict.save_to_disk`."""
    return (path / _STATE).is_file() or (path / _SPLITS).is_file()


def read_table(path: Path, columns: Columns, encoding: str = "utf-8-sig") -> Iterator[tuple[str, str]]:
    """Give (id, text) of every row; without a column of ids, the id is the file's name and the row from 0.

    Raises:
        ImportError: pyarrow is missing (not for `.csv`).
        OSError: a file cannot be opened.
        ValueError: the file is damaged, or has no such column.
    """
    if path.is_dir():
        for name, files in _dataset_files(path):
            yield from _rows(_arrow_batches(files, path), columns, name, path)
    elif path.suffix.lower() == ".csv":
        yield from _csv_rows(path, columns, encoding)
    else:
        yield from _rows(_parquet_batches(path), columns, path.name, path)


def _dataset_files(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """Give name and Arrow files of every part of a saved dataset."""
    if (folder / _SPLITS).is_file():
        splits = json.loads((folder / _SPLITS).read_text(encoding="utf-8"))["splits"]
        for split in splits:
            yield from ((f"{folder.name}/{split}", files) for _, files in _dataset_files(folder / split))
        return
    state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    yield folder.name, [folder / part["filename"] for part in state["_data_files"]]


def _arrow_batches(files: list[Path], path: Path) -> Iterator[Any]:
    pyarrow = optional_module("pyarrow", EXTRA, PURPOSE)
    for file in files:
        try:
            with pyarrow.memory_map(str(file)) as source, pyarrow.ipc.open_stream(source) as reader:
                yield from reader
        except pyarrow.ArrowInvalid as error:
            raise ValueError(f"{path}: no dataset that can be read: {error}") from error


def _parquet_batches(path: Path) -> Iterator[Any]:
    pyarrow, parquet = (optional_module(name, EXTRA, PURPOSE) for name in ("pyarrow", "pyarrow.parquet"))
    try:
        with parquet.ParquetFile(path) as file:
            yield from file.iter_batches(_BATCH)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path}: no Parquet file that can be read: {error}") from error


def _rows(batches: Iterable[Any], columns: Columns, name: str, path: Path) -> Iterator[tuple[str, str]]:
    row = 0
    for batch in batches:
        kinds = {field.name: str(field.type) for field in batch.schema}
        strings = [column for column, kind in kinds.items() if kind in ("string", "large_string", "string_view")]
        text, ids = _chosen(columns, list(kinds), strings, path)
        texts = batch.column(text).to_pylist()
        names = batch.column(ids).to_pylist() if ids else [f"{name}:{row + place}" for place in range(len(texts))]
        for given, value in zip(names, texts, strict=True):
            yield _name(given, path, row), "" if value is None else str(value)
            row += 1


def _csv_rows(path: Path, columns: Columns, encoding: str) -> Iterator[tuple[str, str]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a document may be long
    with open(path, newline="", encoding=encoding) as file:
        try:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or ())
            text, ids = _chosen(columns, header, header if len(header) == 1 else [], path)
            for row, record in enumerate(reader):
                if None in record or None in record.values():
                    raise ValueError(f"{path}: row {row} has another number of columns than the {len(header)} named")
                yield _name(record[ids] if ids else f"{path.name}:{row}", path, row), record[text]
        except csv.Error as error:
            raise ValueError(f"{path}: line {reader.line_num}: {error}") from error
        except UnicodeDecodeError as error:
            place, shown = f"({error.reason} at byte {error.start})", encoding.removesuffix("-sig").upper()
            raise ValueError(f"{path}: not {shown} text {place}; --encoding says which it is") from error


def _chosen(columns: Columns, names: list[str], strings: list[str], path: Path) -> tuple[str, str | None]:
    """Return the columns of text and of ids, where there are ids."""
    for asked in filter(None, columns):
        if asked not in names:
            raise ValueError(f"{path}: {unknown_name('column', asked, names)}")
    ids = columns.id or (_ID if _ID in names else None)
    text = columns.text or (_TEXT if _TEXT in names else None)
    left = [name for name in strings if name != ids]
    if text is None and len(left) == 1:
        text = left[0]
    if text is None:
        raise ValueError(f"{path}: which column is the text? Say --text-column; found {', '.join(names) or 'none'}")
    return text, ids


def _name(given: Any, path: Path, row: int) -> str:
    if given is None or given == "":
        raise ValueError(f"{path}: row {row} has no id")
    return str(given)
