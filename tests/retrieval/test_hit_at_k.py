"""hit_at_k: fractions, pools and their sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lvm_fast as lf


def test_fractions_against_a_full_matrix(rng):
    targets = rng.standard_normal((300, 24)).astype(np.float32)
    predictions = targets + 2 * rng.standard_normal((300, 24)).astype(np.float32)
    scores = predictions.astype(np.float64) @ targets.astype(np.float64).T
    ranks = (scores > np.diag(scores)[:, None]).sum(axis=1)
    got = lf.hit_at_k(predictions, targets)
    assert got == {
        "hit@1": (ranks < 1).mean(),
        "hit@5": (ranks < 5).mean(),
        "hit@10": (ranks < 10).mean(),
        "mrr": pytest.approx((1 / (ranks + 1)).mean()),
        "pool": 300,
        "queries": 300,
    }
    assert 0.05 < got["hit@5"] < 0.95


def test_a_bank_is_the_pool(rng):
    bank = lf.VectorBank(rng.standard_normal((500, 16)).astype(np.float32), normalize=True)
    predictions, ids = rng.standard_normal((40, 16)).astype(np.float32), rng.integers(0, 500, 40)
    ranks = bank.rank(predictions, ids)
    got = lf.hit_at_k(predictions, ids, ks=(3, 100), bank=bank, mrr=False)
    assert got == {"hit@3": (ranks < 3).mean(), "hit@100": (ranks < 100).mean(), "pool": 500, "queries": 40}


def test_torch_tensors_and_normalize(rng):
    targets = torch.from_numpy(rng.standard_normal((50, 8)).astype(np.float32))
    scales = torch.from_numpy(rng.uniform(0.1, 10, (50, 1)).astype(np.float32))
    assert lf.hit_at_k(targets, targets * scales, normalize=True)["hit@1"] == 1.0
    assert lf.hit_at_k(targets, targets * scales)["hit@1"] < 1.0


def test_k_beyond_the_pool_always_hits():
    x = np.eye(3, dtype=np.float32)
    assert lf.hit_at_k(x, x[::-1].copy(), ks=(10,))["hit@10"] == 1.0


def test_an_exact_duplicate_of_the_target_at_a_lower_index_wins():
    targets = np.ones((4, 2), np.float32)
    got = lf.hit_at_k(targets, targets, ks=(1,))
    assert got["hit@1"] == 0.25


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: lf.hit_at_k(x, x, ks=()), "ks: expected at least one number, got none"),
        (lambda x: lf.hit_at_k(x, x, ks=(0,)), r"ks: expected at least 1 and below 2\^63, got 0"),
        (lambda x: lf.hit_at_k(x, x, ks=(1.5,)), "ks: expected a whole number, got 1.5"),
        (lambda x: lf.hit_at_k(x, x[:3]), r"hit_at_k: targets: expected 4 rows, one a prediction, got 3"),
        (lambda x: lf.hit_at_k(x[:0], np.zeros(0, int), bank=lf.VectorBank(x)), "at least one row, got none"),
        (lambda x: lf.hit_at_k(x, x * np.nan), "^hit_at_k: targets: row 0 holds NaN"),
        (lambda x: lf.hit_at_k(x, x[0]), "^hit_at_k: targets: expected shape"),
        (lambda x: lf.hit_at_k(x * np.nan, x), "^hit_at_k: predictions: row 0"),
        (lambda x: lf.hit_at_k(x, [7] * 4, bank=lf.VectorBank(x)), r"^hit_at_k: targets\[0\] = 7"),
        (lambda x: lf.hit_at_k(x, [0] * 4, bank=lf.VectorBank(x), normalize=True), "normalize: expected a VectorBank"),
    ],
)
def test_bad_arguments_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.eye(4, dtype=np.float32))
