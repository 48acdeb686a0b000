"""Exact search in a store: the chunks nearest to a vector, where they are and what they say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._util.numbers import whole_number
from ..data.chain_store import ChainStore
from ..data.number_formats import Int64
from ..ops.rows import is_tensor
from .bank import VectorBank
from .checked_input import array_of
from .chunk_texts import ChunkTexts as ChunkTexts
from .chunk_texts import Place as Place
from .chunk_texts import RowTexts
from .near_duplicates import ALIKE, near_copies_in

_DEEPER = 4  # times as many candidates are asked for as are wanted, where some may not be
_BLOCK = 64  # candidates that are looked at together

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Hit:
    """A chunk that was found.

    Attributes:
        score: its cosine with the query.
        chunk: its row in the store.
        chain: the id of its chain.
        position: its place in the chain, from 0.
        text: what it says, where that is known.
        also_in: where else the same is said, in the order of the store, if near-copies were folded.
    """

    score: float
    chunk: int
    chain: str
    position: int
    text: str | None = None
    also_in: tuple[Place, ...] = ()


class ChunkSearch:
    """Searches one store many times: the candidates are packed once.

    Attributes:
        store: T chunks.
        bank: Their rows, compared by cosine.
        searched: What queries are compared with: the bank, or other keys of the same chunks.
        rows: Their places and texts.
    """

    def __init__(self, store: ChainStore, texts: ChunkTexts | None = None, keys: VectorBank | None = None) -> None:
        """Pack the store.

        Args:
            store: The chunks.
            texts: Where to look their texts up, beside the store's file unless given.
            keys: What a model's queries are compared with (`model.bank`); the chunks' own vectors unless given.
        """
        self.store = store
        self.bank = VectorBank(store.vectors, normalize=True)
        self.searched = self.bank if keys is None else keys
        if len(self.searched) != len(self.bank):
            raise ValueError(
                f"search: keys: {len(self.searched)} rows; expected {len(self.bank)}, one for each chunk of the store"
            )
        self.rows = RowTexts(store, texts)

    def nearest(
        self,
        queries: Any,
        k: int = 10,
        *,
        leave_out: Iterable[int] = (),
        unlike: Any = None,
        fold_copies: bool = False,
        find_copies: bool = True,
        among_vectors: bool = False,
    ) -> list[list[Hit]]:
        """Return the k chunks nearest to each query, as `search` does, which says what the arguments are.

        With `fold_copies`, `find_copies=False` saves a pass over the candidates and leaves `also_in` empty.
        `among_vectors` compares with the chunks' own vectors where there are other keys.
        """
        k = whole_number(k, "search: k", least=1)
        left_out, size = set(leave_out), len(self.bank)
        never = None if unlike is None else _never_wanted(unlike, self.bank.dim)
        searched = self.bank if among_vectors else self.searched
        depth = min(_DEEPER * k + len(left_out), size)
        while True:
            scores, rows = searched.topk(queries, depth)
            chosen = [self._wanted(own, k, left_out, never, fold_copies) for own in rows]
            if depth == size or all(len(places) == k for places in chosen):
                break
            depth = min(_DEEPER * depth, size)  # copies took the places
        found = [
            [(float(own_scores[place]), int(own_rows[place])) for place in places]
            for own_scores, own_rows, places in zip(scores, rows, chosen, strict=True)
        ]
        copies = (
            self._copies([row for hits in found for _, row in hits], left_out, never)
            if fold_copies and find_copies
            else {}
        )
        return [[self._hit(score, row, copies.get(row, [])) for score, row in hits] for hits in found]

    def _wanted(self, rows: Int64, k: int, left_out: set[int], never: Float64 | None, fold_copies: bool) -> list[int]:
        """Return the places of the first k rows that are wanted; when folding, none is a near-copy of one before."""
        kept: list[int] = []
        for first in range(0, len(rows), _BLOCK):
            block = rows[first : first + _BLOCK]
            vectors = _unit(self.store.vectors[block]) if fold_copies or never is not None else None
            allowed = np.array([row not in left_out for row in block.tolist()])
            if vectors is not None and never is not None:
                allowed &= (vectors @ never.T).max(axis=1) < ALIKE
            for at in np.flatnonzero(allowed).tolist():
                if vectors is not None and fold_copies:
                    leaders = _unit(self.store.vectors[rows[kept]]) if kept else vectors[:0]
                    if (leaders @ vectors[at]).max(initial=-1.0) >= ALIKE:
                        continue
                kept.append(first + at)
                if len(kept) == k:
                    return kept
        return kept

    def _copies(self, rows: list[int], left_out: set[int], never: Float64 | None) -> dict[int, list[int]]:
        """Return all near-copies of each row that are wanted, in the order of the store."""
        copies: dict[int, list[int]] = {}
        for row, ids in zip(rows, near_copies_in(self.bank, self.store.vectors[rows]) if rows else [], strict=True):
            others = np.array(sorted(set(ids.tolist()) - left_out - {row}), np.int64)
            if never is not None and len(others):
                others = others[(_unit(self.store.vectors[others]) @ never.T).max(axis=1) < ALIKE]
            copies[row] = others.tolist()
        return copies

    def _hit(self, score: float, row: int, copies: list[int]) -> Hit:
        place = self._place(row)
        return Hit(score, row, place.chain, place.position, self.rows.text(row), tuple(map(self._place, copies)))

    def _place(self, row: int) -> Place:
        chain = int(self.store.chain_of(row))
        return Place(row, self.store.ids[chain], row - int(self.store.offsets[chain]))


def search(
    store: ChainStore,
    queries: Any,
    k: int = 10,
    *,
    texts: ChunkTexts | None = None,
    leave_out: int | None = None,
    unlike: Any = None,
    fold_copies: bool = False,
    keys: VectorBank | None = None,
) -> list[list[Hit]]:
    """Return the k chunks nearest to each query by cosine, best first, equal scores to the lower row; exact.

    Args:
        store: T chunks.
        queries: (B, D) float32, float16 or bfloat16 rows, none of them zero.
        k: At least 1; beyond T it means T.
        texts: Where to look the chunks' texts up; beside the store's file unless given.
        leave_out: A row never wanted, such as the chunk that is the query.
        unlike: Vectors (N, D) never wanted, nor near-copies of them (`ALIKE`), such as those that a prediction follows.
        fold_copies: Of chunks that are near-copies of each other give the nearest alone, and say where the others are:
            k hits that differ.
        keys: What a model's queries (B, K) are compared with, a row for each chunk (``model.bank(store)``); the chunks'
            vectors unless given.

    Returns:
        B lists of at most k hits; their scores are inner products of query and key.

    Raises:
        ValueError: an argument that does not fit the store, or a query with NaN or Inf, or of zeros.
    """
    k = whole_number(k, "search: k", least=1)
    unwanted = [] if leave_out is None else [whole_number(leave_out, "search: leave_out", 0, len(store.vectors) - 1)]
    searched = ChunkSearch(store, texts, keys)
    return searched.nearest(queries, k, leave_out=unwanted, unlike=unlike, fold_copies=fold_copies)


def _never_wanted(vectors: Any, dim: int) -> Float64:
    array = array_of(vectors, "search: unlike")
    rows = np.asarray(array.double() if is_tensor(array) else array, np.float64)
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise ValueError(f"search: unlike: expected shape (N, {dim}), got {rows.shape}")
    if not (np.isfinite(rows).all() and rows.any(axis=1).all()):
        raise ValueError("search: unlike: holds NaN, infinity or a row of zeros; expected directions")
    return _unit(rows)


def _unit(vectors: Any) -> Float64:
    rows = np.asarray(vectors, np.float64)
    units: Float64 = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return units
