"""Negatives that a user supplies as vectors: JSON lines, one a chunk (the CPESH form)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...data.jsonl import read_jsonl
from ...data.quantize import Float32, check_rows
from ...data.split import ALIKE
from ...data.store import ChainStore
from ...kernels import l2_normalize
from ..data import TrainingData
from ..recipe import Recipe
from .own import OwnNegatives


class VectorsFile(OwnNegatives):
    """What the lines ``{"id": chain, "chunk": place, "soft": [[...], ...], "hard": [[...], ...]}`` hold.

    "id" is a chain of the data and "chunk" a place in it, from 0: the wrong answers are those to this chunk as the
    right one. "soft" and "hard" are lists of vectors of the data's width, of any length above zero; one of them may be
    left out, and other keys (the texts, say) are not read. Lines of held-out chains are checked and left out.

    Raises:
        ValueError: A line that cannot be so, by number; or there is no negative of a kind asked for.
    """

    def __init__(self, recipe: Recipe, data: TrainingData) -> None:
        super().__init__(recipe, data)
        self._whole, self._chains = data.whole, {name: chain for chain, name in enumerate(data.whole.ids)}
        training = {name: chain for chain, name in enumerate(self.store.ids)}
        seen: dict[tuple[str, int], str] = {}
        blocks: list[Float32] = []
        held = 0
        for place, record in read_jsonl(recipe.negatives):
            name, chunk, vectors = record["id"], *self._read(record, place)
            if (first := seen.setdefault((name, chunk), place)) != place:
                raise ValueError(f"{place}: chunk {chunk} of chain {name!r} again; it was in {first}")
            if name not in training:
                continue
            row = int(self.store.offsets[training[name]]) + chunk
            for kind in self.kinds:
                block = vectors.get(kind.name, np.empty((0, self.store.dim), np.float32))[: recipe.negatives_limit]
                self.tables[kind.name][row, : len(block)] = np.arange(held, held + len(block))
                blocks.append(block)
                held += len(block)
        for kind in self.kinds:
            if (self.tables[kind.name] < 0).all():
                raise ValueError(f'{recipe.negatives}: no "{kind.name}" negatives of a training chunk')
        self.vectors = np.concatenate(blocks)

    def _read(self, record: dict[str, Any], place: str) -> tuple[int, dict[str, Float32]]:
        """The chunk's place in its chain, and its vectors by kind; checked."""
        if record["id"] not in self._chains:
            raise ValueError(f'{place}: "id" is {record["id"]!r}; expected a chain of the data')
        chain = self._chains[record["id"]]
        chunk, length = record.get("chunk"), int(self._whole.lengths[chain])
        if not isinstance(chunk, int) or isinstance(chunk, bool) or not 0 <= chunk < length:
            raise ValueError(f'{place}: "chunk" is {chunk!r}; expected a whole number from 0 to {length - 1}')
        kinds = [kind for kind in ("soft", "hard") if kind in record]
        if not kinds:
            raise ValueError(f'{place}: neither "soft" nor "hard" negatives; expected lists of vectors')
        vectors: dict[str, Float32] = {
            kind: _vectors(record[kind], f'{place}: "{kind}"', self._whole.dim) for kind in kinds
        }
        for kind, rows in vectors.items():
            _check_others(rows, self._whole, int(self._whole.offsets[chain]), chunk, f'{place}: "{kind}"')
        return chunk, vectors


def _vectors(lists: Any, where: str, dim: int) -> Float32:
    try:
        with np.errstate(over="ignore"):  # becomes Inf, which check_rows reports
            rows = np.asarray(lists, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where} is not a list of equally long lists of numbers") from error
    if rows.size == 0:
        return np.empty((0, dim), np.float32)
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise ValueError(f"{where} has shape {rows.shape}; expected vectors of {dim} numbers")
    check_rows(rows, where)
    return rows


def _check_others(rows: Float32, store: ChainStore, start: int, chunk: int, where: str) -> None:
    """Refuse the right answer itself, the chunk before it, and near-copies of them."""
    taken = {"the chunk itself": chunk} | ({"the chunk before it": chunk - 1} if chunk else {})
    for words, place in taken.items():
        near = l2_normalize(rows) @ l2_normalize(store.vectors[start + place]) >= ALIKE
        if near.any():
            raise ValueError(f"{where}: vector {int(near.argmax())} points at {words}; expected wrong answers")
