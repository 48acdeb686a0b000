from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.source import open_source


def test_a_store_its_path_and_the_sample_are_sources(tmp_path: Path) -> None:
    store = ChainStore(np.ones((4, 3), np.float32), [0, 4])
    path = tmp_path / "store.safetensors"
    store.save(path)
    assert open_source(store, "data") is store
    for source in (path, str(path)):
        np.testing.assert_array_equal(open_source(source, "data").vectors[:], store.vectors[:])
    assert open_source("sample", "data").ids == lf.sample().ids


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("absent.safetensors", FileNotFoundError, r"absent\.safetensors"),
        (Path("rows.npy"), ValueError, r"^train: data = 'rows\.npy' is no chain store; .* `lvm-fast prepare`"),
        (3, ValueError, "^train: data is a int; expected a ChainStore, its path, or 'sample'"),
        (ChainStore(np.zeros((4, 3), np.float32), [0, 4]), ValueError, "row 0"),
    ],
)
def test_what_is_no_sound_store_is_named(source: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        open_source(source, "train: data")
