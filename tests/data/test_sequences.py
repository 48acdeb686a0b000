from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.number_formats import Float32


def sequences_of(chains: list[Float32], length: int, step: int) -> dict[str, Any]:
    """The reference's arrays: windows of `length` rows and their targets, `step` rows apart within each chain."""
    starts = [(chain, at) for chain in chains for at in range(0, len(chain) - length, step)]
    return {
        "context_sequences": np.stack([chain[at : at + length] for chain, at in starts]),
        "target_vectors": np.stack([chain[at + length] for chain, at in starts]),
    }


def good_arrays() -> dict[str, Any]:
    return sequences_of([np.random.default_rng(0).standard_normal((20, 4), dtype=np.float32)], 6, 3)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    windows=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    length=st.integers(1, 8),
    step=st.integers(1, 8),
    dtype=st.sampled_from([np.float32, np.float16]),
    compress=st.booleans(),
    shuffle=st.booleans(),
)
def test_overlapping_windows_join_to_the_chains_they_came_from(
    tmp_path: Path, windows: list[int], length: int, step: int, dtype: Any, compress: bool, shuffle: bool
) -> None:
    step = min(step, length)  # the target is the last row that a window shares with the next
    rng = np.random.default_rng(1)
    chains = [rng.standard_normal((length + 1 + (count - 1) * step, 5)).astype(dtype) for count in windows]
    arrays = sequences_of(chains, length, step)
    if shuffle:
        order = rng.permutation(len(arrays["target_vectors"]))
        arrays = {name: values[order] for name, values in arrays.items()} | {"target_indices": 10 * order}
    (np.savez_compressed if compress else np.savez)(tmp_path / "w.npz", **arrays)
    store = ChainStore.from_sequences(tmp_path / "w.npz")
    assert list(store.lengths) == [len(chain) for chain in chains]
    np.testing.assert_array_equal(store.vectors.raw, np.concatenate(chains))
    assert store.vectors.raw.dtype == dtype
    assert store.metadata["sequences"]["windows"] == len(arrays["target_vectors"])


def test_the_common_step_wins_where_rows_repeat(tmp_path: Path) -> None:
    rows = np.ones((13, 3), dtype=np.float32)  # any step would fit
    rows[:4, 0] = [5, 6, 7, 8]
    np.savez(tmp_path / "w.npz", **sequences_of([rows], 4, 2))
    store = ChainStore.from_sequences(tmp_path / "w.npz")
    np.testing.assert_array_equal(store.vectors[:], rows)


def test_windows_that_share_a_row_by_chance_are_not_joined(tmp_path: Path) -> None:
    windows = np.random.default_rng(0).standard_normal((2, 5, 3), dtype=np.float32)
    windows[1, 0] = windows[0, 2]  # a repeated phrase; the rows after it differ
    np.savez(tmp_path / "w.npz", context_sequences=windows[:, :4], target_vectors=windows[:, 4])
    store = ChainStore.from_sequences(tmp_path / "w.npz")
    np.testing.assert_array_equal(store.offsets, [0, 5, 10])
    np.testing.assert_array_equal(store.vectors[:], windows.reshape(10, 3))


def test_a_window_given_twice_is_held_once(tmp_path: Path) -> None:
    arrays = {name: np.repeat(values, 2, axis=0) for name, values in good_arrays().items()}
    np.savez(tmp_path / "w.npz", **arrays)
    np.savez(tmp_path / "once.npz", **good_arrays())
    once = ChainStore.from_sequences(tmp_path / "once.npz")
    np.testing.assert_array_equal(ChainStore.from_sequences(tmp_path / "w.npz").vectors[:], once.vectors[:])


def npy_bytes(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), **options)
    return file.getvalue()


def write_npz(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)


def lying_header(shape: tuple[int, ...], data: bytes) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue() + data


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"context_sequences": lying_header((10**9, 100, 768), b"x" * 64)}, "claims .* bytes .* its member holds"),
        ({"context_sequences": lying_header((1, 2, 3), b"x" * 64)}, "claims .* bytes .* its member holds"),
        ({"context_sequences": lying_header((-1, -2, 8), b"x" * 64)}, "claims|cannot be read"),
        ({"context_sequences": b"\x93NUMPY"}, "cannot be read"),
        ({"context_sequences": b"no array at all"}, "cannot be read"),
        ({"context_sequences": b""}, "cannot be read"),
        ({"context_sequences": npy_bytes(np.array([{}]), allow_pickle=True)}, "pickled Python objects"),
        ({"target_indices": npy_bytes(np.array(["x"], object), allow_pickle=True)}, "pickled Python objects"),
        ({"context_sequences": npy_bytes(np.ones((5, 6, 4)))}, "dtype float64; expected float32 or float16"),
        ({"context_sequences": npy_bytes(np.ones((5, 6, 4), ">f4"))}, "dtype >f4; expected float32"),
        ({"context_sequences": npy_bytes(np.ones((5, 24), "f4"))}, r"shape \(5, 24\); expected \(S, N, D\)"),
        ({"context_sequences": npy_bytes(np.ones((5, 0, 4), "f4"))}, r"shape \(5, 0, 4\)"),
        ({"context_sequences": npy_bytes(np.ones((0, 6, 4), "f4"))}, r"shape \(0, 6, 4\)"),
        ({"context_sequences": npy_bytes(np.asfortranarray(np.ones((5, 6, 4), "f4")))}, "Fortran order"),
        ({"target_vectors": npy_bytes(np.ones((5, 3), "f4"))}, r"shape \(5, 3\) and dtype float32; expected \(5, 4\)"),
        ({"target_vectors": npy_bytes(np.ones((4, 4), "f4"))}, r"shape \(4, 4\)"),
        ({"target_vectors": npy_bytes(np.ones((5, 4), "f2"))}, "dtype float16; expected .* float32"),
        ({"target_indices": npy_bytes(np.ones(5))}, "dtype float64; expected .* integers"),
        ({"target_indices": npy_bytes(np.ones(4, "i8"))}, r"shape \(4,\)"),
        ({"target_vectors": None}, "no array 'target_vectors'"),
        ({"context_sequences": None}, "no array 'context_sequences'"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, members: dict[str, bytes | None], message: str) -> None:
    held = {name: npy_bytes(values) for name, values in good_arrays().items()} | members
    write_npz(tmp_path / "w.npz", **{name: data for name, data in held.items() if data is not None})
    with pytest.raises(ValueError, match=f"ChainStore.from_sequences: .*w.npz: .*{message}"):
        ChainStore.from_sequences(tmp_path / "w.npz")


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"not an \.npz file"):
        ChainStore.from_sequences(tmp_path / "w.npz")


@pytest.mark.parametrize("compress", [True, False])
def test_damage_inside_a_member_is_refused(tmp_path: Path, compress: bool) -> None:
    (np.savez_compressed if compress else np.savez)(tmp_path / "w.npz", **good_arrays())
    data = bytearray((tmp_path / "w.npz").read_bytes())
    data[300:304] = b"\xff\xff\xff\xff"
    (tmp_path / "w.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"'context_sequences' (is damaged|cannot be read)"):
        ChainStore.from_sequences(tmp_path / "w.npz")


def test_every_truncation_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **good_arrays())
    whole = (tmp_path / "w.npz").read_bytes()
    for size in range(0, len(whole), 53):
        (tmp_path / "w.npz").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"w\.npz: "):
            ChainStore.from_sequences(tmp_path / "w.npz")


def test_a_missing_file_is_a_file_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ChainStore.from_sequences(tmp_path / "nowhere.npz")
