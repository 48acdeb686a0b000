"""Everything in a band, however long the lists."""

from __future__ import annotations

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.adapters import _in_band
from lvm_fast.adapters._in_band import everything_in_band


@pytest.mark.parametrize("first_limit", [1, 3, 64, 1000])
def test_short_and_long_lists(rng, monkeypatch, first_limit):
    monkeypatch.setattr(_in_band, "_FIRST_LIMIT", first_limit)
    rows = rng.integers(-4, 5, (300, 6)).astype(np.float32)
    queries = rows[:40] * rng.integers(0, 3, (40, 1)).astype(np.float32)
    bank, exclude = lf.VectorBank(rows), np.arange(40)[:, None]
    found = everything_in_band(bank, queries, 5.0, 50.0, exclude)
    scores = queries.astype(np.float64) @ rows.T
    for b, one in enumerate(found):
        wanted = [i for i in np.argsort(-scores[b], kind="stable") if 5 <= scores[b, i] < 50 and i != b]
        assert one.ids.tolist() == wanted
        np.testing.assert_array_equal(one.scores, scores[b, wanted])
    assert {len(one.ids) for one in found} >= {0}
    assert max(len(one.ids) for one in found) > 64


def test_everything_there_is(rng):
    rows = rng.standard_normal((70, 3)).astype(np.float32)
    (found,) = everything_in_band(lf.VectorBank(rows), rows[:1], -np.inf, np.inf)
    assert sorted(found.ids.tolist()) == list(range(70))
    assert everything_in_band(lf.VectorBank(rows), rows[:0], -np.inf, np.inf) == []
