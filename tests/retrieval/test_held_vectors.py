"""What a bank is made with: its metric, whatever it is given as."""

from __future__ import annotations

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.retrieval.sharded import ShardedBank

ROWS = np.ones((2, 3), np.float32)


@pytest.mark.parametrize("metric", ["IP", "euclidean", "", None, 2, ["ip"], np.array(["ip", "l2"]), b"ip"])
@pytest.mark.parametrize("make", [lf.VectorBank, lambda rows, metric: ShardedBank(rows, 0, metric=metric)])
def test_what_is_no_metric_is_refused(make, metric):
    with pytest.raises(ValueError, match="Bank: metric: expected one of ip, cosine, l2, got "):
        make(ROWS, metric=metric)


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
def test_texts_of_numpy_are_plain(metric):
    bank = lf.VectorBank(ROWS, metric=np.str_(metric))
    assert (type(bank.metric), bank.metric, bank.normalize) == (str, metric, metric == "cosine")
