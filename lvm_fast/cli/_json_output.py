"""Adds ``--json`` to a command and prints JSON; standard output then holds nothing else."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from typing import Any

from .._util.numbers import plain


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and all else on standard error")


def print_json(value: Any) -> None:
    """Print plain values, numbers of numpy among them, as JSON that the encoding of standard output can hold."""
    is_unicode = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    print(json.dumps(_finite(plain(value)), ensure_ascii=not is_unicode, indent=1, allow_nan=False))


def _finite(value: Any) -> Any:
    """Return a value with null for NaN and infinity, for which JSON has no word."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def words_aside(as_json: bool) -> contextlib.AbstractContextManager[Any]:
    """While the block runs, send what would be printed to standard error, if `as_json`."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
