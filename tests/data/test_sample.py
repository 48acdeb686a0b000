from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np

import lvm_fast as lf
from lvm_fast.data import sample as sample_module
from lvm_fast.retrieval.chunk_texts import ChunkTexts, Place, RowTexts


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


def test_the_sample_comes_with_the_texts_of_its_chunks() -> None:
    path = Path(sample_module.__file__).with_name("sotu-sample.chunks.jsonl.gz")
    assert path.stat().st_size <= 1_800_000
    store, texts = lf.sample(), ChunkTexts(path)
    records = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert [record["id"] for record in records] == store.ids
    assert [len(record["chunks"]) for record in records] == store.lengths.tolist()
    assert texts.text(store, 0, 0).startswith(
        "Fellow-Citizens of the Senate and House of Representatives: In meeting you"
    )
    last = len(store) - 1
    assert texts.text(store, last, int(store.lengths[last]) - 1) == records[-1]["chunks"][-1]


def test_a_part_of_the_sample_says_what_its_rows_say() -> None:
    store = lf.sample()
    _, held_out = lf.split_chains(store, val_fraction=0.2)
    assert held_out.vectors.path is None  # its rows were gathered, and near-duplicates cut out of them
    assert len(held_out.origins) > len(set(held_out.origins))
    whole, part = RowTexts(store), RowTexts(held_out)
    rows = np.arange(0, len(held_out.vectors), 97)
    moved = held_out.rows_in_file(rows)
    np.testing.assert_array_equal(held_out.vectors[rows], store.vectors[moved])
    for row, at in zip(rows.tolist(), moved.tolist(), strict=True):
        assert part.text(row) == whole.text(at) is not None
        assert (
            part.place(row)
            == whole.place(at)
            == Place(at, store.ids[(chain := int(store.chain_of(at)))], at - int(store.offsets[chain]))
        )
