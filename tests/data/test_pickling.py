"""Stores, windows and negatives in other processes: files by their path, memory with its rows."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.number_formats import Float32
from lvm_fast.data.positions import AllPositions
from lvm_fast.data.windows import GivenWindows, Windows
from lvm_fast.retrieval.mined import MinedNegatives

Rows = Callable[..., Float32]


@pytest.fixture
def opened(tmp_path: Path, store: ChainStore) -> ChainStore:
    """A store of 20,052 rows in a file, 1.3 MB of float32."""
    rows = np.concatenate([store.vectors[:], np.random.default_rng(1).standard_normal((20_000, 16), np.float32)])
    long = ChainStore(rows, [*store.offsets, len(rows)], [*store.ids, "long"], store.metadata)
    long.save(tmp_path / "s.safetensors")
    return ChainStore.open(tmp_path / "s.safetensors")


def assert_same(a: ChainStore, b: ChainStore) -> None:
    assert (a.ids, a.origins, a.metadata, repr(a)) == (b.ids, b.origins, b.metadata, repr(b))
    np.testing.assert_array_equal(a.offsets, b.offsets)
    np.testing.assert_array_equal(a.vectors[:], b.vectors[:])


def test_an_opened_store_is_pickled_as_its_path(opened: ChainStore, tmp_path: Path) -> None:
    pickled = pickle.dumps(opened)
    assert str(tmp_path / "s.safetensors").encode() in pickled
    assert len(pickled) < 3_000
    assert_same(pickle.loads(pickled), opened)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_every_format_is_mapped_again(opened: ChainStore, tmp_path: Path, dtype: str) -> None:
    opened.save(tmp_path / "other", dtype)
    store = ChainStore.open(tmp_path / "other")
    pickled = pickle.dumps(store)
    assert len(pickled) < 3_000
    assert_same(pickle.loads(pickled), store)


def test_the_path_does_not_depend_on_where_one_stands(
    opened: ChainStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(ChainStore.open("s.safetensors"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert_same(pickle.loads(pickled), opened)


def test_what_was_changed_since_opening_is_kept(opened: ChainStore) -> None:
    opened.metadata["note"] = [1, 2]
    assert pickle.loads(pickle.dumps(opened)).metadata["note"] == [1, 2]


@pytest.mark.parametrize("change", ["rows", "shape", "gone"])
def test_a_file_that_has_changed_since_is_no_answer(opened: ChainStore, tmp_path: Path, change: str) -> None:
    pickled = pickle.dumps(opened)
    path = tmp_path / "s.safetensors"
    rows = opened.vectors[:]
    if change == "gone":
        path.unlink()
        with pytest.raises(FileNotFoundError, match=r"s\.safetensors"):
            pickle.loads(pickled)
        return
    rows = rows[::-1] if change == "rows" else rows[:, :8]
    ChainStore(rows, opened.offsets, opened.ids, opened.metadata).save(path)
    with pytest.raises(ValueError, match=r"s\.safetensors holds other rows than when this was pickled"):
        pickle.loads(pickled)


def test_a_store_in_memory_is_pickled_with_its_rows(store: ChainStore) -> None:
    assert_same(pickle.loads(pickle.dumps(store)), store)
    values, scales = np.ones((3, 4), np.int8), np.array([1, 2, 3], np.float32)
    ints = ChainStore(values, [0, 1, 3], scales=scales)
    assert_same(pickle.loads(pickle.dumps(ints)), ints)


def test_parts_of_an_opened_store_are_pickled_with_their_rows(opened: ChainStore, tmp_path: Path) -> None:
    train, val = lf.split_chains(opened, 0.001)
    pickled = pickle.dumps((train, val))
    (tmp_path / "s.safetensors").unlink()
    for part, back in zip((train, val), pickle.loads(pickled), strict=True):
        assert_same(back, part)


def test_a_deep_copy_in_memory_has_rows_of_its_own(store: ChainStore) -> None:
    other = copy.deepcopy(store)
    assert_same(other, store)
    other.vectors.raw[0] = 7
    other.metadata["new"] = 1
    assert not (store.vectors[0] == 7).any()
    assert "new" not in store.metadata


def test_copies_of_an_opened_store_outlive_the_file(opened: ChainStore, tmp_path: Path) -> None:
    (tmp_path / "s.safetensors").unlink()
    for other in (copy.deepcopy(opened), copy.copy(opened)):
        assert_same(other, opened)
        assert np.shares_memory(other.vectors.raw, opened.vectors.raw)


def windows_of(store: ChainStore) -> list[Windows]:
    return [Windows(store, 5, 2), AllPositions(store, 5), GivenWindows(store, [0, 1], [4, 9])]


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_windows_go_where_their_store_goes(opened: ChainStore, kind: int, copied: Callable[[Any], Any]) -> None:
    windows = windows_of(opened)[kind]
    other = copied(windows)
    assert type(other) is type(windows)
    for name in ("starts", "targets", "chains", "counts"):
        np.testing.assert_array_equal(getattr(other, name), getattr(windows, name))
    assert (other.stride, other.context_length, other.dropped_incoherent) == (
        windows.stride,
        windows.context_length,
        windows.dropped_incoherent,
    )
    for mine, wanted in zip(other.batch([1, 0]), windows.batch([1, 0]), strict=True):
        np.testing.assert_array_equal(mine, wanted)


@pytest.fixture
def mined(opened: ChainStore, tmp_path: Path) -> MinedNegatives:
    return lf.mine(opened, tmp_path / "mined.safetensors", low=0.2, high=0.9, limit=8, progress=False)


def test_mined_negatives_are_pickled_as_their_path(mined: MinedNegatives, tmp_path: Path) -> None:
    pickled = pickle.dumps(mined)
    assert len(pickled) < 1_000
    for other in (pickle.loads(pickled), copy.deepcopy(mined)):
        np.testing.assert_array_equal(other.ids, mined.ids)
        np.testing.assert_array_equal(other.scores, mined.scores)
        assert (other.settings, other.store_fingerprint) == (mined.settings, mined.store_fingerprint)
    (tmp_path / "mined.safetensors").unlink()
    assert copy.deepcopy(mined).ids is mined.ids


def test_negatives_of_another_mining_are_no_answer(mined: MinedNegatives, opened: ChainStore, tmp_path: Path) -> None:
    pickled = pickle.dumps(mined)
    lf.mine(opened, tmp_path / "mined.safetensors", low=0.3, high=0.9, limit=8, progress=False, overwrite=True)
    with pytest.raises(ValueError, match=r"mined\.safetensors holds other negatives than when this was pickled"):
        pickle.loads(pickled)


def test_negatives_in_memory_are_pickled_with_their_arrays() -> None:
    mined = MinedNegatives(np.array([[1], [0]]), np.array([[0.5], [0.5]], np.float32), {"limit": 1}, "x")
    other = pickle.loads(pickle.dumps(mined))
    np.testing.assert_array_equal(other.ids, mined.ids)
    assert other.settings == {"limit": 1}


class Targets(torch.utils.data.Dataset[Any]):
    """What a user's own training would read."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return self.windows.batch([index]).target[0]


@pytest.mark.parametrize("method", sorted({"fork", "spawn"} & set(multiprocessing.get_all_start_methods())))
def test_workers_of_a_data_loader_read_an_opened_store(opened: ChainStore, method: str) -> None:
    windows = Windows(opened, 5, 2)
    loader = torch.utils.data.DataLoader(Targets(windows), batch_size=8, num_workers=2, multiprocessing_context=method)
    found = torch.cat(list(loader)).numpy()
    np.testing.assert_array_equal(found, windows.batch(np.arange(40)).target)


def mean_of(store: ChainStore, chain: int) -> Float32:
    mean: Float32 = store.vectors[store.offsets[chain] : store.offsets[chain + 1]].mean(axis=0)
    return mean


def test_jobs_of_joblib_read_an_opened_store(opened: ChainStore) -> None:
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(mean_of)(opened, chain) for chain in (0, 3, 5))
    for chain, mean in zip((0, 3, 5), found, strict=True):
        np.testing.assert_array_equal(mean, mean_of(opened, chain))
