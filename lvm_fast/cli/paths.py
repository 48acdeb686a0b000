"""Paths and texts on the command line: `~` is the home folder everywhere, `@FILE` a text that lies in a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .._util.paths import expanded


def expand_paths(args: argparse.Namespace) -> None:
    """Replace `~` in every path of a parsed command line. Raises ValueError where there is no such home folder."""
    for name, value in vars(args).items():
        setattr(args, name, _expanded(value, name.replace("_", " ")))


def _expanded(value: Any, called: str) -> Any:
    if isinstance(value, list):
        return [_expanded(item, called) for item in value]
    return Path(expanded(str(value), called)) if isinstance(value, Path) else value


def source(text: str) -> str:
    """The type of a flag that takes a path or a name, such as ``sample``."""
    try:
        return expanded(text, "path")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
