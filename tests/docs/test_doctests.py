"""The examples in the docstrings of the public names give what they say."""

from __future__ import annotations

import doctest
import importlib
import sys

import pytest

import lvm_fast as lf

MAIN = [
    *("train", "Recipe", "evaluate", "create_model", "load_model", "GRU", "VectorBank", "hit_at_k"),
    *("ChainStore", "split_chains", "Router", "export_coreml"),
]
ADAPTERS = [f"lvm_fast.adapters.{name}" for name in ("faiss", "mteb", "sentence_transformers", "sklearn")]
MODULES = sorted({getattr(lf, name).__module__ for name in lf.__all__ if name != "__version__"}) + ADAPTERS


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_give_what_they_say(module, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (pytest.importorskip if module in ADAPTERS else importlib.import_module)(module)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    outcome = doctest.testmod(sys.modules[module], optionflags=flags)
    assert outcome.failed == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", MAIN)
def test_each_main_name_has_an_example(name):
    value = getattr(lf, name)
    found = doctest.DocTestFinder(recurse=False).find(value, name, globs={})
    assert any(test.examples for test in found)
