"""What each question has read: earlier chunks of its own chain, which cannot come next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..data.given_windows import GivenWindows
from .intervals import clusters_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.windows import Windows
    from ..scoring import VectorBank

_BLOCK = 1 << 22  # rough scores held at a time (16 MB)


def knows_chains(windows: Windows) -> bool:
    """Whether the windows' chains are documents: those of a sequence file are guessed from windows that overlap."""
    return not (isinstance(windows, GivenWindows) and "sequences" in windows.store.metadata)


class ReadCandidates:
    """The candidates that each question has read: rows of its target's chain before the target, however far back.

    The pieces of a chain that was cut, which have one origin, are one chain in the order of the store.

    Attributes:
        counts: How many candidates each question has read, its target never among them, (Q,) int64.
    """

    def __init__(
        self,
        windows: Windows,
        queries: NDArray[np.int64],
        targets: NDArray[np.int64],
        places: NDArray[np.int64],
        rows: NDArray[np.int64],
    ) -> None:
        """Find them.

        Args:
            windows: The windows.
            queries: Those that are asked, indices (Q,).
            targets: The place of each one's target among the candidates, (Q,).
            places: Candidates that are rows of the windows' store, (K,).
            rows: Which rows they are, (K,); several may be one candidate.
        """
        store = windows.store
        wholes = clusters_of(store.origins, np.arange(len(store)))  # (C,)
        chains = wholes[store.chain_of(rows)]
        # a candidate that is several rows of a chain is read with the first of them
        order = np.lexsort((rows, places, chains))
        chains, places, rows = chains[order], places[order], rows[order]
        is_first = np.ones(len(order), bool)
        is_first[1:] = (chains[1:] != chains[:-1]) | (places[1:] != places[:-1])
        chains, places, rows = chains[is_first], places[is_first], rows[is_first]
        size, span = int(max(places.max(initial=0), targets.max())) + 1, len(store.vectors) + 1
        asked = windows.targets[queries]
        own = wholes[store.chain_of(asked)]
        found = np.searchsorted(chains * size + places, own * size + targets)  # where the target is a candidate
        first_rows = rows[np.minimum(found, len(rows) - 1)]

        order = np.argsort(chains * span + rows, kind="stable")
        keys = (chains * span + rows)[order]
        self._places, self._targets = places[order], targets
        self._firsts = np.searchsorted(keys, own * span)  # the read ones of a question: _places[first:stop]
        self._stops = np.searchsorted(keys, own * span + asked)
        self.counts = self._stops - self._firsts - (first_rows < asked)

    def ahead(self, bank: VectorBank, asked: NDArray[np.float32]) -> NDArray[np.int64]:
        """How many read candidates beat each question's target, by the bank's own scores and rule for equal ones.

        Args:
            bank: The candidates.
            asked: What the questions search with, (P, Q, D): by P predictors.

        Returns:
            (P, Q) int64.
        """
        ahead = np.zeros(asked.shape[:2], np.int64)
        reading = np.flatnonzero(self.counts)
        by_chain = reading[np.argsort(self._firsts[reading], kind="stable")]
        for chain in np.split(by_chain, np.flatnonzero(np.diff(self._firsts[by_chain])) + 1):
            if len(chain):
                places = self._places[self._firsts[chain[0]] : self._stops[chain].max()]
                rows = _unit(bank, bank.vectors[places])
                step = max(1, _BLOCK // len(places))
                for first in range(0, len(chain), step):
                    questions = chain[first : first + step]
                    for found, vectors in zip(ahead, asked, strict=True):
                        found[questions] = self._ahead(bank, places, rows, questions, vectors[questions])
        return ahead

    def _ahead(
        self,
        bank: VectorBank,
        places: NDArray[np.int64],
        rows: NDArray[np.float32],
        questions: NDArray[np.int64],
        vectors: NDArray[np.float32],
    ) -> NDArray[np.int64]:
        """One chain, one predictor: float32 settles what is clear, and the bank, whose scores are exact, the rest.

        Args:
            places: The chain's candidates, in reading order, (K,).
            rows: Their vectors (K, D).
            questions: (B,)
            vectors: What these search with (B, D).
        """
        targets = self._targets[questions]
        limits = bank.pair_scores(vectors, targets)  # (B,)
        unit = _unit(bank, vectors)
        with np.errstate(over="ignore", invalid="ignore"):
            leads = unit @ rows.T - limits[:, None]  # (B, K)
        read = np.arange(len(places)) < (self._stops - self._firsts)[questions][:, None]
        # the error of a product of D terms, with room for that of unit length
        margin = (rows.shape[1] + 16) * 2.0**-23 * np.linalg.norm(unit, axis=1)[:, None] * _longest(rows)
        ahead = np.count_nonzero(read & (leads > margin), axis=1)
        close, which = np.nonzero(read & ~(np.abs(leads) > margin))  # NaN, too
        if len(close):
            scores = bank.pair_scores(vectors[close], places[which])
            beats = (scores > limits[close]) | ((scores == limits[close]) & (places[which] < targets[close]))
            np.add.at(ahead, close[beats], 1)
        counted: NDArray[np.int64] = ahead.astype(np.int64)
        return counted


def _unit(bank: VectorBank, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors as the bank multiplies them, nearly."""
    if not bank.normalize:
        return vectors
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / lengths).astype(np.float32)
    return unit


def _longest(rows: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(rows, axis=1).max())
