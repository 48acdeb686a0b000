"""Which candidates a prediction is ranked against. A Hit@K means nothing without its pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..kernels import l2_normalize
from ..scoring import VectorBank

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.store import ChainStore
    from ..data.windows import Windows

_SAME = 1e-3  # how far from 1 the cosine of a vector with its own stored copy may be (i8 and f16 rounding stay below)


@dataclass(frozen=True)
class Pool:
    """Candidates and the questions put to them.

    Attributes:
        bank: The candidates; scores are cosines.
        queries: The windows asked, indices (Q,).
        targets: The place of each query's target in the bank, (Q,).
        words: What the candidates are, in words.
        holds_current: Share of queries whose current chunk is a candidate too; None where that is not known.
    """

    bank: VectorBank
    queries: NDArray[np.int64]
    targets: NDArray[np.int64]
    words: str
    holds_current: float | None

    def __len__(self) -> int:
        return len(self.bank)

    def ranks(self, predictors: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.int64]]:
        """Rank of the target (0 = best, equal scores to the lower index) by predictor, in one pass over the bank.

        Args:
            predictors: Unit predictions of all W windows (W, D) by name.

        Returns:
            Ranks of the pool's own queries (Q,) by name.
        """
        asked = np.concatenate([vectors[self.queries] for vectors in predictors.values()])  # (P * Q, D)
        ranks = self.bank.rank(asked, np.tile(self.targets, len(predictors)))
        return dict(zip(predictors, np.split(ranks, len(predictors)), strict=True))


class Candidates:
    """All rows a pool can be made of: those of the scored store, then those of the distractors, if any."""

    def __init__(self, windows: Windows, distractors: ChainStore | None = None) -> None:
        self.windows = windows
        self.target_rows = np.unique(windows.targets)  # several windows may ask for one
        self.parts = [windows.store.vectors] + ([distractors.vectors] if distractors is not None else [])
        if distractors is not None and distractors.dim != windows.store.dim:
            raise ValueError(
                f"evaluate: distractors have {distractors.dim} dimensions; expected {windows.store.dim}, like the store"
            )
        self._whose = "the store"
        if distractors is not None:
            self._whose += f" and of {'the training part' if _is_training(distractors) else 'the distractors'}"

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def targets(self) -> Pool:
        """The targets of all windows, each the right answer of one query and a wrong one of all others."""
        return self._pool_of(self.target_rows, "the targets of the queries themselves")

    def all(self) -> Pool:
        """Every row there is, the contexts' own chunks among them."""
        if len(self.parts) > 1:
            return self._pool_of(np.arange(len(self)), f"every chunk of {self._whose}")
        bank = VectorBank(self.parts[0], normalize=True)
        return Pool(bank, np.arange(len(self.windows)), self.windows.targets, f"every chunk of {self._whose}", 1.0)

    def sized(self, size: int, seed: int) -> Pool:
        """All targets and random other chunks up to `size`; below the number of targets, a random subset of queries."""
        if not 1 <= size <= len(self):
            raise ValueError(f"evaluate: pool = {size:,}; expected 1 to {len(self):,}, the chunks there are")
        rng = np.random.default_rng(seed)
        targets = self.target_rows
        if size <= len(targets):
            chosen = np.sort(rng.choice(targets, size, replace=False))
            queries = np.flatnonzero(np.isin(self.windows.targets, chosen))
            return self._pool_of(chosen, "the targets of randomly chosen queries", queries)
        others = np.setdiff1d(np.arange(len(self)), targets, assume_unique=True)
        rows = np.concatenate([targets, rng.choice(others, size - len(targets), replace=False)])
        return self._pool_of(np.sort(rows), f"the {len(targets):,} targets and random other chunks of {self._whose}")

    def _pool_of(self, rows: NDArray[np.int64], words: str, queries: NDArray[np.int64] | None = None) -> Pool:
        """A pool of sorted different rows, kept in store order: equal scores are settled the same way in every pool."""
        queries = np.arange(len(self.windows)) if queries is None else queries
        targets = self.windows.targets[queries]
        holds_current = float(np.isin(targets - 1, rows).mean())
        bank = VectorBank(self._gather(rows), normalize=True)
        return Pool(bank, queries, np.searchsorted(rows, targets), words, holds_current)

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
    """A pool somebody else has made.

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
    words = "the given bank"
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
        return Pool(bank, queries, places, words, None)
    scores, found = bank.topk(l2_normalize(store.vectors[windows.targets]), 1)
    missing = np.flatnonzero(np.abs(scores[:, 0] - 1.0) > _SAME)
    if len(missing):
        row = windows.targets[missing[0]]
        raise ValueError(
            f"evaluate: the pool does not hold the target at row {row} (best: {scores[missing[0], 0]:.4f}, not 1) "
            f"and {len(missing) - 1:,} more of {len(windows):,}; add them to the bank, or pass their places as pool_ids"
        )
    return Pool(bank, queries, found[:, 0], words, None)
