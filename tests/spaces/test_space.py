"""A space is fitted as its formula says, whatever the store is like, and says what it cannot fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lvm_fast as lf
from lvm_fast.spaces import Space, fit_space, moments_of, space_of


def rows(count: int, dim: int, seed: int = 0) -> np.ndarray:
    """Unit rows around a mean that is not zero, with directions that differ in variance; float32."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, dim)) * np.linspace(2.0, 0.1, dim) + 1.0
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def formula(vectors: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """The mean, and A up to a factor, in float64 all at once."""
    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    values, axes = np.linalg.eigh(np.cov(exact.T, bias=True).reshape(exact.shape[1], -1))
    scales = (np.maximum(values, 0) + 0.02 * values.mean()) ** (-strength / 2)
    return exact.mean(axis=0), (axes * scales) @ axes.T


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("count", [2, 5, 300, 5000])  # fewer rows than dimensions, too
@pytest.mark.parametrize("dim", [1, 3, 8, 31])
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_keys_are_those_of_the_formula(count, dim, strength):
    vectors = rows(count, dim) if dim > 1 else np.where(np.arange(count) % 2, 1, -1).astype(np.float32)[:, None]
    space = fit_space(vectors, "whitened", strength)
    mean, matrix = formula(vectors, strength)
    expected = unit((vectors.astype(np.float64) - mean) @ matrix)
    np.testing.assert_allclose(space.keys(vectors), expected, atol=3e-5)
    centred = fit_space(vectors, "centred")
    np.testing.assert_allclose(centred.keys(vectors), unit(vectors.astype(np.float64) - mean), atol=3e-5)


def test_full_strength_makes_the_covariance_nearly_the_identity():
    vectors = rows(5000, 16)
    space = fit_space(vectors, "whitened", 1.0)
    mapped = (vectors - space.mean).astype(np.float64) @ space.matrix
    values = np.linalg.eigvalsh(np.cov(mapped.T))
    before = np.linalg.eigvalsh(np.cov(vectors.T))
    assert values.max() / values.min() < 0.1 * before.max() / before.min()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_a_mapped_store_of_any_format_is_fitted_block_by_block(tmp_path, dtype):
    vectors = rows(9001, 24)  # three blocks
    lf.ChainStore.write(tmp_path / "s.safetensors", vectors, [0, 4000, 9001], dtype=dtype)
    store = lf.ChainStore.open(tmp_path / "s.safetensors")
    stored = np.asarray(store.vectors, np.float32)
    space, again = fit_space(store.vectors), fit_space(store.vectors)
    mean, matrix = formula(stored, 0.5)
    np.testing.assert_allclose(space.mean, mean, atol=1e-6)
    ratio = space.matrix / matrix
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)
    np.testing.assert_array_equal(space.matrix, again.matrix)
    moved = space.store(store)
    assert (moved.ids, moved.origins, moved.metadata) == (store.ids, store.origins, store.metadata)
    np.testing.assert_array_equal(moved.offsets, store.offsets)
    np.testing.assert_array_equal(np.asarray(moved.vectors), space.keys(stored))


def test_moments_of_rows_far_from_zero_keep_their_digits():
    rng = np.random.default_rng(0)
    vectors = (1000.0 + 0.1 * rng.standard_normal((4000, 6))).astype(np.float32)
    exact = unit(vectors.astype(np.float64))
    found = moments_of(vectors)
    np.testing.assert_allclose(found.mean, exact.mean(axis=0), atol=1e-7)
    assert found.rows == 4000


def test_raw_is_no_space():
    assert fit_space(rows(3, 4), "raw") is None


def test_one_vector_and_the_mean_itself():
    space = fit_space(rows(50, 8))
    vector = rows(1, 8, seed=1)
    np.testing.assert_array_equal(space.keys(vector[0]), space.keys(vector)[0])
    np.testing.assert_allclose(space.keys(3 * vector), space.keys(vector), atol=1e-6)
    centred = fit_space(np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32), "centred")
    np.testing.assert_array_equal(centred.keys(np.zeros((1, 2), np.float32)), [[0, 0]])


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (rows(1, 4), "Space: 1 row; expected at least 2 to fit a space"),
        (np.repeat(rows(1, 4), 5, axis=0), "Space: all 5 rows are equal; expected rows that differ"),
        (np.array([[1, 0], [0, 1], [np.nan, 1]], np.float32), r"Space: row 2 holds NaN or Inf; expected finite values"),
    ],
)
def test_rows_that_make_no_space_are_named(vectors, message):
    with pytest.raises(ValueError, match=message):
        fit_space(vectors)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), "strong", True])
def test_a_strength_that_is_none_is_named(strength):
    with pytest.raises(ValueError, match="Space: strength"):
        fit_space(rows(9, 3), "whitened", strength)


def test_a_kind_that_is_none_is_named():
    with pytest.raises(ValueError, match="kind = 'white'; expected one of raw, centred, whitened"):
        fit_space(rows(9, 3), "white")
    with pytest.raises(ValueError, match="vectors have 4 dimensions; expected 3"):
        fit_space(rows(9, 3)).keys(rows(2, 4))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 40), st.integers(2, 12), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_the_matrix_is_symmetric_and_finite(count, dim, seed, strength):
    vectors = unit(np.random.default_rng(seed).standard_normal((count, dim))).astype(np.float32)
    space = space_of(moments_of(vectors), "whitened", strength)
    assert isinstance(space, Space)
    assert np.isfinite(space.matrix).all()
    np.testing.assert_allclose(space.matrix, space.matrix.T, atol=1e-5 * np.abs(space.matrix).max())
