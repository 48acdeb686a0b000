"""`open_source`: what a user may name as data -> a checked `ChainStore`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .sample import sample
from .store import ChainStore

_TO_PREPARE = (".npz", ".npy", ".jsonl")


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
