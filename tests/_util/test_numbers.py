import numpy as np
import pytest
import torch

from lvm_fast._util.numbers import any_number, plain, real_number, truth_value, whole_number


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)])
def test_a_whole_number_becomes_an_int(value):
    number = whole_number(value, "k")
    assert (type(number), number) == (int, 3)


@pytest.mark.parametrize(
    "value", [3.0, np.float32(3), "3", None, True, np.bool_(True), [3], np.array([3]), torch.tensor(3.0), 3 + 0j]
)
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^k: expected a whole number, got "):
        whole_number(value, "k")


def test_the_limits_of_a_whole_number_are_named():
    with pytest.raises(ValueError, match=r"^k: expected a whole number from 1 to 5, got 6"):
        whole_number(6, "k", 1, 5)
    with pytest.raises(ValueError, match=r"^k: expected a whole number of at least 1, got 0"):
        whole_number(np.int64(0), "k", 1)


@pytest.mark.parametrize("value", [1.5, np.float32(1.5), np.float64(1.5), np.array(1.5), torch.tensor(1.5)])
def test_a_real_number_becomes_a_float(value):
    number = real_number(value, "low")
    assert (type(number), number) == (float, 1.5)


@pytest.mark.parametrize("value", ["1.5", None, True, np.bool_(False), float("nan"), float("inf"), [1.5], 1j, 10**400])
def test_what_is_no_real_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^low: expected a finite number"):
        real_number(value, "low")


@pytest.mark.parametrize("value", [np.inf, np.float32(-np.inf), torch.tensor(np.nan), 2, np.int8(2), 1.5])
def test_any_number_may_be_infinite_or_nan(value):
    number = any_number(value, "low")
    assert type(number) is float
    np.testing.assert_equal(number, float(value))


@pytest.mark.parametrize("value", ["1.5", None, True, [1.5], 1j, 10**400])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^low: expected a number, got "):
        any_number(value, "low")


def test_the_limits_of_a_real_number_are_named():
    with pytest.raises(ValueError, match=r"^p: expected a finite number from 0 to 1, got 1\.5"):
        real_number(1.5, "p", 0, 1)


def test_truth_values():
    assert truth_value(np.bool_(True), "flag") is True
    assert truth_value(False, "flag") is False
    with pytest.raises(ValueError, match=r"^flag: expected True or False, got 1"):
        truth_value(1, "flag")


def test_plain_reaches_into_containers():
    given = {"a": np.int64(1), "b": [np.float32(0.5), (np.bool_(True), "text")], "c": {"d": np.str_("x")}}
    made = plain(given)
    assert made == {"a": 1, "b": [0.5, (True, "text")], "c": {"d": "x"}}
    kinds = [type(made["a"]), type(made["b"][0]), type(made["b"][1][0]), type(made["c"]["d"])]
    assert kinds == [int, float, bool, str]
