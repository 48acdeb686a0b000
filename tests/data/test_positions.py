"""All positions: which rows a window has as targets, and that none is one twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.positions import AllPositions
from lvm_fast.data.windows import Windows


def numbered_store(lengths: list[int]) -> ChainStore:
    """Row r is (r + 1, 1), so that a gathered row tells its number."""
    rows = np.stack([np.arange(1, sum(lengths) + 1), np.ones(sum(lengths))], axis=1).astype(np.float32)
    return ChainStore(rows, np.cumsum([0, *lengths]))


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(lambda lengths: max(lengths) >= 12),
    context_length=st.integers(1, 30),
    stride=st.integers(1, 30) | st.none(),
    min_length=st.integers(2, 12),
    cross_chains=st.booleans(),
)
def test_every_row_is_a_target_once_of_the_first_window_that_reaches_it(
    lengths: list[int], context_length: int, stride: int | None, min_length: int, cross_chains: bool
) -> None:
    store = numbered_store(lengths)
    step = context_length if stride is None else stride
    windows = Windows(store, context_length, step, min_length, cross_chains=cross_chains)
    positions = AllPositions(store, context_length, stride, min_length, cross_chains=cross_chains)
    np.testing.assert_array_equal(positions.starts, windows.starts)
    np.testing.assert_array_equal(positions.targets, windows.targets)

    seen: set[int] = set()
    for window, (start, target) in enumerate(zip(windows.starts, windows.targets, strict=True)):
        expected = [row for row in range(start + 1, target + 1) if row not in seen]
        assert positions.target_rows([window]).tolist() == expected
        assert positions.counts[window] == len(expected)
        seen.update(expected)
    if step <= context_length and not cross_chains:  # nothing is left out but the beginnings
        for first, last in zip(store.offsets[:-1], store.offsets[1:], strict=True):
            left = set(range(first + 1, last)) - seen
            assert left == set(range(first + 1, first + 1 + len(left)))
            assert len(left) <= max(0, min_length - 2)


def test_a_batch_has_each_target_after_its_position() -> None:
    store = numbered_store([20, 9, 31])
    positions = AllPositions(store, 8, stride=5)
    chosen = np.array([5, 0, 3])
    batch = positions.batch(chosen)
    assert batch.context.shape == (3, 8, 2)
    assert len(batch.target) == len(batch.positions) == positions.counts[chosen].sum()
    flat = batch.context.reshape(-1, 2)
    np.testing.assert_array_equal(flat[batch.positions][:, 0] + 1, batch.target[:, 0])  # the next number
    np.testing.assert_array_equal(batch.target, store.vectors[positions.target_rows(chosen)])
    which = batch.positions // 8
    np.testing.assert_array_equal(np.bincount(which), positions.counts[chosen])
    assert (batch.positions % 8 < batch.lengths[which]).all()


def test_windows_of_one_target_have_positions_too() -> None:
    batch = Windows(numbered_store([20, 9]), 8, stride=5).batch([0, 2, 1])
    flat = batch.context.reshape(-1, 2)
    np.testing.assert_array_equal(flat[batch.positions][:, 0] + 1, batch.target[:, 0])


def test_incoherent_targets_are_left_out_one_by_one(rng: np.random.Generator) -> None:
    rows = rng.standard_normal((200, 4), dtype=np.float32)
    store = ChainStore(rows, [0, 120, 200])
    every = AllPositions(store, 10, min_length=2)
    windows = AllPositions(store, 10, min_length=2, min_coherence=0.5)
    everything = every.target_rows(np.arange(len(every)))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    coherent = (unit[everything - 1] * unit[everything]).sum(axis=1) >= 0.5
    np.testing.assert_array_equal(windows.target_rows(np.arange(len(windows))), everything[coherent])
    assert windows.dropped_incoherent == (~coherent).sum() > 0
    assert (windows.counts > 0).all()
    assert len(windows) < len(every)  # a window without targets is gone
    assert every.dropped_incoherent == 0
    last = windows.batch([len(windows) - 1])
    np.testing.assert_array_equal(last.target, rows[windows.target_rows([len(windows) - 1])])


@pytest.mark.parametrize("indices", [[], [-1], [99], [[0]]])
def test_bad_indices(indices: Any) -> None:
    with pytest.raises(ValueError, match="expected indices"):
        AllPositions(numbered_store([30]), 10).target_rows(indices)


def test_a_gate_that_nothing_passes() -> None:
    with pytest.raises(ValueError, match=r"min_coherence = 1\.5 drops all 3 windows"):
        AllPositions(numbered_store([30]), 10, min_coherence=1.5)
