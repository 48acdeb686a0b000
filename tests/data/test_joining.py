"""Chains recovered from the ids of windows: in order, shuffled, repeated, with rows that repeat."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_fast.data import joining
from lvm_fast.data.joining import join_windows
from lvm_fast.data.number_formats import Int64


def cut(chains: list[Int64], length: int, step: int) -> Int64:
    """Windows of `length` ids, `step` apart, from each chain."""
    return np.stack([chain[at : at + length] for chain in chains for at in range(0, len(chain) - length + 1, step)])


def rows_of(windows: Int64) -> list[Int64]:
    """The chains that come out, after a check that every window lies where it is said to."""
    chains = join_windows(windows)
    np.testing.assert_array_equal(chains.rows[chains.starts[:, None] + np.arange(windows.shape[1])], windows)
    inside = np.searchsorted(chains.offsets, chains.starts, side="right") - 1
    assert (chains.starts + windows.shape[1] <= chains.offsets[inside + 1]).all()
    return [chains.rows[a:b] for a, b in zip(chains.offsets, chains.offsets[1:], strict=False)]


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 8), min_size=1, max_size=5),
    length=st.integers(4, 12),
    share=st.floats(0.05, 0.7),
    repeated=st.integers(0, 4),
    seed=st.integers(0, 1000),
)
def test_windows_in_any_order_join_to_the_chains_they_came_from(
    counts: list[int], length: int, share: float, repeated: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    step = max(1, int(share * length))
    sizes = [length + (count - 1) * step for count in counts]
    chains = np.split(rng.permutation(sum(sizes)), np.cumsum(sizes)[:-1])
    windows = cut(chains, length, step)
    order = np.concatenate([rng.permutation(len(windows)), rng.integers(0, len(windows), repeated)])
    found = rows_of(windows[order])
    assert sorted(chain.tolist() for chain in found) == sorted(chain.tolist() for chain in chains)


def test_rows_that_repeat_do_not_mislead_shuffled_windows() -> None:
    rng = np.random.default_rng(0)
    chain = rng.permutation(400)
    chain[rng.choice(400, 120, replace=False)] = 400  # a phrase that stands everywhere
    windows = cut([chain], 20, 10)
    (found,) = rows_of(windows[rng.permutation(len(windows))])
    np.testing.assert_array_equal(found, chain[: len(found)])
    assert len(found) == 400


def test_a_chance_agreement_of_few_rows_does_not_join_strangers() -> None:
    first, second = np.arange(20), np.arange(100, 120)
    second[:4] = first[-4:]  # less than a quarter of a window
    third = np.arange(200, 220)
    assert len(rows_of(np.stack([second, third, first]))) == 3
    second[:5] = first[-5:]
    assert [len(chain) for chain in rows_of(np.stack([second, third, first]))] == [20, 35]


def test_windows_in_order_may_share_a_single_row() -> None:
    (found,) = rows_of(cut([np.arange(31)], 11, 10))
    np.testing.assert_array_equal(found, np.arange(31))


def test_a_window_inside_another_run_is_no_chain_of_its_own() -> None:
    windows = cut([np.arange(40)], 10, 5)
    assert len(rows_of(np.concatenate([windows, windows[3:4], [np.arange(17, 27)]]))) == 1


def test_a_ring_is_opened_somewhere() -> None:
    ring = np.arange(30)
    windows = np.stack([np.roll(ring, -at)[:20] for at in (0, 20, 10)])  # each goes on past one that is not before it
    (found,) = rows_of(windows)
    assert len(found) == 40  # thirty rows and the ten that close the ring


def test_two_that_go_on_from_one_place_stay_apart() -> None:
    trunk, one, other = np.arange(20), np.arange(10, 30), np.concatenate([np.arange(8, 20), np.arange(50, 58)])
    lengths = sorted(len(chain) for chain in rows_of(np.stack([one, other, trunk])))
    assert lengths == [20, 28]  # the longer overlap wins


def test_many_shuffled_windows_take_no_time_to_speak_of(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    agree = joining._agree

    def counted(*arguments: Any) -> bool:
        nonlocal calls
        calls += 1
        return agree(*arguments)

    monkeypatch.setattr(joining, "_agree", counted)
    windows = cut([np.arange(20_020)], 21, 10)
    (found,) = rows_of(windows[np.random.default_rng(0).permutation(len(windows))])
    assert len(found) == 20_011
    assert calls < 6 * len(windows)
