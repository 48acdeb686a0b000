"""l2_normalize and reconstruct for numpy arrays, against float64 numpy."""

from __future__ import annotations

import warnings

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lvm_fast as lf
from lvm_fast.ops.rows import rows_of

DIMS = (1, 3, 7, 8, 15, 16, 31, 768, 769)
HALF_ULP = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
DTYPES = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in HALF_ULP}


def oracle(v: np.ndarray, eps: float = 1e-8) -> np.ndarray:
    """v / (||v|| + eps) in extended precision."""
    wide = np.asarray(v, dtype=np.longdouble)
    return wide / (np.sqrt((wide * wide).sum(axis=-1, keepdims=True)) + np.longdouble(eps))


def bound(dtype: str, expected: np.ndarray) -> np.ndarray:
    """The error stated in csrc/rowwise/rowwise.h, plus half a unit in the last place of the stored type."""
    largest = np.abs(expected).max(axis=-1, keepdims=True, initial=0)
    computed = 2.0**-53 if dtype == "float64" else 2.0**-24
    tiny = {"float64": 0.0, "float32": 2.0**-149, "float16": 2.0**-25, "bfloat16": 2.0**-134}[dtype]
    return (expected.shape[-1] / 16 + 16) * computed * largest + HALF_ULP[dtype] * np.abs(expected) + tiny


def assert_close(got: np.ndarray, expected: np.ndarray, dtype: str) -> None:
    assert got.dtype == DTYPES[dtype]
    error = np.abs(got.astype(np.longdouble) - expected)
    assert (error <= bound(dtype, expected)).all(), f"{dtype}: off by {float(error.max())}"


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_agrees_with_the_oracle(simd_level, rng, dtype, dim):
    x, delta = (rng.standard_normal((5, dim)).astype(DTYPES[dtype]) for _ in range(2))
    assert_close(lf.l2_normalize(x), oracle(x), dtype)
    total = x.astype(np.longdouble) + delta.astype(np.longdouble)
    if dtype in ("float32", "float64"):  # the sum itself is rounded there
        total = total.astype(DTYPES[dtype])
    assert_close(lf.reconstruct(x, delta), oracle(total), dtype)


@pytest.mark.parametrize("magnitude", [1e-45, 1e-40, 1e-25, 1e-18, 1e18, 1e25, 3e38])
def test_extreme_magnitudes_neither_overflow_nor_vanish(simd_level, rng, magnitude):
    x = (rng.uniform(-1, 1, (4, 33)) * magnitude).astype(np.float32)
    x[:, 0] = np.float32(magnitude)
    assert_close(lf.l2_normalize(x, eps=1e-60), oracle(x, 1e-60), "float32")


@pytest.mark.parametrize("magnitude", [1e-300, 1e-200, 1e200, 1e300])
def test_extreme_float64_magnitudes_too(rng, magnitude):
    x = rng.uniform(-1, 1, (4, 33)) * magnitude
    x[:, 0] = magnitude
    assert_close(lf.l2_normalize(x, eps=5e-324), oracle(x, 5e-324), "float64")


def test_norms_past_the_range_of_float64():
    x = np.full((2, 4), 1.5e308)
    x[1, 2:] = 0
    wanted = np.array([[0.5] * 4, [0.5**0.5, 0.5**0.5, 0, 0]])
    assert_close(lf.l2_normalize(x), wanted, "float64")
    assert_close(lf.reconstruct(x, x), wanted, "float64")


