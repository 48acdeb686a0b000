from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm_fast._util.strict_json import check_json, read_json, write_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def types_of(value: Any) -> Any:
    if isinstance(value, list):
        return [types_of(item) for item in value]
    return {key: types_of(item) for key, item in value.items()} if isinstance(value, dict) else type(value)


@given(VALUES)
def test_what_was_written_is_read_back_types_included(value: Any) -> None:
    back = read_json(write_json(value, "value"))
    assert back == value
    assert types_of(back) == types_of(value)


@given(VALUES)
def test_plain_json_reads_as_it_does_elsewhere(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert read_json(text) == json.loads(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": 2, "a": 1}', "the key 'a' stands twice in one object"),
        ('[{"x": {"a": 1, "a": 2}}]', "the key 'a' stands twice"),
        ('{"a": 1, "\\u0061": 2}', "the key 'a' stands twice"),
        ("NaN", "NaN is no JSON number"),
        ("[-Infinity]", "-Infinity is no JSON number"),
        ("1e999", "a number is beyond those of float64"),
        ("-1e+309", "a number is beyond those of float64"),
        ("9" * 400, "a number is beyond those of float64"),
        ("9" * 5000, "a number is beyond those of float64"),
        ('"\\ud83d"', r"half of a surrogate pair, '\\ud83d', at character 0"),
        ('["good", "\\ude00\\ud83d"]', "half of a surrogate pair"),
        ('{"\\uD83D": 1}', "a text holds half of a surrogate pair"),
        ('"\ud83d"', "half of a surrogate pair"),
        ("[" * 128 + "]" * 128, "more than 127 lists and objects inside each other"),
        ('{"a":' * 128 + "1" + "}" * 128, "more than 127"),
        ("[" * 100_000, "more than 127"),
        ("", "Expecting value"),
        ("[1,]", "Expecting value"),
        ("01", "Extra data"),
        ("+1", "Expecting value"),
        ('"\t"', "control character"),
        ("\ufeff{}", "BOM"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_json(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-0", -0.0),
        ("[-0, 0]", [-0.0, 0]),
        ("1e-999", 0.0),
        ("1e300", 1e300),
        ("0." + "9" * 5000, 1.0),
        ("9" * 300, int("9" * 300)),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('{"a": "\\\\ud83d"}', {"a": "\\ud83d"}),
        ('["[[[", "]", "\\"["]', ["[[[", "]", '"[']),
        ("[" * 127 + "]" * 127, json.loads("[" * 127 + "]" * 127)),
        (json.dumps(["[" * 200, {"}": "{" * 200}]), ["[" * 200, {"}": "{" * 200}]),
        (json.dumps([[0.5]] * 1000), [[0.5]] * 1000),
    ],
)
def test_what_is_odd_but_clear_is_read(text: str, value: Any) -> None:
    back = read_json(text)
    assert back == value
    assert types_of(back) == types_of(value)


def test_the_zero_below_zero_keeps_its_sign() -> None:
    assert math.copysign(1, read_json("-0")) == -1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, (2, 3)]}, r"it\['a'\]\[1\] is a tuple, which JSON would not give back"),
        ({1: 2}, "it has the key 1, a int; JSON has texts as keys only"),
        ({"a": {None: 1}}, r"it\['a'\] has the key None"),
        ({True: 1}, "it has the key True"),
        ([float("nan")], r"it\[0\] is nan; JSON has no such number"),
        (float("-inf"), "it is -inf"),
        (10**400, "it is an int of 1329 bits; JSON has no such number"),
        ("\udc80", "it holds half of a surrogate pair"),
        ({"\udc80": 1}, "a key of it holds half of a surrogate pair"),
        ({"a": np.float32(1)}, r"it\['a'\] is a float32"),
        ({"a": np.arange(3)}, r"it\['a'\] is a ndarray"),
        ({1, 2}, "it is a set"),
        (b"a", "it is a bytes"),
        (object(), "it is a object"),
    ],
)
def test_what_json_would_not_give_back_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_json(value, "it")


def test_a_value_inside_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="more than 127 lists and objects inside each other"):
        check_json(value, "it")
