"""Pools: the candidates that predictions are ranked against. A Hit@K means nothing without its pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..ops.rowwise import l2_normalize
from ..retrieval.bank import VectorBank
from .predictions import Answer, Keys, mapped
from .read_chunks import ReadCandidates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.chain_store import ChainStore
    from ..data.windows import Windows

_SAME = 1e-3  # how far from 1 the cosine of a vector with its own stored copy may be (i8 and f16 rounding stay below)


class Ranks(NamedTuple):
    """Rank of each query's target (0 = best), (Q,) by predictor.

    Attributes:
        with_read: Among all candidates.
        unread: Without those that the query has read, as `ReadCandidates` has them; where chains are not known, None.
    """

    with_read: dict[str, NDArray[np.int64]]
    unread: dict[str, NDArray[np.int64]] | None

    @property
    def headline(self) -> dict[str, NDArray[np.int64]]:
        """The unread ranks, where chains are known."""
        return self.with_read if self.unread is None else self.unread


Held = tuple["NDArray[np.int64]", "NDArray[np.int64]"]  # candidates that are rows of the store (K,), and which (K,)


@dataclass(frozen=True)
class Pool:
    """Candidates and the questions put to them.

    Attributes:
        windows: The windows that the questions are from.
        bank: The candidates; scores are cosines.
        queries: The windows asked, indices (Q,).
        targets: The place of each query's target in the bank, (Q,).
        description: What the candidates are, in words.
        holds_current: Share of queries whose current chunk is a candidate too; None where that is not known.
        find_rows: Says which candidates are rows of the windows' store.
        row_numbers: The row of each candidate, (N,), counted on from the store to the distractors; None where only
            `find_rows` tells.
    """

    windows: Windows
    bank: VectorBank
    queries: NDArray[np.int64]
    targets: NDArray[np.int64]
    description: str
    holds_current: float | None
    find_rows: Callable[[], Held]
    row_numbers: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.bank)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The row of each candidate, (N,), counted on from the store to the distractors; -1 for a row of neither."""
        if self.row_numbers is not None:
            return self.row_numbers
        places, rows = self.find_rows()
        numbers = np.full(len(self), -1, np.int64)
        numbers[places[::-1]] = rows[::-1]  # of several rows that are one candidate, the first
        return numbers

    @cached_property
    def read(self) -> ReadCandidates | None:
        """The candidates that each query has read; None where chains are not known."""
        if not self.windows.knows_chains:
            return None
        return ReadCandidates(self.windows, self.queries, self.targets, *self.find_rows())

    def ranks(self, predictors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.int64]]:
        """Rank of the target (0 = best, equal scores to the lower index) by predictor, in one pass over the bank.

        Args:
            predictors: Unit predictions of all W windows (W, D) by name.

        Returns:
            Ranks of the pool's own queries (Q,) by name.
        """
        vectors = np.stack([predicted[self.queries] for predicted in predictors.values()])  # (P, Q, D)
        return dict(zip(predictors, self._ranks(self.bank, vectors), strict=True))

    def both_ranks(self, answers: Mapping[str, Answer]) -> Ranks:
        """Rank of the target by predictor, with and without what each query has read.

        Args:
            answers: What all W windows are answered, by name.
        """
        with_read: dict[str, NDArray[np.int64]] = {}
        unread: dict[str, NDArray[np.int64]] = {}
        spaces: dict[Keys | None, list[str]] = {}
        for name, answer in answers.items():
            spaces.setdefault(answer.keys, []).append(name)
        for keys, names in spaces.items():
            bank = self.bank if keys is None else VectorBank(mapped(keys, self.bank.vectors))
            vectors = np.stack([answers[name].query[self.queries] for name in names])  # (P, Q, K)
            ranks = self._ranks(bank, vectors)
            with_read |= dict(zip(names, ranks, strict=True))
            if self.read is not None:
                unread |= dict(zip(names, ranks - self.read.ahead(bank, vectors), strict=True))
        in_order = {name: with_read[name] for name in answers}
        return Ranks(in_order, None if self.read is None else {name: unread[name] for name in answers})

    def _ranks(self, bank: VectorBank, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Rank the targets for P predictors, which search with vectors (P, Q, K): (P, Q)."""
        predictors = len(vectors)
        return bank.rank(vectors.reshape(-1, bank.dim), np.tile(self.targets, predictors)).reshape(predictors, -1)


class Candidates:
    """All rows a pool can be made of: those of the scored store, then those of the distractors, if any.

    Args:
        windows: The queries.
        distractors: More chains that lend their chunks.
        where: What messages begin with.
    """

    def __init__(self, windows: Windows, distractors: ChainStore | None = None, where: str = "evaluate") -> None:
        self._where = where
        self.windows = windows
        self.target_rows = np.unique(windows.targets)  # several windows may ask for one
        self.parts = [windows.store.vectors] + ([distractors.vectors] if distractors is not None else [])
        if distractors is not None and distractors.dim != windows.store.dim:
            raise ValueError(
                f"{where}: distractors have {distractors.dim} dimensions; expected {windows.store.dim}, like the store"
            )
        self._whose = "the store"
        if distractors is not None:
            self._whose += f" and of {'the training part' if _is_training(distractors) else 'the distractors'}"

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def targets(self) -> Pool:
        """Make a pool of the targets of all windows, each right for one query and wrong for all others."""
        return self._pool_of(self.target_rows, "the targets of the queries themselves")

    def all(self) -> Pool:
        """Make a pool of every row there is, the contexts' own chunks among them."""
        if len(self.parts) > 1:
            return self._pool_of(np.arange(len(self)), f"every chunk of {self._whose}")
        bank, rows = VectorBank(self.parts[0], normalize=True), np.arange(len(self))
        queries, description = np.arange(len(self.windows)), f"every chunk of {self._whose}"
        return Pool(self.windows, bank, queries, self.windows.targets, description, 1.0, lambda: (rows, rows))

    def sized(self, size: int, seed: int) -> Pool:
        """Make a pool of all targets and random other chunks; below the number of targets, of random queries only."""
        if not 1 <= size <= len(self):
            raise ValueError(f"{self._where}: pool = {size:,}; expected 1 to {len(self):,}, the chunks there are")
        rng = np.random.default_rng(seed)
        targets = self.target_rows
        if size <= len(targets):
            chosen = np.sort(rng.choice(targets, size, replace=False))
            queries = np.flatnonzero(np.isin(self.windows.targets, chosen))
            return self._pool_of(chosen, "the targets of randomly chosen queries", queries)
        others = np.setdiff1d(np.arange(len(self)), targets, assume_unique=True)
        rows = np.concatenate([targets, rng.choice(others, size - len(targets), replace=False)])
        return self._pool_of(np.sort(rows), f"the {len(targets):,} targets and random other chunks of {self._whose}")

    def _pool_of(self, rows: NDArray[np.int64], description: str, queries: NDArray[np.int64] | None = None) -> Pool:
        """Make a pool of sorted different rows, in store order: equal scores are settled alike in every pool."""
        queries = np.arange(len(self.windows)) if queries is None else queries
        targets = self.windows.targets[queries]
        holds_current = float(np.isin(targets - 1, rows).mean())
        bank = VectorBank(self._gather(rows), normalize=True)
        in_store = np.flatnonzero(rows < len(self.parts[0]))
        places = np.searchsorted(rows, targets)
        held = in_store, rows[in_store]
        return Pool(self.windows, bank, queries, places, description, holds_current, lambda: held, rows)

    def _gather(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        gathered, first = [], 0
        for part in self.parts:
            inside = rows[(rows >= first) & (rows < first + len(part))]
            gathered.append(part[inside - first])
            first += len(part)
        return gathered[0] if len(gathered) == 1 else np.concatenate(gathered)


def _is_training(store: ChainStore) -> bool:
    split = store.metadata.get("split")
    return isinstance(split, dict) and split.get("part") == "train"


def pool_of_bank(windows: Windows, bank: VectorBank, ids: NDArray[np.int64] | None = None) -> Pool:
    """Make a pool of a bank that the caller has made.

    Args:
        windows: The queries.
        bank: The candidates, of the store's dimension; unit rows, or a bank with ``normalize=True``.
        ids: The place in the bank of every row of the store, (T,); each target is looked up unless given.

    Raises:
        ValueError: If a target is not in the bank, or the shapes do not fit.
    """
    store = windows.store
    if bank.dim != store.dim:
        raise ValueError(f"evaluate: pool has {bank.dim} dimensions; expected {store.dim}, as in the store")
    description = "the given bank"
    queries = np.arange(len(windows))
    if ids is not None:
        ids = np.asarray(ids, np.int64)
        if ids.shape != (len(store.vectors),):
            raise ValueError(f"evaluate: pool_ids has shape {ids.shape}; expected ({len(store.vectors)},), one a row")
        places = ids[windows.targets]
        if places.min() < 0 or places.max() >= len(bank):
            raise ValueError(
                f"evaluate: pool_ids of the targets are {places.min()} to {places.max()}; expected 0 to {len(bank) - 1}"
            )
        return Pool(windows, bank, queries, places, description, None, lambda: _places_of(ids, len(bank)))
    scores, nearest = bank.topk(l2_normalize(store.vectors[windows.targets]), 1)
    missing = np.flatnonzero(np.abs(scores[:, 0] - 1.0) > _SAME)
    if len(missing):
        row = windows.targets[missing[0]]
        raise ValueError(
            f"evaluate: the pool does not hold the target at row {row} (best: {scores[missing[0], 0]:.4f}, not 1) "
            f"and {len(missing) - 1:,} more of {len(windows):,}; add them to the bank, or pass their places as pool_ids"
        )
    return Pool(windows, bank, queries, nearest[:, 0], description, None, lambda: _looked_up(windows, bank))


def _places_of(ids: NDArray[np.int64], size: int) -> Held:
    """Return the rows whose place is known; one outside the bank is that of a row that is no candidate."""
    rows = np.flatnonzero((ids >= 0) & (ids < size))
    return ids[rows], rows


def _looked_up(windows: Windows, bank: VectorBank) -> Held:
    """Look up the rows that the bank holds; equal rows get a candidate each, as far as there are some."""
    place_of_row = np.full(len(windows.store.vectors), -1, np.int64)
    for first, block in windows.store.vectors.blocks():
        unit = l2_normalize(block[:])
        scores, places = bank.topk(unit, 1)
        place_of_row[first : first + len(unit)] = np.where(np.abs(scores[:, 0] - 1.0) > _SAME, -1, places[:, 0])
    rows = np.flatnonzero(place_of_row >= 0)
    order = rows[np.argsort(place_of_row[rows], kind="stable")]
    for equal in np.split(order, np.flatnonzero(np.diff(place_of_row[order])) + 1):
        if len(equal) > 1:
            unit = l2_normalize(windows.store.vectors[equal[:1]])
            exact, best = bank.scored_band(unit, -np.inf, np.inf, len(equal))
            places = np.sort(best[0, exact[0] == exact[0, 0]])
            place_of_row[equal] = np.append(places, np.full(len(equal), -1))[: len(equal)]
    return _places_of(place_of_row, len(bank))
