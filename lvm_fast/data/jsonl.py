"""Reading JSON-lines files, plain or gzipped, with errors that name the line."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from typing import Any

from .._util.strict_json import read_json


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give (`path: line n`, object) for each line that is not blank; every object has a string under "id".

    Raises:
        OSError: the file cannot be opened.
        ValueError: not UTF-8, no JSON as `read_json` has it, not an object, no string id, or no line at all.
    """
    opener: Any = gzip.open if os.fspath(path).lower().endswith(".gz") else open
    place, empty = os.fspath(path), True
    with opener(path, "rb") as file:
        try:
            for number, line in enumerate(file, 1):
                place = f"{os.fspath(path)}: line {number}"
                if line.strip():
                    empty = False
                    yield place, _record(line, place)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{place}: damaged gzip data: {error}") from error
    if empty:
        raise ValueError(f"{place}: holds no documents; expected one JSON object a line")


def _record(line: bytes, place: str) -> dict[str, Any]:
    try:
        record = read_json(line.decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{place}: no valid JSON in UTF-8: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{place}: a JSON {type(record).__name__}; expected an object")
    if not isinstance(record.get("id"), str):
        raise ValueError(f'{place}: "id" is {record.get("id")!r}; expected a string')
    return record
