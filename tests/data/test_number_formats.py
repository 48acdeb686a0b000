from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lvm_fast.data.number_formats import check_rows, narrow, quantize_int8, widen

finite_rows = arrays(np.float32, (3, 5), elements=st.floats(-1e4, 1e4, width=32))


@given(finite_rows)
def test_bfloat16_and_float16_round_as_their_libraries_do(rows: np.ndarray) -> None:
    for name, dtype in (("bfloat16", ml_dtypes.bfloat16), ("float16", np.float16)):
        raw, scales = narrow(rows, name)
        assert scales is None
        np.testing.assert_array_equal(widen(raw, name), rows.astype(dtype).astype(np.float32))


@given(finite_rows.filter(lambda rows: (np.abs(rows).max(axis=1) > 1e-3).all()))
def test_int8_is_within_half_a_step_and_uses_the_whole_range(rows: np.ndarray) -> None:
    values, scales = quantize_int8(rows)
    assert (np.abs(values.astype(int)).max(axis=1) == 127).all()
    error = np.abs(widen(values, "int8", scales).astype(np.float64) - rows)
    assert (error <= 0.5001 * scales[:, None]).all()


def test_bfloat16_rounds_half_to_even() -> None:
    step = 2.0**-7  # from 1 to the next bfloat16
    rows = np.array([[1 + step / 2, 1 + 3 * step / 2]], dtype=np.float32)
    np.testing.assert_array_equal(widen(narrow(rows, "bfloat16")[0], "bfloat16"), [[1, 1 + 2 * step]])


def test_int8_rounds_half_to_even() -> None:
    rows = np.array([[127.0, 0.5, 1.5, -2.5]], dtype=np.float32)
    values, scales = quantize_int8(rows)
    np.testing.assert_array_equal(values, [[127, 0, 2, -2]])
    np.testing.assert_array_equal(scales, [1.0])


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "row 1 holds NaN or Inf"), (0.0, "row 1 is all zeros"), (1e-45, "row 1 is too small")],
)
def test_int8_refuses_rows_without_a_scale(value: float, message: str) -> None:
    rows = np.array([[1.0, 2.0], [value, 0.0]], dtype=np.float32)
    with pytest.raises(ValueError, match=message):
        quantize_int8(rows)


def test_rows_whose_squares_overflow_or_underflow_are_good() -> None:
    check_rows(np.array([[1e30, -1e30], [1e-30, 0]], dtype=np.float32), "rows")


@pytest.mark.parametrize(("value", "message"), [(np.inf, "row 107 holds NaN or Inf"), (0.0, "row 107 is all zeros")])
def test_bad_rows_are_numbered_from_first(value: float, message: str) -> None:
    rows = np.ones((9, 2), dtype=np.float32)
    rows[7] = value
    with pytest.raises(ValueError, match=f"here: {message}"):
        check_rows(rows, "here", first=100)
