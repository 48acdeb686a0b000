from __future__ import annotations

import numpy as np
import pytest

from lvm_fast.data.windows import Windows
from lvm_fast.evaluation.baselines import chance, copy_last, recency_mean


def test_copy_last_is_the_current_vector(store):
    windows = Windows(store, 10)
    expected = np.asarray(store.vectors)[windows.targets - 1]
    np.testing.assert_allclose(copy_last(windows), expected, atol=1e-6)


@pytest.mark.parametrize("decay", [0.8, 0.3, 1.0])
def test_recency_mean_weighs_each_context_row_by_its_age(store, decay):
    windows = Windows(store, 15, stride=2)
    batch = windows.batch(np.arange(len(windows)))
    expected = np.zeros((len(windows), store.dim))
    for i, (context, length) in enumerate(zip(batch.context, batch.lengths, strict=True)):
        for row in range(length):
            expected[i] += decay ** (length - 1 - row) * context[row].astype(np.float64)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(recency_mean(windows, decay), expected, atol=1e-6)


def test_recency_mean_crosses_its_blocks(store, monkeypatch):
    windows = Windows(store, 15, stride=1)
    whole = recency_mean(windows)
    monkeypatch.setattr("lvm_fast.evaluation.baselines._BLOCK", 7)
    np.testing.assert_array_equal(recency_mean(windows), whole)


@pytest.mark.parametrize("decay", [0.0, -0.5, 1.01, float("nan")])
def test_a_decay_that_is_none_is_an_error(store, decay):
    with pytest.raises(ValueError, match="decay"):
        recency_mean(Windows(store, 10), decay)


def test_chance_is_a_uniform_rank():
    figures = chance(20, (1, 5, 30))
    ranks = np.arange(20)
    assert figures["hit@1"] == pytest.approx(1 / 20)
    assert figures["hit@5"] == pytest.approx(np.mean(ranks < 5))
    assert figures["hit@30"] == 1.0
    assert figures["mrr"] == pytest.approx(np.mean(1 / (ranks + 1)))
