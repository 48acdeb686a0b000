"""Names that stand for classes and modules."""

from __future__ import annotations

import json
import subprocess
import sys
from json import JSONDecoder
from pathlib import Path
from typing import Any

import pytest

from lvm_fast._util.registry import Registry


@pytest.fixture
def readers() -> Registry[Any]:
    places = {"decoder": ".decoder:JSONDecoder", "scanner": "json.scanner", "encoder": ".encoder:JSONEncoder"}
    return Registry("reader", "json", places, aliases={"reader": "decoder"})


def test_loads_classes_and_modules(readers: Registry[Any]) -> None:
    assert readers.load("decoder") is JSONDecoder
    assert readers.load("encoder") is json.JSONEncoder
    assert readers.load("scanner") is json.scanner  # type: ignore[attr-defined]


def test_an_alias_loads_and_is_not_listed(readers: Registry[Any]) -> None:
    assert readers.load("reader") is JSONDecoder
    assert readers.current_name("reader") == readers.current_name("decoder") == "decoder"
    assert "reader" in readers
    assert readers.names() == list(readers) == ["decoder", "scanner", "encoder"]
    assert len(readers) == 3


def test_tells_a_place_without_importing_it(readers: Registry[Any]) -> None:
    assert readers.full_place("decoder") == "json.decoder:JSONDecoder"
    assert readers.full_place("scanner") == "json.scanner"


@pytest.mark.parametrize("name", ["decodr", "", None, 3, [1]])
def test_an_unknown_name_lists_the_names(readers: Registry[Any], name: Any) -> None:
    assert name not in readers
    guess = "did you mean 'decoder'? There" if name == "decodr" else "there"
    with pytest.raises(ValueError, match="unknown reader") as raised:
        readers.load(name)
    assert str(raised.value) == f"unknown reader {name!r}; {guess} are: decoder, scanner, encoder"


def test_a_new_line_adds_an_entry(readers: Registry[Any]) -> None:
    readers.places["tool"] = ".tool"
    import json.tool

    assert readers.load("tool") is json.tool


def test_an_entry_is_imported_when_asked_for(tmp_path: Path) -> None:
    code = """
import sys
from lvm_fast._util.registry import Registry
registry = Registry("calendar", "calendar", {"text": "calendar:TextCalendar"})
assert registry.names() == ["text"] and "text" in registry
assert "calendar" not in sys.modules and "torch" not in sys.modules
assert registry.load("text") is sys.modules["calendar"].TextCalendar
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
