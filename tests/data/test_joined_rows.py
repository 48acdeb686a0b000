from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm_fast.data import joined_rows
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.joined_rows import JoinedRows

PARTS = [np.arange(first, first + count * 3, dtype=np.int32).reshape(count, 3) for first, count in ((0, 4), (100, 1))]
PARTS += [np.empty((0, 3), np.int32), np.arange(200, 221, dtype=np.int32).reshape(7, 3)]
WHOLE = np.concatenate(PARTS)

INDICES: list[Any] = [
    slice(None),
    slice(1, 3),
    slice(3, 6),
    slice(2, 12),
    slice(5, 5),
    slice(7, 2),
    slice(None, None, 2),
    slice(None, None, -1),
    0,
    -1,
    np.int64(5),
    [4, 0, 11, 4],
    np.array([[0, 5], [11, 3]]),
    np.arange(12) % 3 == 0,
    np.empty(0, np.int64),
]


@pytest.mark.parametrize("rows", INDICES, ids=str)
def test_rows_of_several_arrays_are_read_as_those_of_one(rows: Any) -> None:
    np.testing.assert_array_equal(JoinedRows(PARTS)[rows], WHOLE[rows])


@pytest.mark.parametrize(
    "rows", [index for index in INDICES if np.ndim(index) == 1 or isinstance(index, slice)], ids=str
)
@pytest.mark.parametrize("then", [slice(None), slice(1, None), slice(None, None, -1)], ids=str)
def test_a_selection_is_read_only_when_it_is_indexed(rows: Any, then: slice) -> None:
    chosen = JoinedRows(PARTS).select(rows)
    assert chosen.shape == WHOLE[rows].shape
    np.testing.assert_array_equal(chosen[then], WHOLE[rows][then])
    np.testing.assert_array_equal(chosen.select(then)[:], WHOLE[rows][then])


def test_ranges_are_taken_in_their_order() -> None:
    chosen = JoinedRows(PARTS).ranges(np.array([8, 0, 3, 2]), np.array([12, 1, 6, 2]))
    np.testing.assert_array_equal(chosen[:], WHOLE[[8, 9, 10, 11, 0, 3, 4, 5]])
    np.testing.assert_array_equal(np.asarray(chosen.select(slice(3, 7))), WHOLE[[11, 0, 3, 4]])


@given(st.lists(st.integers(-12, 11), max_size=20), st.lists(st.integers(0, 30), max_size=9))
def test_a_selection_of_a_selection_is_that_of_the_rows(first: list[int], second: list[int]) -> None:
    rows = np.array(first, np.int64)
    again = np.array([place for place in second if place < len(rows)], np.int64)
    np.testing.assert_array_equal(JoinedRows(PARTS).select(rows).select(again)[:], WHOLE[rows][again])


def test_what_lies_in_one_array_is_not_copied() -> None:
    joined = JoinedRows(PARTS)
    assert np.shares_memory(joined[1:4], PARTS[0])
    assert np.shares_memory(joined.select(slice(5, 12))[2:], PARTS[3])


def test_single_numbers_are_joined_too() -> None:
    joined = JoinedRows([np.arange(3), np.arange(10, 12)])
    assert joined.shape == (5,)
    np.testing.assert_array_equal(joined[[4, 0]], [11, 0])
    assert joined[3] == 10


@pytest.mark.parametrize("rows", [12, -13, [0, 12], np.zeros(3, bool), [0.5]], ids=str)
def test_rows_that_are_not_there_are_refused(rows: Any) -> None:
    with pytest.raises(IndexError):
        JoinedRows(PARTS)[rows]
    with pytest.raises(ValueError, match="without a copy"):
        np.array(JoinedRows(PARTS), copy=False)


def test_pages_of_mapped_files_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("the memory of a process is read from /proc")
    rows = np.random.default_rng(0).standard_normal((64 << 10, 128), np.float32)  # 32 MB
    for half in (0, 1):
        ChainStore.write(tmp_path / f"{half}.safetensors", rows[half * 32768 :][:32768], [0, 32768], [str(half)])
    monkeypatch.setattr(joined_rows, "_HELD_BYTES", 4 << 20)
    joined = ChainStore.open(tmp_path).vectors.raw
    before = mapped_bytes()
    for first in range(0, len(rows), 1000):
        np.testing.assert_array_equal(joined[first : first + 1000], rows[first : first + 1000])
    some = np.random.default_rng(1).integers(0, len(rows), 600)
    for first in range(0, len(some), 3):
        np.testing.assert_array_equal(joined[some[first : first + 3]], rows[some[first : first + 3]])
    assert mapped_bytes() - before < 16 << 20
    np.testing.assert_array_equal(joined[some], rows[some])  # at once
    assert mapped_bytes() - before < 16 << 20
    for first in range(0, len(rows), 1000):
        np.testing.assert_array_equal(joined.select(slice(first, first + 1000))[:], rows[first : first + 1000])
    assert mapped_bytes() - before < 16 << 20


def mapped_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssFile"))
