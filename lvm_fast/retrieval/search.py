"""Exact search in a store: the chunks nearest to a vector, where they are and what they say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .._util.numbers import whole_number
from ..data.chain_store import ChainStore
from .bank import VectorBank
from .chunk_texts import ChunkTexts as ChunkTexts
from .chunk_texts import Place as Place
from .chunk_texts import RowTexts
from .near_duplicates import near_copies_in


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
        rows: Their places and texts.
    """

    def __init__(self, store: ChainStore, texts: ChunkTexts | None = None) -> None:
        """Pack the store; `texts` is where to look the chunks' texts up, beside the store's file unless given."""
        self.store = store
        self.bank = VectorBank(store.vectors, normalize=True)
        self.rows = RowTexts(store, texts)

    def alike(self, vectors: Any) -> list[list[int]]:
        """Return the rows that are near-copies (`ALIKE`) of each of some vectors (N, D)."""
        return [ids.tolist() for ids in near_copies_in(self.bank, vectors)]

    def nearest(
        self, queries: Any, k: int = 10, *, leave_out: Iterable[int] = (), fold_copies: bool = False
    ) -> list[list[Hit]]:
        """Return the k chunks nearest to each query, as `search` does, which says what the arguments are."""
        k = whole_number(k, "search: k", least=1)
        unwanted, size = set(leave_out), len(self.bank)
        depth = min(k + len(unwanted), size)
        while True:
            scores, rows = self.bank.topk(queries, depth)
            found = [
                self._hits([*zip(*nearest, strict=True)], k, unwanted, fold_copies)
                for nearest in zip(scores.tolist(), rows.tolist(), strict=True)
            ]
            if depth == size or all(len(hits) == k for hits in found):
                return found
            depth = min(4 * depth, size)  # copies took the places

    def _hits(self, nearest: Sequence[tuple[float, int]], k: int, unwanted: set[int], fold_copies: bool) -> list[Hit]:
        """Return the first k of the nearest chunks of a query, scores and rows, that are wanted."""
        wanted = [(score, row) for score, row in nearest if row not in unwanted]
        rows = [row for _, row in wanted]
        copies = self._leaders(rows, k) if fold_copies else {row: [] for row in rows[:k]}
        hits = []
        for score, row in wanted:
            if row in copies:
                place, others = self._place(row), sorted(set(copies[row]) - unwanted - {row})
                also_in = tuple(map(self._place, others))
                hits.append(Hit(score, row, place.chain, place.position, self.rows.text(row), also_in))
        return hits

    def _leaders(self, rows: Sequence[int], k: int) -> dict[int, list[int]]:
        """Return the first k rows that are no near-copy of one before, and all near-copies of each."""
        leaders: dict[int, list[int]] = {}
        covered: set[int] = set()
        waiting = list(rows)
        while waiting and len(leaders) < k:
            asked = waiting[: k - len(leaders)]  # not all: a phrase may stand in thousands of places
            for row, copies in zip(asked, self.alike(self.store.vectors[asked]), strict=True):
                if row not in covered:
                    leaders[row] = copies
                    covered.update(copies, [row])
            waiting = [row for row in waiting if row not in covered]
        return leaders

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

    Returns:
        B lists of at most k hits.

    Raises:
        ValueError: an argument that does not fit the store, or a query with NaN or Inf, or of zeros.
    """
    k = whole_number(k, "search: k", least=1)
    searched = ChunkSearch(store, texts)
    unwanted = set() if leave_out is None else {whole_number(leave_out, "search: leave_out", 0, len(store.vectors) - 1)}
    if unlike is not None:
        unwanted.update(*searched.alike(unlike))
    return searched.nearest(queries, k, leave_out=unwanted, fold_copies=fold_copies)
