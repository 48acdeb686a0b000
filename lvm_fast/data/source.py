"""What a user names as data: a store to read (`open_source`), and a place to write one (`check_store_path`)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..files import check_writable
from .sample import sample
from .store import ChainStore

SUFFIX = ".safetensors"
SEQUENCES = ".npz"
_TO_PREPARE = (SEQUENCES, ".npy", ".jsonl")


def open_source(source: Any, name: str) -> ChainStore:
    """Open a chain store and read every row once to check it; the bundled sample needs no check.

    Args:
        source: A `ChainStore`, the path of one, or "sample" for the bundled one.
        name: What messages call it, such as ``train: data``.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is no chain store, or a row is not finite or is zero.
    """
    if source == "sample":
        return sample()
    if isinstance(source, str | os.PathLike):
        if Path(source).suffix in _TO_PREPARE:
            raise ValueError(f"{name} = {str(source)!r} is no chain store; make one of it with `lvm-fast prepare`")
        source = ChainStore.open(source)
    if not isinstance(source, ChainStore):
        raise ValueError(f"{name} is a {type(source).__name__}; expected a ChainStore, its path, or 'sample'")
    source.check()
    return source


def is_sequence_file(source: Any) -> bool:
    """Whether a user names the reference's sequence file, whose windows train as they are."""
    return isinstance(source, str | os.PathLike) and Path(source).suffix == SEQUENCES


def check_store_path(path: str | os.PathLike[str], name: str, inputs: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Refuse a place where a store cannot go, before the work that makes it.

    Args:
        path: Where the store is to go.
        name: What messages call it, such as ``prepare: output``.
        inputs: The files that it is made of.

    Raises:
        ValueError: It does not end in ``.safetensors``, or is one of the inputs.
        OSError: It cannot be written.
    """
    if any(os.path.realpath(path) == os.path.realpath(source) for source in inputs):
        raise ValueError(f"{name} = {os.fspath(path)!r} is an input too; expected another file")
    if Path(path).suffix != SUFFIX:
        raise ValueError(f"{name} = {os.fspath(path)!r}; expected a name ending in {SUFFIX}")
    check_writable(path)
