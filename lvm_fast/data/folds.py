"""Cross-validation by chain: every chain is held out once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._util.numbers import whole_number
from .chain_store import ChainStore
from .split import part_of, without_near_duplicates


class Fold(NamedTuple):
    """One way of dealing the chains out; of each chain's chunks none, nor a near-copy, is in two parts."""

    train: ChainStore
    val: ChainStore
    test: ChainStore


def fold_chains(store: ChainStore, folds: int = 5, seed: int = 42) -> list[Fold]:
    """Deal the chains into `folds` parts of like size; in fold i, part i is for test and the next for validation.

    Chains of one origin go together. Near-duplicates across parts are removed as `split_chains` does: validation gives
    way to training and test, test to training.

    Args:
        store: The chains.
        folds: How many parts, at least 3.
        seed: Of the order in which chains are dealt.

    Raises:
        ValueError: An argument does not fit, or there are fewer origins than folds.
    """
    folds = whole_number(folds, "fold_chains: folds", least=3)
    seed = whole_number(seed, "fold_chains: seed", least=0)
    part = _dealt(store, folds, seed)
    dealt: list[Fold] = []
    for test in range(folds):
        val = (test + 1) % folds
        held = np.isin(part, (test, val))
        train, validation, tested = (
            part_of(store, np.flatnonzero(chosen & (store.lengths > 0)))
            for chosen in (~held, part == val, part == test)
        )
        tested = without_near_duplicates(tested, [train], "test", store.ids)
        validation = without_near_duplicates(validation, [train, tested], "val", store.ids)
        dealt.append(Fold(train, validation, tested))
    return dealt


def _dealt(store: ChainStore, folds: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The part of each chain, (C,): origins in a random order, each to the part that has the fewest rows so far."""
    origins, whose = np.unique(store.origins, return_inverse=True)
    if len(origins) < folds:
        raise ValueError(f"fold_chains: {len(origins)} chains; expected at least {folds}, one a fold")
    rows = np.bincount(whose, store.lengths)
    filled, part = np.zeros(folds), np.zeros(len(origins), np.int64)
    for origin in np.random.default_rng(seed).permutation(len(origins)):
        part[origin] = np.argmin(filled)
        filled[part[origin]] += rows[origin]
    return part[whose]
