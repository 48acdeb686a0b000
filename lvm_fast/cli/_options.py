"""Flags that several commands have, and mean the same in all of them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._util.paths import expanded
from .._util.text import check_unicode

if TYPE_CHECKING:
    from ..data.documents import Document

TEXT = "TEXT|@FILE"


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device",
        default="auto",
        metavar="auto|cpu|mps|cuda",
        help="where to compute; cuda:N is the GPU of that number (default: %(default)s)",
    )


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add ``--force``."""
    parser.add_argument(
        "--force", action="store_true", help="go on where the data is of another encoder than the model's space"
    )


def add_encoder(
    parser: argparse.ArgumentParser, meaning: str, default: str | None = None, earlier_name: bool = True
) -> None:
    """Add ``--encoder``, and its `earlier_name`, ``--model``, where that means nothing else."""
    parser.add_argument("--encoder", default=default, metavar="NAME|FOLDER", type=source, help=meaning)
    if earlier_name:
        parser.add_argument("--model", dest="encoder", default=default, type=source, help=argparse.SUPPRESS)


def source(text: str) -> str:
    """The type of a flag that takes a path or a name, such as ``sample``: `~` is the home folder."""
    try:
        return expanded(text, "path")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def expand_paths(args: argparse.Namespace) -> None:
    """Replace `~` in every path of a parsed command line. Raises ValueError where there is no such home folder."""
    for name, value in vars(args).items():
        setattr(args, name, _expanded(value, name.replace("_", " ")))


def _expanded(value: Any, called: str) -> Any:
    if isinstance(value, list):
        return [_expanded(item, called) for item in value]
    return Path(expanded(str(value), called)) if isinstance(value, Path) else value


def read_text(given: str, where: str) -> Document:
    """The text of a ``--text`` flag: the words themselves, or after an @ the name of a file that holds them.

    Args:
        given: The words; ``@FILE``; or ``@@...``, for words that begin with an @.
        where: What messages begin with.

    Raises:
        OSError: The file cannot be opened.
        ValueError: There are no words, the file holds none or several documents, or the words are the name of a file.
    """
    from ..data.documents import Document, read_documents

    if given.startswith("@") and not given.startswith("@@"):
        file = expanded(given[1:], f"{where}: --text")
        documents = read_documents([file])
        if len(documents) != 1:
            raise ValueError(f"{where}: --text: {file} holds {len(documents)} documents; expected one")
        return documents[0]
    if os.path.isfile(given):
        raise ValueError(f"{where}: --text {given!r} is the name of a file; --text @{given} reads it")
    text = given.removeprefix("@")
    if not text.strip():
        raise ValueError(f"{where}: --text: expected words, got an empty text")
    check_unicode(text, f"{where}: --text")
    return Document("the text", text)
