"""The file that mining writes, read back and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._util.strict_json import read_json
from ..data.chain_store import ChainStore
from ..data.number_formats import Float32, Int64
from ..data.safetensors_file import Tensor, read_tensors

FORMAT = {"format": "lvm_fast.MinedNegatives", "version": "1"}
_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True, eq=False)
class MinedNegatives:
    """Hard negatives of T chunks, memory-mapped; `lvm_fast.mine` makes them. Pickled, they are the path of their file.

    Attributes:
        ids: (T, limit) int64: rows of the store, best first, padded with -1.
        scores: (T, limit) float32: their cosines with the chunk, padded with -infinity.
        settings: the keyword arguments of `mine` they were mined with.
        store_fingerprint: `ChainStore.fingerprint()` of the store they were mined from.
    """

    ids: Int64
    scores: Float32
    settings: dict[str, Any]
    store_fingerprint: str
    _path: str | None = field(default=None, repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str], store: ChainStore | None = None) -> MinedNegatives:
        """Map a file of mined negatives, and read it once to check it.

        Args:
            path: What `mine` wrote.
            store: The store they are meant for, to check that they were mined from these rows.

        Raises:
            OSError: the file cannot be opened.
            ValueError: it is truncated, holds something else, a row's ids or scores cannot be, or it belongs to another
                store.
        """
        where = f"MinedNegatives.open: {os.fspath(path)}"
        mined = _map(path, where)
        for first in range(0, len(mined), _BLOCK_ROWS):
            rows = slice(first, first + _BLOCK_ROWS)
            _check_rows(mined.ids[rows], mined.scores[rows], first, len(mined), where)
        if store is not None:
            mined._check_store(store, where)
        return mined

    def __reduce__(self) -> tuple[Any, ...]:
        if self._path is None:
            return MinedNegatives, (self.ids, self.scores, self.settings, self.store_fingerprint)
        return _map_again, (self._path, self.ids.shape, self.settings, self.store_fingerprint)

    def __deepcopy__(self, memo: dict[int, Any]) -> MinedNegatives:
        ids, scores = (self.ids, self.scores) if self._path else (self.ids.copy(), self.scores.copy())
        return MinedNegatives(ids, scores, deepcopy(self.settings, memo), self.store_fingerprint, self._path)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"MinedNegatives({self.ids.shape[0]} chunks, up to {self.ids.shape[1]} each)"

    def _check_store(self, store: ChainStore, where: str) -> None:
        if len(store.vectors) != len(self):
            raise ValueError(f"{where}: mined from {len(self)} rows; expected {len(store.vectors)}, as the store has")
        if store.fingerprint() != self.store_fingerprint:
            raise ValueError(f"{where}: mined from another store (its fingerprint differs); mine this one")


def _map(path: str | os.PathLike[str], where: str) -> MinedNegatives:
    """Return the file, but for what its rows hold."""
    try:
        tensors, metadata = read_tensors(path)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not FORMAT.items() <= metadata.items():
        raise ValueError(f"{where}: expected negatives that `lvm-fast mine` wrote, found metadata {metadata}")
    ids, scores = _matrix(tensors, "ids", "I64", where), _matrix(tensors, "scores", "F32", where)
    if ids.shape != scores.shape:
        raise ValueError(f"{where}: ids has shape {ids.shape}, scores {scores.shape}; expected the same")
    settings = _settings(metadata, where)
    return MinedNegatives(ids, scores, settings, metadata.get("store", ""), os.path.abspath(path))


def _map_again(path: str, shape: tuple[int, int], settings: dict[str, Any], fingerprint: str) -> MinedNegatives:
    """Return the negatives of a file as they were when they were pickled, and checked then."""
    mined = _map(path, f"MinedNegatives: {path}")
    if (mined.ids.shape, mined.settings, mined.store_fingerprint) != (shape, settings, fingerprint):
        raise ValueError(f"MinedNegatives: {path} holds other negatives than when this was pickled")
    return mined


def _matrix(tensors: Mapping[str, Tensor], name: str, code: str, where: str) -> Any:
    if name not in tensors or tensors[name].code != code or tensors[name].values.ndim != 2:
        raise ValueError(f"{where}: expected a tensor '{name}' (T, limit) of dtype {code}")
    return tensors[name].values


def _settings(metadata: Mapping[str, str], where: str) -> dict[str, Any]:
    try:
        settings = read_json(metadata.get("settings", ""))
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise ValueError(f"{where}: expected the settings as a JSON object in the metadata")
    return settings


def _check_rows(ids: Int64, scores: Float32, first: int, total: int, where: str) -> None:
    """Raise for the first row whose ids are not rows of the store or whose scores are not in order."""
    rows = np.arange(first, first + len(ids))[:, None]
    filled = ids >= 0
    good = np.where(filled, (ids < total) & (ids != rows) & np.isfinite(scores), (ids == -1) & (scores == -np.inf))
    good[:, 1:] &= scores[:, :-1] >= scores[:, 1:]
    bad = np.flatnonzero(~good.all(axis=1))
    if len(bad):
        raise ValueError(
            f"{where}: row {first + bad[0]}: ids {ids[bad[0]].tolist()}, scores {scores[bad[0]].tolist()}; expected "
            f"other rows below {total}, best first, padded with -1 and -inf"
        )
