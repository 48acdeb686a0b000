"""The adapters by their names, from the front door."""

from __future__ import annotations

import pytest

import lvm_fast as lf


def test_adapters_are_loaded_by_name(run_python):
    code = "import sys, lvm_fast as lf; print(lf.adapters.faiss.IndexFlat(3).ntotal, 'torch' in sys.modules)"
    assert run_python(code).stdout == "0 False\n"
    assert dir(lf.adapters) == ["faiss", "mteb", "sentence_transformers", "sklearn"]


def test_a_library_without_an_adapter_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'lvm_fast\.adapters' has no attribute 'annoy'"):
        lf.adapters.annoy  # noqa: B018
