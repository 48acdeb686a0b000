from __future__ import annotations

import sys

import pytest

from lvm_fast._util.optional import optional_module


def put(folder, monkeypatch, name, text):
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)


def test_what_is_there_is_imported(tmp_path, monkeypatch):
    put(tmp_path, monkeypatch, "fits_well", "answer = 42")
    assert optional_module("fits_well", "plot").answer == 42


def test_what_is_missing_is_named_with_the_extra_that_brings_it():
    message = r"^drawing: absent_package is missing; pip install 'lvm_fast\[plot\]' brings it$"
    with pytest.raises(ModuleNotFoundError, match=message):
        optional_module("absent_package.part", "plot", "drawing")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise TypeError('old\\n numpy')", "TypeError: old numpy"),
        ("import absent_dependency", "ModuleNotFoundError: No module named 'absent_dependency'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_there_and_broken_is_an_import_error_too(tmp_path, monkeypatch, text, reason):
    put(tmp_path, monkeypatch, "broken_package", text)
    with pytest.raises(ImportError, match=r"^broken_package is installed, but does not work here: ") as refused:
        optional_module("broken_package", "plot")
    assert str(refused.value).endswith(reason)
    assert not isinstance(refused.value, ModuleNotFoundError)
