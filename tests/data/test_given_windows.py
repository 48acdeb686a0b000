"""Windows at given places, and those of a sequence file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.number_formats import Float32
from lvm_fast.data.windows import GivenWindows


def test_windows_are_what_they_are_said_to_be(store: ChainStore) -> None:
    windows = GivenWindows(store, [15, 0, 17, 15], [20, 11, 18, 20])
    assert (len(windows), windows.context_length, windows.stride) == (4, 11, None)
    np.testing.assert_array_equal(windows.lengths, [5, 11, 1, 5])
    np.testing.assert_array_equal(windows.chains, [3, 0, 3, 3])
    batch = windows.batch([2, 0])
    np.testing.assert_array_equal(batch.lengths, [1, 5])
    np.testing.assert_array_equal(batch.context[1], store.vectors[15:20])
    np.testing.assert_array_equal(batch.context[0, :1], store.vectors[17:18])
    assert not batch.context[0, 1:].any()
    np.testing.assert_array_equal(batch.target, store.vectors[[18, 20]])
    np.testing.assert_array_equal(windows.part([3, 1]).targets, [20, 11])


def test_incoherent_windows_can_be_dropped(store: ChainStore) -> None:
    every = GivenWindows(store, np.arange(15, 40), np.arange(16, 41))
    cosines = np.einsum("ij,ij->i", store.vectors[15:40], store.vectors[16:41])
    kept = every.part(np.arange(len(every)), min_coherence=0.0)
    np.testing.assert_array_equal(kept.targets, np.arange(16, 41)[cosines >= 0])
    assert kept.dropped_incoherent == np.count_nonzero(cosines < 0) > 0
    with pytest.raises(ValueError, match="drops all 25 windows"):
        every.part(np.arange(25), min_coherence=1.0)


@pytest.mark.parametrize(
    ("starts", "targets", "message"),
    [
        ([], [], r"shape \(0,\).* W at least 1"),
        ([1, 2], [3], r"starts has shape \(2,\), targets \(1,\)"),
        ([[1]], [[2]], r"starts has shape \(1, 1\)"),
        ([0.5], [2], "starts are float64"),
        ([0, 3], [1, 3], "window 1 is rows 3 to 3"),
        ([-1], [3], "window 0 is rows -1 to 3"),
        ([50], [52], "window 0 is rows 50 to 52; expected .* within the store's 52 rows"),
        ([10], [13], "window 0 is rows 10 to 13; expected a context and a target of one chain"),
    ],
)
def test_places_that_do_not_fit_are_refused(store: ChainStore, starts: Any, targets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^GivenWindows: .*{message}"):
        GivenWindows(store, starts, targets)


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_windows_of_a_file_keep_their_rows_and_their_order(
    tmp_path: Path, unit_rows: Callable[..., Float32], shuffled: bool
) -> None:
    rows = unit_rows(61)
    starts = np.arange(0, 50, 5)
    if shuffled:
        starts = np.random.default_rng(0).permutation(starts)
    contexts, targets = np.stack([rows[at : at + 10] for at in starts]), rows[starts + 10]
    np.savez(tmp_path / "w.npz", context_sequences=contexts, target_vectors=targets)
    windows = GivenWindows.of_sequences(tmp_path / "w.npz")
    assert (len(windows.store), len(windows.store.vectors), windows.context_length) == (1, 56, 10)
    batch = windows.batch(np.arange(len(windows)))
    np.testing.assert_array_equal(batch.context, contexts)
    np.testing.assert_array_equal(batch.target, targets)


def test_a_file_of_rows_without_direction_is_refused(tmp_path: Path) -> None:
    contexts = np.ones((3, 4, 5), np.float32)
    contexts[1, 2] = 0
    np.savez(tmp_path / "w.npz", context_sequences=contexts, target_vectors=np.ones((3, 5), np.float32))
    with pytest.raises(ValueError, match="is all zeros"):
        GivenWindows.of_sequences(tmp_path / "w.npz")
    (tmp_path / "x.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"of_sequences: .*x\.npz: not an \.npz file"):
        GivenWindows.of_sequences(tmp_path / "x.npz")
