from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from lvm_fast.data import vectors as vectors_module
from lvm_fast.data.number_formats import Float32, quantize_int8
from lvm_fast.data.vectors import Vectors

Rows = Callable[..., Float32]


def stored(rows: Float32, name: str) -> tuple[Vectors, Float32]:
    """Rows wrapped in a format, and what they should read as."""
    if name == "int8":
        values, scales = quantize_int8(rows)
        return Vectors.of(values, scales), values.astype(np.float32) * scales[:, None]
    typed = rows.astype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    return Vectors.of(typed), typed.astype(np.float32)


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "int8"])
def test_every_way_of_reading_gives_the_same_float32(
    unit_rows: Rows, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(vectors_module, "_BLOCK_BYTES", 4 * 6 * 16)  # several blocks in 20 rows
    vectors, expected = stored(unit_rows(20), name)
    assert (vectors.dtype_name, vectors.shape, len(vectors), vectors.ndim) == (name, (20, 16), 20, 2)
    mask = np.arange(20) % 3 == 0
    for index in (3, -1, slice(2, 9), slice(None, None, -4), [5, 5, 0], np.array([[1, 2], [3, 4]]), mask):
        got = vectors[index]
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, expected[index])
    np.testing.assert_array_equal(np.asarray(vectors), expected)
    np.testing.assert_array_equal(np.asarray(vectors, dtype=np.float64), expected.astype(np.float64))
    np.testing.assert_array_equal(vectors.select([4, 2])[:], expected[[4, 2]])


def test_only_stored_float32_reads_without_a_copy(unit_rows: Rows) -> None:
    rows = unit_rows(4)
    assert np.shares_memory(np.asarray(Vectors.of(rows)), rows)
    assert not np.shares_memory(np.array(Vectors.of(rows), copy=True), rows)
    with pytest.raises(ValueError, match="without a copy"):
        Vectors.of(rows.astype(np.float16)).__array__(copy=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_torch_tensors_are_wrapped_bit_for_bit(unit_rows: Rows, dtype: torch.dtype) -> None:
    tensor = torch.from_numpy(unit_rows(8)).to(dtype)[::2, 1::2].requires_grad_()
    vectors = Vectors.of(tensor)
    assert vectors.dtype_name == str(dtype).removeprefix("torch.")
    np.testing.assert_array_equal(vectors[:], tensor.detach().float().numpy())
    assert vectors.raw.ctypes.data == tensor.data_ptr()


@pytest.mark.parametrize(
    ("rows", "scales", "message"),
    [
        (np.ones((2, 3)), None, "dtype float64; expected one of float32"),
        (np.ones((2, 3), np.uint16), None, "dtype uint16"),
        (np.ones((2, 3), ">f4"), None, "float32 of foreign byte order"),
        (torch.ones(2, 3, dtype=torch.float64), None, "dtype float64"),
        (np.array([[None]]), None, "dtype object"),
        (np.ones(3, np.float32), None, r"shape \(3,\); expected \(T, D\)"),
        (np.ones((0, 3), np.float32), None, r"shape \(0, 3\)"),
        (np.ones((3, 0), np.float32), None, r"shape \(3, 0\)"),
        (np.ones((2, 3), np.int8), None, "int8 vectors came without scales"),
        (np.ones((2, 3), np.float32), np.ones(2, np.float32), "scales came with float32"),
        (
            np.ones((2, 3), np.int8),
            np.ones(3, np.float32),
            r"float32 of shape \(3,\); expected float32 of shape \(2,\)",
        ),
        (np.ones((2, 3), np.int8), np.ones(2), "scales is float64"),
        (np.ones((2, 3), np.int8), np.array([1, np.nan], np.float32), r"scales\[1\] = nan"),
        (np.ones((2, 3), np.int8), np.array([0, 1], np.float32), r"scales\[0\] = 0.0"),
        (Vectors.of(np.ones((2, 3), np.float32)), np.ones(2, np.float32), "already carry theirs"),
    ],
)
def test_bad_arrays_are_refused(rows: Any, scales: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^here: .*{message}"):
        Vectors.of(rows, scales, "here")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    "rows", [2, slice(1, 4), slice(None), [0, 3], np.array([[1, 2], [4, 0]]), np.arange(5) > 1], ids=str
)
def test_rows_that_are_read_are_a_float32_copy_of_their_own(dtype, rows):
    raw = np.arange(1, 16, dtype=dtype).reshape(5, 3)
    expected = raw[rows].astype(np.float32)
    read = Vectors(raw, dtype)[rows]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, expected)
    read += 100  # the store keeps its numbers
    np.testing.assert_array_equal(raw[rows], expected)
