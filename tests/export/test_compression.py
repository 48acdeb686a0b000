"""Compressed matrices: how near they are, and which changes to them are caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lvm_fast.export.compression import COMPRESSIONS, Palettized, Quantized, Stored, compress

Matrix = np.ndarray[Any, np.dtype[np.float32]]


@pytest.fixture
def matrix(rng: np.random.Generator) -> Matrix:
    rows = rng.standard_normal((48, 96)) * np.geomspace(0.01, 10.0, 48)[:, None]
    return rows.astype(np.float32)


def compressed(matrix: Matrix, compression: str, dtype: str = "float16") -> Quantized | Palettized:
    stored = compress(matrix, compression, dtype)
    assert isinstance(stored, Quantized | Palettized)
    return stored


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_is_compressed_has_no_fault(matrix: Matrix, compression: str, dtype: str) -> None:
    stored = compressed(matrix, compression, dtype)
    assert stored.fault(matrix) is None
    assert (stored.shape, stored.dtype) == (matrix.shape, np.dtype(dtype))
    assert stored.values().dtype == np.dtype(dtype)


def test_int8_is_off_by_half_a_scale_at_most(matrix: Matrix) -> None:
    stored = compressed(matrix, "int8", "float32")
    scale = np.abs(matrix).max(axis=1, keepdims=True) / 127
    assert (np.abs(stored.values() - matrix) <= 0.501 * scale).all()
    assert np.abs(stored.data).max(axis=1).tolist() == [127] * 48  # each row uses its whole range


@pytest.mark.parametrize("bits", [4, 6])
@pytest.mark.parametrize("kind", ["normal", "laplace", "uniform"])
def test_palettes_are_nearly_the_best_there_are(rng: np.random.Generator, bits: int, kind: str) -> None:
    pytest.importorskip("coremltools")
    from coremltools._deps import _kmeans1d  # its exact clustering in one dimension, minutes for a whole model

    values = getattr(rng, kind)(size=(16, 512)).astype(np.float32)
    stored = compressed(values, f"palette{bits}", "float32")
    best = np.array(_kmeans1d.cluster(values.ravel().astype(np.float64), 1 << bits).centroids)
    nearest = np.abs(values.ravel()[:, None] - best).min(axis=1)
    assert np.square(stored.values() - values).mean() < 1.1 * np.square(nearest).mean()


def test_16_rows_share_a_palette_or_fewer_where_they_do_not_divide() -> None:
    for rows, groups in ((48, 3), (40, 5), (51, 51)):
        stored = compressed(np.ones((rows, 64), np.float32), "palette4")
        assert isinstance(stored, Palettized)
        assert stored.palettes.shape == (groups, 1, 16, 1)
        assert stored.bits == 4


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_stacked_matrices_are_compressed_one_by_one(rng: np.random.Generator, compression: str) -> None:
    stack = rng.standard_normal((3, 32, 64)).astype(np.float32)
    stored = compressed(stack, compression)
    assert stored.fault(stack) is None
    for one, whole in zip(stack, stored.values(), strict=True):
        np.testing.assert_array_equal(compressed(one, compression).values(), whole)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((32, 64)),
        np.full((32, 64), -3.0),
        np.full((32, 64), 1e-7),  # scales below float16's smallest normal number
        np.where(np.arange(2048).reshape(32, 64) % 2 == 0, 60_000.0, -1e-3),
        np.full((32, 64), 65_504.0),  # the largest float16
        np.eye(64)[:32],
    ],
    ids=["zeros", "one number", "tiny", "two numbers", "the largest", "unit rows"],
)
def test_awkward_matrices_have_no_fault(compression: str, rows: np.ndarray) -> None:
    stored = compressed(rows.astype(np.float32), compression)
    assert stored.fault(rows.astype(np.float32)) is None
    assert np.isfinite(stored.values()).all()


@pytest.mark.parametrize("array", [np.ones(4096), np.ones((8, 8))], ids=["vector", "small matrix"])
def test_vectors_and_small_matrices_stay_as_they_are(array: np.ndarray) -> None:
    stored: Stored = compress(array.astype(np.float32), "int8", "float16")
    assert isinstance(stored, np.ndarray)
    assert stored.dtype == np.float16


def change(array: np.ndarray, place: tuple[int, ...], value: Any) -> np.ndarray:
    changed = array.copy()
    changed[place] = value
    return changed


INT8_CHANGES: dict[str, Callable[[Quantized], Quantized]] = {
    "a number one step off": lambda s: replace(s, data=change(s.data, (5, 7), s.data[5, 7] - np.sign(s.data[5, 7]))),
    "a sign": lambda s: replace(s, data=change(s.data, (0, 0), -s.data[0, 0] or 3)),
    "two rows swapped": lambda s: replace(s, data=s.data[[1, 0, *range(2, 48)]]),
    "a scale 1% off": lambda s: replace(s, scale=change(s.scale, (5, 0), s.scale[5, 0] * np.float16(1.01))),
    "a number made whole infinite": lambda s: replace(s, scale=change(s.scale, (5, 0), 600.0)),
    "a scale not a number": lambda s: replace(s, scale=change(s.scale, (5, 0), np.nan)),
    "all scales doubled, all numbers halved": lambda s: Quantized(s.data // 2, s.scale * np.float16(2)),
}


@pytest.mark.parametrize("name", INT8_CHANGES)
def test_a_change_of_an_int8_matrix_is_caught(matrix: Matrix, name: str) -> None:
    stored = compressed(matrix, "int8")
    assert isinstance(stored, Quantized)
    assert INT8_CHANGES[name](stored).fault(matrix) is not None


PALETTE_CHANGES: dict[str, Callable[[Palettized], Palettized]] = {
    "an index one step off": lambda s: replace(s, indices=change(s.indices, (5, 7), s.indices[5, 7] ^ 1)),
    "an entry's sign": lambda s: replace(s, palettes=change(s.palettes, (1, 0, 0, 0), -s.palettes[1, 0, 0, 0])),
    "an entry not a number": lambda s: replace(s, palettes=change(s.palettes, (1, 0, 3, 0), np.nan)),
    "two palettes swapped": lambda s: replace(s, palettes=s.palettes[[1, 0, 2]]),
    "two entries swapped": lambda s: replace(s, palettes=s.palettes[:, :, [1, 0, *range(2, 16)]]),
}


@pytest.mark.parametrize("name", PALETTE_CHANGES)
def test_a_change_of_a_palettized_matrix_is_caught(matrix: Matrix, name: str) -> None:
    stored = compressed(matrix, "palette4")
    assert isinstance(stored, Palettized)
    assert PALETTE_CHANGES[name](stored).fault(matrix) is not None


def test_poor_palettes_are_caught_though_every_number_is_at_its_nearest_entry(rng: np.random.Generator) -> None:
    matrix = rng.uniform(-1.0, 1.0, (16, 128)).astype(np.float32)
    palette = np.linspace(0.5, 1.0, 16)
    indices = np.abs(matrix[..., None] - palette).argmin(axis=-1).astype(np.uint8)
    stored = Palettized(indices, palette.astype(np.float32).reshape(1, 1, 16, 1))
    assert stored.fault(matrix) == "has 1 of 1 palettes worse than evenly spaced ones"
