"""Counting what validation windows share with training windows, against sets of rows."""

from __future__ import annotations

import numpy as np
import pytest

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.leakage import leakage
from lvm_fast.data.windows import GivenWindows, Windows


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_counts_are_those_of_sets(seed: int, apart: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((200, 6)).astype(np.float32)
    rows[rng.choice(200, 40)] = rows[rng.choice(200, 40)]  # copies elsewhere
    store = ChainStore(rows, [0, 120, 200])
    other = ChainStore(rows.copy(), [0, 120, 200]) if apart else store
    starts = rng.choice(100, 30)
    windows = [GivenWindows(source, part, part + 9) for source, part in ((store, starts[:20]), (other, starts[20:]))]
    seen = {row.tobytes() for at in starts[:20] for row in rows[at : at + 10]}
    held = [[row.tobytes() in seen for row in rows[at : at + 10]] for at in starts[20:]]
    found = leakage(*windows)
    assert found.windows == 10
    assert found.leaking == sum(map(any, held)) > 0
    assert found.targets == sum(flags[-1] for flags in held)
    assert found.share == pytest.approx(np.mean(held))


def test_stored_formats_do_not_hide_a_copy() -> None:
    rows = np.random.default_rng(0).standard_normal((30, 6)).astype(np.float16)
    half, full = ChainStore(rows, [0, 30]), ChainStore(rows.astype(np.float32), [0, 30])
    found = leakage(Windows(half, 8), Windows(full, 8))
    assert found.leaking == found.targets == found.windows
    assert str(found) == (
        "6 of 6 validation windows share vectors with training windows (100% of all their vectors), and 6 of their "
        "targets are among them"
    )


def test_chains_that_share_nothing_do_not_leak() -> None:
    rows = np.random.default_rng(0).standard_normal((60, 6)).astype(np.float32)
    found = leakage(Windows(ChainStore(rows[:30], [0, 30]), 8), Windows(ChainStore(rows[30:], [0, 30]), 8))
    assert (found.leaking, found.targets, found.share) == (0, 0, 0.0)


def test_rows_in_no_training_window_are_not_counted() -> None:
    store = ChainStore(np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32), [0, 40])
    found = leakage(GivenWindows(store, [0], [10]), GivenWindows(store, [8, 11], [20, 20]))
    assert (found.windows, found.leaking, found.targets) == (2, 1, 0)
    assert found.share == pytest.approx(3 / 13 / 2)
