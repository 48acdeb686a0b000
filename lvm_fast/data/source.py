"""Opens the store that a user names as data (`open_source`), and checks a place to write one (`check_store_path`)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .._util.atomic_files import check_not_an_input, check_output
from .chain_store import ChainStore
from .sample import sample
from .shards import is_sharded, shard_paths

SUFFIX = ".safetensors"
SEQUENCES = ".npz"
_TO_PREPARE = (SEQUENCES, ".npy", ".jsonl")


def open_source(source: Any, name: str) -> ChainStore:
    """Open a chain store and read every row once to check it; the sample needs no check.

    Args:
        source: A `ChainStore`, what `ChainStore.open` takes, or "sample" for the one of lvm-fast-sample.
        name: What messages call it, such as ``train: data``.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is no chain store, or a row is not finite or is zero.
    """
    if source == "sample":
        return sample()
    if isinstance(source, str | os.PathLike):
        if Path(source).suffix.lower() in _TO_PREPARE:
            raise ValueError(f"{name} = {str(source)!r} is no chain store; make one of it with `lvm-fast prepare`")
        source = ChainStore.open(source)
    if not isinstance(source, ChainStore):
        raise ValueError(f"{name} is a {type(source).__name__}; expected a ChainStore, its path, or 'sample'")
    source.check()
    return source


def files_of(source: Any) -> list[str | os.PathLike[str]]:
    """Return the files of what `open_source` takes, where it has some of its own: no command may write over them."""
    if isinstance(source, ChainStore):
        return [*source.vectors.shards] if source.vectors.path is None else [source.vectors.path]
    if not isinstance(source, str | os.PathLike) or source == "sample":
        return []
    return [*shard_paths(source)] if is_sharded(source) else [source]


def is_sequence_file(source: Any) -> bool:
    """Return whether a user names the reference's sequence file, whose windows train as they are."""
    return isinstance(source, str | os.PathLike) and Path(source).suffix.lower() == SEQUENCES


def chunks_path(store_path: str | os.PathLike[str]) -> Path:
    """Return the file with the texts of a store's chunks."""
    path = Path(store_path)
    return path.with_name(f"{path.stem}.chunks.jsonl.gz")


def check_store_path(
    path: str | os.PathLike[str], name: str, inputs: Iterable[str | os.PathLike[str]] = (), overwrite: bool = False
) -> None:
    """Raise ValueError unless a store's path ends in ``.safetensors``, and as `check_store_files` does."""
    given = tuple(inputs)
    check_not_an_input(path, name, given)
    if Path(path).suffix != SUFFIX:
        raise ValueError(f"{name} = {os.fspath(path)!r}; expected a name ending in {SUFFIX}")
    check_store_files(path, name, given, overwrite)


def check_store_files(
    path: str | os.PathLike[str], name: str, inputs: Iterable[str | os.PathLike[str]] = (), overwrite: bool = False
) -> None:
    """Refuse a place where a store cannot go, before the work that makes it; the texts of its chunks stand beside it.

    Args:
        path: Where the store is to go.
        name: What messages call it, such as ``prepare: output``.
        inputs: The files that it is made of.
        overwrite: Whether it may replace a store, and the texts beside it.

    Raises:
        ValueError: It or the texts are one of the inputs.
        FileExistsError: It is there, or texts of another store's chunks are, and `overwrite` is False.
        OSError: It cannot be written.
    """
    given = tuple(inputs)
    check_output(path, name, given, overwrite)
    check_output(chunks_path(path), f"{name}: the texts beside it", given, overwrite)
