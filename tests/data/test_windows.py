from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lvm_fast as lf
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.number_formats import Float32
from lvm_fast.data.positions import AllPositions
from lvm_fast.data.vectors import Vectors
from lvm_fast.data.windows import Windows


def numbered_store(lengths: list[int]) -> ChainStore:
    """Row r is (r + 1, 1), so that a gathered row tells its number."""
    rows = np.stack([np.arange(1, sum(lengths) + 1), np.ones(sum(lengths))], axis=1).astype(np.float32)
    return ChainStore(rows, np.cumsum([0, *lengths]))


def by_definition(lengths: list[int], context_length: int, stride: int, min_length: int) -> list[tuple[int, int, int]]:
    """(start, target, chain) of every window, straight from the words of the docstring."""
    windows, begin = [], 0
    for chain, length in enumerate(lengths):
        target = begin + length - 1
        while target - begin >= min_length - 1:
            windows.append((max(begin, target - context_length), target, chain))
            target -= stride
        begin += length
    return sorted(windows, key=lambda window: window[1])


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(sum),
    context_length=st.integers(1, 30),
    stride=st.integers(1, 30),
    min_length=st.integers(2, 12),
    cross_chains=st.booleans(),
)
def test_windows_follow_their_definition(
    lengths: list[int], context_length: int, stride: int, min_length: int, cross_chains: bool
) -> None:
    store = numbered_store(lengths)
    expected = by_definition([sum(lengths)] if cross_chains else lengths, context_length, stride, min_length)
    if not expected:
        with pytest.raises(ValueError, match="no window"):
            Windows(store, context_length, stride, min_length, cross_chains=cross_chains)
        return
    windows = Windows(store, context_length, stride, min_length, cross_chains=cross_chains)
    assert list(zip(windows.starts, windows.targets, strict=True)) == [window[:2] for window in expected]
    np.testing.assert_array_equal(windows.chains, store.chain_of(windows.targets))
    if not cross_chains:
        assert list(windows.chains) == [window[2] for window in expected]
        assert (store.chain_of(windows.starts) == windows.chains).all()
    batch = windows.batch(np.arange(len(windows)))
    assert batch.context.shape == (len(windows), windows.lengths.max(), 2)
    for row, (start, target, _) in enumerate(expected):
        context = batch.context[row]
        np.testing.assert_array_equal(context[: target - start], store.vectors[start:target])
        assert not context[target - start :].any()
        np.testing.assert_array_equal(batch.target[row], store.vectors[target])
    np.testing.assert_array_equal(batch.lengths, windows.lengths)


def test_the_stride_defaults_to_half_the_context() -> None:
    store = numbered_store([100])
    for context_length, stride in ((20, 10), (1, 1)):
        windows = Windows(store, context_length)
        assert windows.stride == np.diff(windows.targets)[0] == stride
    assert Windows(store, 20, stride=7).stride == 7


def test_every_chain_that_is_long_enough_is_used() -> None:
    windows = Windows(numbered_store([7, 6, 8]), 100)
    np.testing.assert_array_equal(windows.chains, [0, 2])
    np.testing.assert_array_equal(windows.lengths, [6, 7])


def test_a_batch_reads_only_the_rows_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    read = Vectors.__getitem__

    def spy(self: Vectors, rows: Any) -> Float32:
        asked.append(rows)
        return read(self, rows)

    windows = Windows(numbered_store([50]), 10, stride=4)
    monkeypatch.setattr(Vectors, "__getitem__", spy)
    windows.batch([0, 3])
    context_rows, target_rows = asked
    expected = np.concatenate([np.arange(windows.starts[i], windows.targets[i]) for i in (0, 3)])
    np.testing.assert_array_equal(context_rows, expected)
    np.testing.assert_array_equal(target_rows, windows.targets[[0, 3]])


def test_incoherent_windows_are_dropped_and_counted(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvm_fast.data.windows._BLOCK_ROWS", 16)
    rows = rng.standard_normal((200, 4), dtype=np.float32) * 3  # not unit vectors: the gate is a cosine
    store = ChainStore(rows, [0, 120, 200])
    every = Windows(store, 10, stride=1)
    windows = Windows(store, 10, stride=1, min_coherence=0.2)
    last, target = rows[every.targets - 1].astype(np.float64), rows[every.targets].astype(np.float64)
    cosines = (last * target).sum(1) / np.linalg.norm(last, axis=1) / np.linalg.norm(target, axis=1)
    np.testing.assert_array_equal(windows.targets, every.targets[cosines >= 0.2])
    assert windows.dropped_incoherent == (cosines < 0.2).sum() > 0
    assert len(windows.chains) == len(windows)
    assert every.dropped_incoherent == 0


def test_windows_on_the_sample_read_dequantised_rows() -> None:
    store = lf.sample()
    batch = Windows(store, 100).batch([0, 1, 2])
    assert batch.context.dtype == np.float32
    np.testing.assert_array_equal(batch.context[0, : batch.lengths[0]], store.vectors[0 : batch.lengths[0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"context_length": 0}, "context_length: expected a whole number of at least 1, got 0"),
        ({"context_length": 2.5}, "context_length: expected a whole number of at least 1, got 2.5"),
        ({"context_length": "5"}, "context_length: expected a whole number of at least 1, got '5'"),
        ({"context_length": True}, "context_length: expected a whole number of at least 1, got True"),
        ({"context_length": 5, "min_coherence": "0.5"}, "min_coherence: expected a finite number, got '0.5'"),
        ({"context_length": 5, "cross_chains": 1}, "cross_chains: expected True or False, got 1"),
        ({"context_length": 5, "min_length": 10**30}, "no window: the longest chain has 30 rows"),
        ({"context_length": 5, "stride": 0}, "stride: expected a whole number of at least 1, got 0"),
        ({"context_length": 5, "stride": 1.0}, "stride: expected a whole number of at least 1, got 1.0"),
        ({"context_length": 5, "min_length": 1}, "min_length: expected a whole number of at least 2, got 1"),
        ({"context_length": 5, "min_length": 31}, "longest chain has 30 rows, min_length is 31"),
        ({"context_length": 5, "min_coherence": 1.5}, "drops all 12 windows"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"Windows: .*{message}"):
        Windows(numbered_store([30]), **arguments)


@pytest.mark.parametrize("indices", [[], [-1], [4], [[0]], [0.0], [True], ["0"]])
def test_bad_indices(indices: Any) -> None:
    with pytest.raises(ValueError, match="within 0 to 3"):
        Windows(numbered_store([30]), 10, stride=7).batch(indices)


@pytest.mark.parametrize("kind", [Windows, AllPositions])
def test_settings_may_be_numpy_numbers_and_become_plain(kind: type[Windows]) -> None:
    store = numbered_store([30, 12])
    plain = kind(store, 5, 3, 4, -0.5, True)
    numpys = kind(store, np.int64(5), np.int32(3), np.uint8(4), np.float32(-0.5), np.bool_(True))
    np.testing.assert_array_equal(numpys.targets, plain.targets)
    np.testing.assert_array_equal(numpys.starts, plain.starts)
    assert repr((numpys.context_length, numpys.stride)) == "(5, 3)"


def test_numbers_beyond_the_store_say_the_same_as_its_length() -> None:
    store = numbered_store([30, 12])
    for huge in (42, 10**30):
        windows = Windows(store, huge, huge)
        np.testing.assert_array_equal(windows.targets, [29, 41])
        np.testing.assert_array_equal(windows.starts, [0, 30])
