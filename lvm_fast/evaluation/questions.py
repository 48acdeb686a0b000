"""Single questions of an evaluation, to be looked at: what was read, what was found, what was right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..retrieval.bank import VectorBank
from ..retrieval.chunk_texts import RowTexts
from .figures import CURVE_K, Chunk, Found, Question
from .predictions import mapped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.chain_store import ChainStore
    from .pools import Pool
    from .predictions import Answer

_CONTEXT = 5  # the last chunks read that are shown
_DEEPER = 4  # times as many candidates are asked for where too many were read


def look_at(
    pool: Pool,
    answers: Mapping[str, Answer],
    ranks: Mapping[str, NDArray[np.int64]],
    shown: Sequence[str],
    stores: Sequence[ChainStore],
    most: int,
    leaves_out: bool,
) -> list[Question]:
    """Write down what was asked and answered, of at most so many questions, spread evenly over all.

    Args:
        pool: The candidates and questions.
        answers: What all windows are answered, by predictor.
        ranks: The place of each question's target, 0 = best, (Q,) by predictor.
        shown: The predictors whose best candidates are told.
        stores: What the candidates are rows of: the scored store, then the distractors.
        most: How many questions.
        leaves_out: Whether candidates that a question has read are left out.
    """
    count = len(pool.queries)
    chosen = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))
    read = pool.read if leaves_out else None
    left_out = [np.empty(0, np.int64) if read is None else read.of(int(question)) for question in chosen]
    best = {}
    for name in shown:
        answer = answers[name]
        bank = pool.bank if answer.keys is None else VectorBank(mapped(answer.keys, pool.bank.vectors))
        best[name] = _best_candidates(bank, answer.query[pool.queries[chosen]], left_out)
    chunks = _Chunks(stores)
    rows = pool.rows
    questions = []
    for at, question in enumerate(chosen.tolist()):
        window = int(pool.queries[question])
        start, target = int(pool.windows.starts[window]), int(pool.windows.targets[window])
        right = int(pool.targets[question])
        questions.append(
            Question(
                context=[chunks.chunk(row) for row in range(max(start, target - _CONTEXT), target)],
                read=target - start,
                target=chunks.chunk(target),
                ranks={name: int(own[question]) + 1 for name, own in ranks.items()},
                best={
                    name: [
                        Found(score, chunks.candidate(int(rows[place])), place == right) for score, place in found[at]
                    ]
                    for name, found in best.items()
                },
            )
        )
    return questions


def _best_candidates(
    bank: VectorBank, vectors: NDArray[np.float32], left_out: Sequence[NDArray[np.int64]]
) -> list[list[tuple[float, int]]]:
    """Return the best candidates of each question, scores and places, without those left out."""
    found: list[list[tuple[float, int]]] = [[] for _ in left_out]
    waiting, depth = np.arange(len(left_out)), CURVE_K * _DEEPER
    while len(waiting):
        depth = min(depth, len(bank))
        scores, places = bank.topk(vectors[waiting], depth)
        for question, own_scores, own_places in zip(waiting.tolist(), scores, places, strict=True):
            kept = np.flatnonzero(~np.isin(own_places, left_out[question]))[:CURVE_K]
            found[question] = list(zip(own_scores[kept].tolist(), own_places[kept].tolist(), strict=True))
        waiting = waiting[[depth < len(bank) and len(found[question]) < CURVE_K for question in waiting.tolist()]]
        depth *= _DEEPER
    return found


class _Chunks:
    """The chunks of several stores, whose rows are counted on from one to the next."""

    def __init__(self, stores: Sequence[ChainStore]) -> None:
        self._parts = [RowTexts(store) for store in stores]
        self._firsts = np.cumsum([0, *(len(store.vectors) for store in stores)])
        self._known: dict[int, Chunk] = {}

    def candidate(self, row: int) -> Chunk | None:
        """Return a chunk; None for row -1, which is none of theirs."""
        return None if row < 0 else self.chunk(row)

    def chunk(self, row: int) -> Chunk:
        """Return a chunk."""
        if row not in self._known:
            part = int(np.searchsorted(self._firsts, row, side="right")) - 1
            own = row - int(self._firsts[part])
            place = self._parts[part].place(own)
            self._known[row] = Chunk(place.chain, place.position, self._parts[part].text(own))
        return self._known[row]
