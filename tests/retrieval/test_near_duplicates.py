"""Near-duplicates: the best cosines and the copies of a chunk."""

from __future__ import annotations

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.retrieval import near_duplicates
from lvm_fast.retrieval.near_duplicates import best_cosines, near_copies_in


def rows(count: int, dim: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 7, 23])
def test_the_best_cosine_is_that_of_all_pairs(count, monkeypatch):
    monkeypatch.setattr(near_duplicates, "_BLOCK_ROWS", 5)
    vectors, candidates = rows(count, 6, 0), rows(31, 6, 1)
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (vectors, candidates)]
    np.testing.assert_allclose(best_cosines(vectors, candidates), (unit[0] @ unit[1].T).max(axis=1), atol=1e-6)


def test_copies_are_found_however_many_there_are():
    vectors = rows(60, 8, 2)
    vectors[10:50] = vectors[3] * np.linspace(0.5, 2.0, 40)[:, None]
    bank = lf.VectorBank(vectors, normalize=True)
    copies = near_copies_in(bank, vectors[[3, 55]])
    assert sorted(copies[0].tolist()) == [3, *range(10, 50)]
    assert copies[1].tolist() == [55]
