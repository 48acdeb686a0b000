from __future__ import annotations

import os

import numpy as np

import lvm_fast as lf
from lvm_fast.data import sample as sample_module


def test_the_sample_is_what_its_note_says() -> None:
    store = lf.sample()
    assert (len(store), store.vectors.shape, store.vectors.dtype_name) == (120, (35_402, 768), "int8")
    assert store.metadata["encoder"] == "sentence-transformers/all-mpnet-base-v2"
    assert "public domain" in store.metadata["source"]
    assert (store.lengths.min(), np.median(store.lengths), store.lengths.max()) == (36, 247.5, 1051)
    years = [int(name[:4]) for name in store.ids]
    assert (years[0], years[-1]) == (1790, 2021)
    assert years == sorted(years)
    assert np.diff(years).max() <= 6  # evenly spread
    path = os.path.join(os.path.dirname(sample_module.__file__), "sotu-sample.safetensors")
    assert os.path.getsize(path) <= 32_000_000


def test_the_sample_holds_unit_vectors_in_reading_order() -> None:
    store = lf.sample()
    store.check()
    rows = store.vectors[:2000]
    norms = np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(norms, 1, atol=2e-3)  # int8 rounding moves a row by about 0.009, mostly sideways
    adjacent = np.einsum("td,td->t", rows[1:], rows[:-1]).mean()
    shuffled = np.einsum("td,td->t", rows, np.random.default_rng(0).permutation(rows)).mean()
    assert adjacent > shuffled + 0.1
