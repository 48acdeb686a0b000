"""Exact search in a store: the chunks nearest to a vector, where they are and what they say."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._util.numbers import whole_number
from ..data.chain_store import ChainStore
from ..data.documents import read_documents
from ..data.source import chunks_path
from .bank import VectorBank
from .near_duplicates import near_copies_in


@dataclass(frozen=True)
class Place:
    """The place of a chunk.

    Attributes:
        chunk: its row in the store.
        chain: the id of its chain.
        position: its place in the chain, from 0.
    """

    chunk: int
    chain: str
    position: int


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


class ChunkTexts:
    """The texts of a store's chunks, from the JSON lines {"id", "chunks"} that `lvm-fast encode` writes beside it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read a `.jsonl` or `.jsonl.gz` file.

        Raises:
            OSError: the file cannot be opened.
            ValueError: it is damaged, or holds no such lines.
        """
        self.path = Path(path)
        self._chunks: Mapping[str, Sequence[str]] = {record.id: record.chunks for record in read_documents([path])}

    @classmethod
    def beside(cls, store_path: str | os.PathLike[str]) -> ChunkTexts | None:
        """Return the texts that `lvm-fast encode` wrote beside a store; None where there are none."""
        path = chunks_path(store_path)
        return cls(path) if path.exists() else None

    def text(self, store: ChainStore, chain: int, position: int) -> str:
        """Return the text of a chunk.

        Raises:
            ValueError: the file lacks the chain, or has another number of chunks for it than the store.
        """
        name, expected = store.ids[chain], int(store.lengths[chain])
        chunks = len(self._chunks.get(name, ()))
        if chunks != expected:
            raise ValueError(f"{self.path}: {chunks} chunks for chain {name!r}; expected {expected}, as in the store")
        return self._chunks[name][position]


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
        texts: Where to look the chunks' texts up.
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
    bank = VectorBank(store.vectors, normalize=True)
    searched = bank if keys is None else keys
    if len(searched) != len(bank):
        raise ValueError(f"search: keys: {len(searched)} rows; expected {len(bank)}, one for each chunk of the store")
    unwanted = set() if leave_out is None else {whole_number(leave_out, "search: leave_out", 0, len(bank) - 1)}
    if unlike is not None:
        unwanted.update(*(ids.tolist() for ids in near_copies_in(bank, unlike)))
    depth = min(k + len(unwanted), len(bank))
    while True:
        scores, rows = searched.topk(queries, depth)
        hits_of_each = [
            _hits(store, bank, [*zip(*nearest, strict=True)], k, unwanted, texts, fold_copies)
            for nearest in zip(scores.tolist(), rows.tolist(), strict=True)
        ]
        if depth == len(bank) or all(len(hits) == k for hits in hits_of_each):
            return hits_of_each
        depth = min(4 * depth, len(bank))  # copies took the places


def _hits(
    store: ChainStore,
    bank: VectorBank,
    nearest: Sequence[tuple[float, int]],
    k: int,
    unwanted: set[int],
    texts: ChunkTexts | None,
    fold_copies: bool,
) -> list[Hit]:
    """Return the first k of the nearest chunks of a query, scores and rows, that are wanted."""
    wanted = [(score, row) for score, row in nearest if row not in unwanted]
    copies = _leaders(store, bank, [row for _, row in wanted], k) if fold_copies else {row: [] for _, row in wanted[:k]}
    hits = []
    for score, row in wanted:
        if row in copies:
            chain, position = _place(store, row)
            text = texts.text(store, chain, position) if texts else None
            others = sorted(set(copies[row]) - unwanted - {row})
            also_in = tuple(
                Place(other, store.ids[at], place) for other in others for at, place in [_place(store, other)]
            )
            hits.append(Hit(score, row, store.ids[chain], position, text, also_in))
    return hits


def _leaders(store: ChainStore, bank: VectorBank, rows: Sequence[int], k: int) -> dict[int, list[int]]:
    """Return the first k rows that are no near-copy of one before, and all near-copies of each."""
    leaders: dict[int, list[int]] = {}
    covered: set[int] = set()
    waiting = list(rows)
    while waiting and len(leaders) < k:
        asked = waiting[: k - len(leaders)]  # not all: a phrase may stand in thousands of places
        for row, copies in zip(asked, near_copies_in(bank, store.vectors[asked]), strict=True):
            if row not in covered:
                leaders[row] = copies.tolist()
                covered.update(leaders[row], [row])
        waiting = [row for row in waiting if row not in covered]
    return leaders


def _place(store: ChainStore, row: int) -> tuple[int, int]:
    """Return the chain of a row, and its position there."""
    chain = int(store.chain_of(row))
    return chain, row - int(store.offsets[chain])
