"""Leaves out of each question's candidates the chunks its chain has said before, which cannot come next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.windows import Windows
    from ..retrieval.bank import VectorBank

_BLOCK = 1 << 22  # rough scores held at a time (32 MB)
_PAIRS = 1 << 14  # exact scores asked at a time


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
        wholes = store.documents_of(np.arange(len(store)))  # (C,)
        chains = wholes[store.chain_of(rows)]
        # a candidate that is several rows of a chain is read with the first of them
        order = np.lexsort((rows, places, chains))
        chains, places, rows = chains[order], places[order], rows[order]
        is_first = np.ones(len(order), bool)
        is_first[1:] = (chains[1:] != chains[:-1]) | (places[1:] != places[:-1])
        chains, places, rows = chains[is_first], places[is_first], rows[is_first]
        size, span = int(max(places.max(initial=0), targets.max())) + 1, len(store.vectors) + 1
        target_rows = windows.targets[queries]
        target_chains = wholes[store.chain_of(target_rows)]
        # where the target is a candidate
        target_places = np.searchsorted(chains * size + places, target_chains * size + targets)
        first_rows = rows[np.minimum(target_places, len(rows) - 1)]

        order = np.argsort(chains * span + rows, kind="stable")
        keys = (chains * span + rows)[order]
        self._places, self._targets = places[order], targets
        self._firsts = np.searchsorted(keys, target_chains * span)  # the read ones of a question: _places[first:stop]
        self._stops = np.searchsorted(keys, target_chains * span + target_rows)
        self.counts = self._stops - self._firsts - (first_rows < target_rows)

    def of(self, question: int) -> NDArray[np.int64]:
        """Return the candidates that a question has read, its target not among them."""
        places = self._places[self._firsts[question] : self._stops[question]]
        others: NDArray[np.int64] = places[places != self._targets[question]]
        return others

    def ahead(self, bank: VectorBank, query_vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Count the read candidates that beat each question's target, by the bank's scores and its rule for equal ones.

        Products in float32 settle what is clear; the bank, whose scores are exact, settles the rest.

        Args:
            bank: The candidates.
            query_vectors: What the questions search with, (P, Q, D): by P predictors.

        Returns:
            (P, Q) int64.
        """
        predictors, count, dim = query_vectors.shape
        vectors = query_vectors.reshape(-1, dim)  # (P * Q, D)
        targets = np.tile(self._targets, predictors)
        limits = bank.pair_scores(vectors, targets)
        ahead = np.zeros(len(vectors), np.int64)
        close = [np.zeros((2, 0), np.int64)]  # which of the vectors, which candidate
        for questions, places in self._chains():
            rows = _unit(bank, bank.vectors[places])
            for some in np.array_split(questions, -(-len(questions) * len(places) // _BLOCK)):
                read = np.arange(len(places)) < (self._stops - self._firsts)[some][:, None]
                for chosen in some + count * np.arange(predictors)[:, None]:
                    wins, open_ones = _compared(_unit(bank, vectors[chosen]), rows, limits[chosen], read)
                    ahead[chosen] = wins
                    close.append(np.stack((chosen[open_ones[0]], places[open_ones[1]])))
        which, places = np.concatenate(close, axis=1)
        for first in range(0, len(which), _PAIRS):
            one, other = which[first : first + _PAIRS], places[first : first + _PAIRS]
            scores = bank.pair_scores(vectors[one], other)
            beats = (scores > limits[one]) | ((scores == limits[one]) & (other < targets[one]))
            np.add.at(ahead, one[beats], 1)
        return ahead.reshape(predictors, count)

    def _chains(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Go through the chains: the questions that have read something, and the candidates that the last has read."""
        reading = np.flatnonzero(self.counts)
        by_chain = reading[np.argsort(self._firsts[reading], kind="stable")]
        for questions in np.split(by_chain, np.flatnonzero(np.diff(self._firsts[by_chain])) + 1):
            if len(questions):
                yield questions, self._places[self._firsts[questions[0]] : self._stops[questions].max()]


def _compared(
    vectors: NDArray[np.float32], rows: NDArray[np.float32], limits: NDArray[np.float64], read: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], tuple[NDArray[np.int64], ...]]:
    """Count the rows read that beat each limit for sure, by float32 products, and find those too close to tell.

    Args:
        vectors: (B, D)
        rows: (K, D)
        limits: (B,)
        read: (B, K)

    Returns:
        The counts (B,), and the places in (B, K) that exact scores have to settle.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        leads = vectors @ rows.T - limits[:, None]
        # the error of a product of D terms, with room for that of unit length
        lengths = np.linalg.norm(vectors, axis=1)[:, None] * np.linalg.norm(rows, axis=1).max()
        margin = (rows.shape[1] + 16) * 2.0**-23 * lengths
        is_close = read & ~(np.abs(leads) > margin)  # NaN, too
    return np.count_nonzero(read & (leads > margin), axis=1), np.nonzero(is_close)


def _unit(bank: VectorBank, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vectors as the bank multiplies them, nearly."""
    if not bank.normalize:
        return vectors
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / lengths).astype(np.float32)
    return unit
