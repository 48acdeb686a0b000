"""A store in several files: a folder, or a pattern such as `part-*.safetensors`, that opens as one `ChainStore`."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .number_formats import Int64
from .vectors import Vectors, join_vectors

_SUFFIX = ".safetensors"


def is_sharded(path: str | os.PathLike[str]) -> bool:
    """Return whether a path names several files: a folder, or a pattern that is not itself the name of a file."""
    return os.path.isdir(path) or (not os.path.exists(path) and glob.has_magic(os.fspath(path)))


def shard_paths(path: str | os.PathLike[str]) -> list[Path]:
    """Return the files of a store in several files, in name order; of any other store its own path.

    Raises:
        FileNotFoundError: there is none.
    """
    if not is_sharded(path):
        return [Path(path)]
    if os.path.isdir(path):
        found = [item for item in Path(path).iterdir() if item.suffix == _SUFFIX and not item.name.startswith(".")]
    else:
        found = [Path(name) for name in glob.glob(os.fspath(path), recursive=True)]
    if not found:
        raise FileNotFoundError(2, f"no {_SUFFIX} file there", os.fspath(path))
    return sorted(found)


class Part(Protocol):
    """What is read of a file: `ChainStore`."""

    vectors: Vectors
    offsets: Int64
    ids: list[str]
    origins: list[str]
    metadata: dict[str, Any]


def joined_parts(paths: Sequence[Path], parts: Sequence[Part]) -> dict[str, Any]:
    """Return what `ChainStore` takes for the chains of several files, one file after the other; no row is read.

    Where two files have a chain of the same id, every chain is called `<file name without suffix>/<id>`. Of the
    metadata, those that all files share are kept.

    Raises:
        ValueError: a file has another width, number format or encoder than the first.
    """
    for path, part in zip(paths, parts, strict=True):
        _check_alike(path, part, paths[0], parts[0])
    firsts = np.cumsum([0, *(len(part.vectors) for part in parts)])
    offsets = [part.offsets[:-1] + first for part, first in zip(parts, firsts.tolist(), strict=False)]
    stems = [path.stem for path in paths]
    is_plain = len({chain for part in parts for chain in part.ids}) == sum(len(part.ids) for part in parts)
    return {
        "vectors": join_vectors(paths, [part.vectors for part in parts]),
        "offsets": np.concatenate([*offsets, firsts[-1:]]),
        "ids": shard_names(stems, [part.ids for part in parts], is_plain),
        "metadata": _shared([part.metadata for part in parts]),
        "origins": shard_names(stems, [part.origins for part in parts], is_plain),
        "where": f"ChainStore.open: {paths[0].parent}",
    }


def shard_names(stems: Sequence[str], names: Sequence[Sequence[str]], is_plain: bool) -> list[str]:
    """Return the names of all files' chains: their own where `is_plain`, else each with its file's name before it."""
    prefixes = ["" if is_plain else f"{stem}/" for stem in stems]
    return [f"{prefix}{name}" for prefix, own in zip(prefixes, names, strict=True) for name in own]


def _check_alike(path: Path, part: Part, first_path: Path, first: Part) -> None:
    for what, has, expected in (
        ("dimensions", part.vectors.shape[1], first.vectors.shape[1]),
        ("number format", part.vectors.dtype_name, first.vectors.dtype_name),
        ("encoder", part.metadata.get("encoder"), first.metadata.get("encoder")),
    ):
        if has != expected:
            raise ValueError(f"ChainStore.open: {path}: {what} {has!r}; expected {expected!r}, as in {first_path}")


def _shared(metadata: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first, *others = metadata
    return {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}