def test_sum_that_overflows_float32_is_still_right(simd_level):
    x = np.full((1, 20), 3e38, dtype=np.float32)
    np.testing.assert_allclose(lf.reconstruct(x, x), oracle(x), rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_row_stays_zero(simd_level, dtype):
    x = np.zeros((3, 17), DTYPES[dtype])
    x[1] = 1
    got = lf.l2_normalize(x)
    assert not got[0].any()
    assert not got[2].any()
    assert got[1].all()


def test_eps_is_added_to_the_norm(simd_level):
    np.testing.assert_allclose(lf.l2_normalize(np.array([[3.0, 4.0]], np.float32), eps=5.0), [[0.3, 0.4]], rtol=1e-6)


@pytest.mark.parametrize("shape", [(768,), (2, 3, 768), (1, 1, 1, 5), (0, 8), (2, 0, 8)])
def test_any_leading_shape(rng, shape):
    x = rng.standard_normal(shape).astype(np.float32)
    got = lf.l2_normalize(x)
    assert got.shape == shape
    np.testing.assert_allclose(got, oracle(x), atol=1e-6)


def test_strided_reversed_and_transposed_input(simd_level, rng):
    x = rng.standard_normal((12, 40)).astype(np.float32)
    for view in (x[::2], x[::-1], x[:, ::2], x[:, ::-1], x.T, np.broadcast_to(x[0], (5, 40)), x[:, 3:20]):
        np.testing.assert_allclose(lf.l2_normalize(view), oracle(view), atol=1e-6)


def test_misaligned_input_works(simd_level, rng):
    x = rng.standard_normal((6, 37)).astype(np.float32)
    memory = np.zeros(x.nbytes + 1, np.uint8)
    odd = memory[1:].view(np.float32).reshape(x.shape)
    odd[:] = x
    assert not odd.flags.aligned
    np.testing.assert_array_equal(lf.l2_normalize(odd), lf.l2_normalize(x))


def test_a_field_of_a_packed_record_works(rng):
    record = np.dtype([("tag", np.uint8), ("vector", np.float32, (9,))])  # rows 37 bytes apart
    table = np.zeros(4, record)
    table["vector"] = rng.standard_normal((4, 9))
    np.testing.assert_allclose(lf.l2_normalize(table["vector"]), oracle(table["vector"]), atol=1e-6)


def test_out_is_filled_and_returned(rng):
    x, delta = (rng.standard_normal((7, 768)).astype(np.float32) for _ in range(2))
    out = np.empty_like(x)
    assert lf.reconstruct(x, delta, out=out) is out
    np.testing.assert_array_equal(out, lf.reconstruct(x, delta))


def test_out_may_be_the_input_itself(rng):
    x = rng.standard_normal((7, 768)).astype(np.float32)
    expected = lf.l2_normalize(x)
    lf.l2_normalize(x, out=x)
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_large_results_are_the_same_on_any_number_of_threads(rng, restore_threads, threads):
    x = rng.standard_normal((6000, 768)).astype(
        np.float32
    )  # past the sizes where threads share and stores bypass the caches
    lf.kernels.set_num_threads(threads)
    out = np.empty(x.size + 16, np.float32)
    start = (-out.ctypes.data % 64) // 4
    got = lf.l2_normalize(x, out=out[start : start + x.size].reshape(x.shape))
    sample = slice(None, None, 501)
    np.testing.assert_allclose(got[sample], oracle(x[sample]), atol=1e-7)
    np.testing.assert_array_equal(got[5990:], lf.l2_normalize(x[5990:]))


def test_mixed_float_types_are_promoted(rng):
    x, delta = rng.standard_normal((2, 5)).astype(np.float32), rng.standard_normal((2, 5))
    assert lf.reconstruct(x, delta).dtype == np.float64


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=200)
@given(rows=st.lists(st.lists(finite, min_size=5, max_size=5), min_size=1, max_size=4))
def test_any_finite_row_comes_back_no_longer_than_one(rows):
    got = lf.l2_normalize(np.array(rows, np.float32))
    assert np.isfinite(got).all()
    assert (np.linalg.norm(got.astype(np.float64), axis=1) <= 1 + 1e-6).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_not_finite_is_named_by_argument_and_row(simd_level, dtype, bad):
    x, poison = np.ones((9, 21), DTYPES[dtype]), np.ones((9, 21), DTYPES[dtype])
    poison[7, 20] = bad
    with pytest.raises(ValueError, match=r"l2_normalize: x row 7 holds NaN or infinity"):
        lf.l2_normalize(poison)
    with pytest.raises(ValueError, match=r"reconstruct: delta row 7 holds NaN or infinity"):
        lf.reconstruct(x, poison)
    with pytest.raises(ValueError, match=r"reconstruct: current row 7 holds NaN or infinity"):
        lf.reconstruct(poison, x)


ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lf.l2_normalize([[1.0, 2.0]]), r"x: expected a numpy array or a torch tensor, got list"),
        (lambda: lf.l2_normalize(np.ones((2, 3), np.int64)), r"x: expected float32, .*, got int64"),
        (lambda: lf.l2_normalize(np.float32(1) * np.ones(())), r"shape \(\.\.\., D\)|expected"),
        (lambda: lf.l2_normalize(ONES, eps=0), r"expected eps > 0"),
        (lambda: lf.l2_normalize(ONES, eps=float("nan")), r"expected eps > 0"),
        (lambda: lf.reconstruct(ONES, ONES[:, :2]), r"delta: expected shape \(2, 3\) like current, got \(2, 2\)"),
        (lambda: lf.reconstruct(ONES, [1.0]), r"delta: expected a numpy array"),
        (lambda: lf.l2_normalize(ONES, out=np.empty((3, 2), np.float32)), r"out: expected float32 \(2, 3\)"),
        (lambda: lf.l2_normalize(ONES, out=np.empty((2, 3))), r"out: expected float32 \(2, 3\), got float64"),
        (lambda: lf.l2_normalize(ONES, out=np.empty((3, 2), np.float32).T), r"out: expected a contiguous array"),
        (lambda: lf.l2_normalize(ONES, out="here"), r"out: expected a writable numpy array"),
    ],
)
def test_bad_arguments_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_read_only_and_overlapping_out_are_refused():
    frozen = np.ones((2, 3), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        lf.l2_normalize(ONES, out=frozen)
    memory = np.ones((4, 3), np.float32)
    with pytest.raises(ValueError, match="partial overlap"):
        lf.l2_normalize(memory[:3], out=memory[1:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_the_other_byte_order_or_unaligned_are_read_as_their_values(rng, dtype):
    v = rng.standard_normal((4, 5)).astype(DTYPES[dtype])
    expected = lf.l2_normalize(v)
    buffer = np.zeros(v.nbytes + 1, np.uint8)
    unaligned = np.frombuffer(buffer, v.dtype, offset=1, count=v.size).reshape(v.shape)
    unaligned[:] = v
    others = [unaligned] if dtype == "bfloat16" else [unaligned, v.astype(v.dtype.newbyteorder(">"))]
    for other in others:
        found = lf.l2_normalize(other)
        assert found.dtype == v.dtype
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(lf.reconstruct(other, 0 * v), expected)


@pytest.mark.parametrize(
    "call",
    [
        lambda masked: lf.l2_normalize(masked),
        lambda masked: lf.reconstruct(masked, ONES),
        lambda masked: lf.reconstruct(ONES, masked),
        lambda masked: lf.l2_normalize(ONES, out=masked),
        lambda masked: rows_of(masked, "rows"),
    ],
)
def test_masked_arrays_are_refused(call):
    for mask in (False, ONES > 0):
        with pytest.raises(ValueError, match=r"expected an array without a mask, got a masked one"):
            call(np.ma.array(ONES.copy(), mask=mask))


def test_sparse_and_nested_tensors_are_refused():
    dense = torch.ones(2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a prototype
        nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(1, 3)])
    for odd, kind in ((dense.to_sparse(), r"one of layout torch\.sparse_coo"), (nested, "a nested one")):
        for call in (lf.l2_normalize, lambda x: lf.reconstruct(x, dense), lambda x: rows_of(x, "l2_normalize: x")):
            with pytest.raises(ValueError, match=f": expected a dense tensor, got {kind}"):
                call(odd)
    with pytest.raises(ValueError, match="reconstruct: delta: expected a dense tensor"):
        lf.reconstruct(dense, dense.to_sparse())


def test_an_out_of_other_bytes_is_refused():
    with pytest.raises(
        ValueError, match="out: expected a writable numpy array, aligned and in the machine's byte order"
    ):
        lf.l2_normalize(ONES, out=np.empty(ONES.shape, ">f4"))
