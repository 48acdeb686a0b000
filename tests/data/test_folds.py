"""Every chain is held out once, and no chunk or near-copy is on two sides."""

from __future__ import annotations

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.data.folds import fold_chains


def made(chains: int = 23, dim: int = 12) -> lf.ChainStore:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 30, chains)
    rows = rng.standard_normal((lengths.sum(), dim)).astype(np.float32)
    origins = [f"o{chain // 2}" for chain in range(chains)]
    return lf.ChainStore(rows, np.concatenate([[0], np.cumsum(lengths)]), origins=origins)


@pytest.mark.parametrize("folds", [3, 5])
def test_every_chain_is_tested_once_and_in_one_part_of_a_fold(folds):
    store = made()
    dealt = fold_chains(store, folds)
    tested = [name for fold in dealt for name in fold.test.ids]
    assert sorted(tested) == sorted(store.ids)
    for fold in dealt:
        parts = [set(part.origins) for part in fold]
        assert not parts[0] & parts[1]
        assert not parts[0] & parts[2]
        assert not parts[1] & parts[2]
        assert sum(len(part.vectors) for part in fold) == len(store.vectors)
    sizes = [len(fold.test.vectors) for fold in dealt]
    assert max(sizes) - min(sizes) < 60
    assert [fold.val.ids for fold in dealt] == [dealt[(at + 1) % folds].test.ids for at in range(folds)]


def test_the_seed_decides():
    store = made()
    assert [fold.test.ids for fold in fold_chains(store, seed=1)] == [f.test.ids for f in fold_chains(store, seed=1)]
    assert [fold.test.ids for fold in fold_chains(store, seed=1)] != [f.test.ids for f in fold_chains(store, seed=2)]


def test_near_copies_across_parts_are_removed():
    store = made()
    rows = np.array(store.vectors)
    rows[store.offsets[2]] = rows[store.offsets[9]] * 2.0
    dealt = fold_chains(lf.ChainStore(rows, store.offsets, store.ids))
    bank = [lf.VectorBank(np.concatenate([np.asarray(fold.train.vectors)]), normalize=True) for fold in dealt]
    for fold, known in zip(dealt, bank, strict=True):
        for part in (fold.val, fold.test):
            assert known.topk(lf.l2_normalize(np.asarray(part.vectors)), 1)[0].max() < 0.999


def test_what_cannot_be_dealt_is_named():
    with pytest.raises(ValueError, match="fold_chains: folds: expected a whole number of at least 3, got 2"):
        fold_chains(made(), 2)
    with pytest.raises(ValueError, match="fold_chains: 2 chains; expected at least 5, one a fold"):
        fold_chains(made(4))
