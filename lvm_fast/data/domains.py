"""Domains of chains: the sixteen of the reference, as a user supplies them, one a chain."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._util.did_you_mean import nearest, unknown_name
from .._util.strict_json import read_json
from .jsonl import read_jsonl
from .number_formats import Int64

DOMAINS = (
    *("Science", "Mathematics", "Technology", "Engineering", "Medicine", "Psychology", "Philosophy", "History"),
    *("Literature", "Art", "Economics", "Law", "Politics", "Education", "Environment", "Software"),
)
SOURCES = ("clusters", "metadata")
_COLUMNS = ("id", "domain")
_SUFFIXES = (".json", ".jsonl", ".jsonl.gz", ".csv")


def check_domain_source(name: str) -> None:
    """Raise ValueError, which suggests the nearest name, unless `name` is one of `SOURCES` or ends as such files do."""
    if name not in SOURCES and not name.lower().endswith(_SUFFIXES):
        raise ValueError(unknown_name("source of domains", name, [*SOURCES, *(f"a file *{end}" for end in _SUFFIXES)]))


def read_domains(path: str) -> dict[str, tuple[str, Any]]:
    """Read what a file says of chains: by chain id, the place in the file, for messages, and the domain as written.

    A ``.json`` file is one object of ids and domains; the lines of ``.jsonl`` and ``.jsonl.gz`` files are objects with
    "id" and "domain", and the first line of a ``.csv`` file names these two columns. Other keys and columns are not
    read.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged or of another form, or names a chain twice.
    """
    readers = {".json": _read_json, ".csv": _read_csv}
    domains: dict[str, tuple[str, Any]] = {}
    for place, name, domain in readers.get(Path(path).suffix.lower(), _read_lines)(path):
        if name in domains:
            raise ValueError(f"{place}: chain {name!r} again; expected one domain a chain")
        domains[name] = place, domain
    return domains


def number_domains(given: Mapping[str, tuple[str, Any]], ids: Sequence[str], count: int, where: str) -> Int64:
    """Give the domain of each chain as a number.

    Args:
        given: By chain id, the place it is from and the domain: a number from 0 to `count` - 1, also as a text, or one
            of the sixteen names, which stand for 0 to 15. Chains that are not asked for are checked, too.
        ids: The chains asked for, (C,).
        count: Domains there may be.
        where: What messages about a missing chain begin with.

    Returns:
        int64 (C,).

    Raises:
        ValueError: A domain is unknown or out of range, or a chain has none; the message names the chain.
    """
    numbers = {name: _number(domain, count, f"{place}: chain {name!r}") for name, (place, domain) in given.items()}
    missing = [name for name in ids if name not in numbers]
    if missing:
        near = nearest(missing[0], [name for name in numbers if name not in set(ids)])
        guess = f" (there is one for {near!r}, which is no chain of the data)" if near else ""
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise ValueError(f"{where}: no domain for chain {missing[0]!r}{more}{guess}; expected one a chain")
    return np.array([numbers[name] for name in ids], np.int64)


def _number(domain: Any, count: int, whose: str) -> int:
    number = domain
    if isinstance(domain, str) and re.fullmatch(r"\s*-?\d+\s*", domain):
        number = int(domain)
    elif isinstance(domain, str):
        if domain not in DOMAINS:
            raise ValueError(f"{whose}: {unknown_name('domain', domain, DOMAINS)}")
        number = DOMAINS.index(domain)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < count:
        raise ValueError(f"{whose}: domain = {domain!r}; expected 0 to {count - 1}, or a name such as {DOMAINS[0]!r}")
    return number


def _read_json(path: str) -> Iterator[tuple[str, str, Any]]:
    try:
        held = read_json(Path(path).read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: no valid JSON in UTF-8: {error}") from error
    if not isinstance(held, dict):
        raise ValueError(f"{path}: a JSON {type(held).__name__}; expected an object of chain ids and domains")
    for name, domain in held.items():
        yield path, name, domain


def _read_lines(path: str) -> Iterator[tuple[str, str, Any]]:
    for place, record in read_jsonl(path):
        if "domain" not in record:
            raise ValueError(f'{place}: no "domain" for chain {record["id"]!r}')
        yield place, record["id"], record["domain"]


def _read_csv(path: str) -> Iterator[tuple[str, str, Any]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if any((rows.fieldnames or []).count(column) != 1 for column in _COLUMNS):
                raise ValueError(f"columns {rows.fieldnames}; expected {' and '.join(map(repr, _COLUMNS))} once each")
            for row in rows:
                name, domain = (row[column] for column in _COLUMNS)
                if name is None or domain is None:
                    raise ValueError(f"line {rows.line_num} has too few columns")
                yield f"{path}: line {rows.line_num}", name, domain
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path}: no table in UTF-8: {error}") from error
