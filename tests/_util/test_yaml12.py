"""YAML 1.2: one way to read a number, and nothing that is read twice or otherwise than it was meant."""

from __future__ import annotations

import math

import pytest
import yaml

from lvm_fast._util.yaml12 import number_in, read_yaml, write_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-1", 0.1),
        ("1e5", 1e5),
        ("1.5E+2", 150.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("010", 10),
        ("-7", -7),
        ("+7", 7),
        ("0o17", 15),
        ("0x1F", 31),
        (".inf", math.inf),
        ("-.INF", -math.inf),
    ],
)
def test_a_number_is_read_alike_in_a_file_and_in_a_flag(text, value):
    assert read_yaml(f"key: {text}") == {"key": value}
    assert number_in(text) == value
    assert type(number_in(text)) is type(value)


@pytest.mark.parametrize("text", ["1:30", "1_000", "2001-01-01", "0b11", "1,5", "yes", "off", "inf", "nan", "1e", "٣"])
def test_what_yaml_1_1_made_of_texts_they_no_longer_are(text):
    assert read_yaml(f"key: {text}") == {"key": text}
    assert number_in(text) is None


def test_plain_values():
    text = 'a: true\nb: False\nc: ~\nd:\ne: "1.5"\nf: [1, x, {g: .5}]\n"h": \'010\'\ni: !!str 5\nj: !!float 2\n'
    assert read_yaml(text) == {
        **{"a": True, "b": False, "c": None, "d": None, "e": "1.5", "f": [1, "x", {"g": 0.5}], "h": "010", "i": "5"},
        "j": 2.0,
    }
    assert math.isnan(read_yaml(".nan"))
    assert read_yaml("# nothing") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr: 1\nepochs: 2\nlr: 3", "line 3, column 1: the key 'lr' stands twice"),
        ("model: {a: 1, a: 1}", "line 1, column 15: the key 'a' stands twice"),
        ("a: [", "line 1, column 5: "),
        ("a: &x [*x]", "unconstructable recursive node"),
        ("a: *b", "undefined alias"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: !!timestamp 2001-01-01", "could not determine a constructor"),
        ("a: !!int x", "'x' is no number"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a: \x00", "unacceptable character"),
        ("[1]: 2", "expected a plain key"),
        ("[" * 5000, "nested too deeply"),
        (f"a: {'9' * 5000}", "line 1, column 4: a whole number of 5,000 digits is too large"),
    ],
)
def test_what_is_no_recipe_of_plain_values_is_refused_by_its_line(text, message):
    with pytest.raises(ValueError, match=r"^not a YAML file: ") as refused:
        read_yaml(text)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_written_is_read_back_by_readers_of_either_version():
    values = {
        **{
            "a": "1e5",
            "b": "010",
            "c": "yes",
            "d": "1:30",
            "e": 1e-5,
            "f": "0o17",
            "g": None,
            "h": "",
            "i": [0.6, 0.8],
        },
        **{
            "j": {"k": 1},
            "l": "~",
            "m": "null",
            "n": "é\udc80",
            "o": True,
            "p": "2001-01-01",
            "q": "1e-4",
            "r": 10**18,
        },
    }
    assert read_yaml(write_yaml(values)) == yaml.safe_load(write_yaml(values)) == values
    assert list(read_yaml(write_yaml(values))) == list(values)
