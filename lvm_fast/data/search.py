"""Exact search in a store: the chunks nearest to a vector, where they are and what they say."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..scoring import VectorBank
from .documents import read_documents
from .near_copies import near_copies_in
from .source import chunks_path
from .store import ChainStore


@dataclass(frozen=True)
class Hit:
    """A chunk that was found.

    Attributes:
        score: its cosine with the query.
        chunk: its row in the store.
        chain: the id of its chain.
        position: its place in the chain, from 0.
        text: what it says, where that is known.
    """

    score: float
    chunk: int
    chain: str
    position: int
    text: str | None = None


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
        """The texts that `lvm-fast encode` wrote beside a store; None where there are none."""
        path = chunks_path(store_path)
        return cls(path) if path.exists() else None

    def text(self, store: ChainStore, chain: int, position: int) -> str:
        """What a chunk says.

        Raises:
            ValueError: the file lacks the chain, or has another number of chunks for it than the store.
        """
        name, expected = store.ids[chain], int(store.lengths[chain])
        found = len(self._chunks.get(name, ()))
        if found != expected:
            raise ValueError(f"{self.path}: {found} chunks for chain {name!r}; expected {expected}, as in the store")
        return self._chunks[name][position]


def search(
    store: ChainStore,
    queries: Any,
    k: int = 10,
    *,
    texts: ChunkTexts | None = None,
    leave_out: int | None = None,
    unlike: Any = None,
) -> list[list[Hit]]:
    """The k chunks nearest to each query by cosine, best first, equal scores to the lower row; exact.

    Args:
        store: T chunks.
        queries: (B, D) float32, float16 or bfloat16 rows, none of them zero.
        k: At least 1; beyond T it means T.
        texts: Where to look the chunks' texts up.
        leave_out: A row never wanted, such as the chunk that is the query.
        unlike: Vectors (N, D) never wanted, nor near-copies of them (`ALIKE`), such as those that a prediction follows.

    Returns:
        B lists of at most k hits.

    Raises:
        ValueError: an argument that does not fit the store, or a query with NaN or Inf, or of zeros.
    """
    if not isinstance(k, int) or k < 1:
        raise ValueError(f"search: k = {k!r}; expected a whole number of at least 1")
    bank = VectorBank(store.vectors, normalize=True)
    unwanted = set() if leave_out is None else {leave_out}
    if unlike is not None:
        unwanted.update(*(ids.tolist() for ids in near_copies_in(bank, unlike)))
    scores, rows = bank.topk(queries, min(k + len(unwanted), len(bank)))
    chains = store.chain_of(rows)
    positions = rows - store.offsets[chains]
    found = []
    for query in zip(scores.tolist(), rows.tolist(), chains.tolist(), positions.tolist(), strict=True):
        hits = [
            Hit(score, row, store.ids[chain], place, texts.text(store, chain, place) if texts else None)
            for score, row, chain, place in zip(*query, strict=True)
            if row not in unwanted
        ]
        found.append(hits[:k])
    return found
