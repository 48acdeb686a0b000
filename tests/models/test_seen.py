"""What a model has seen in training is told from a sketch, whatever number format the chunks come in."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.models.seen import has_seen, save_sketch, sketch_of


@pytest.fixture(scope="module")
def chunks() -> np.ndarray:
    return np.asarray(lf.sample().vectors[:6000])


@pytest.mark.parametrize(
    "stored",
    [
        lambda rows: rows,
        lambda rows: rows.astype(np.float16),
        lambda rows: rows.astype(ml_dtypes.bfloat16).astype(np.float32),
        lambda rows: 3.0 * rows,
    ],
    ids=["float32", "float16", "bfloat16", "scaled"],
)
def test_known_chunks_are_known_in_every_format(tmp_path, chunks, stored):
    save_sketch(tmp_path, sketch_of(chunks[:3000]))
    assert has_seen(tmp_path, stored(chunks[:3000]))
    assert has_seen(tmp_path, stored(chunks[2000:4000]))
    assert not has_seen(tmp_path, stored(chunks[3000:]))


def test_a_sketch_keeps_about_one_chunk_in_sixteen(chunks):
    sketch = sketch_of(chunks)
    assert len(chunks) / 24 < len(sketch) < len(chunks) / 10
    np.testing.assert_array_equal(sketch, np.unique(sketch))
    halves = np.union1d(sketch_of(chunks[:2500]), sketch_of(chunks[2500:]))
    np.testing.assert_array_equal(sketch, halves)


def test_a_model_without_a_sketch_has_seen_nothing_that_is_known(tmp_path, chunks):
    assert not has_seen(tmp_path, chunks[:100])
    save_sketch(tmp_path, sketch_of(chunks[:0]))
    assert not has_seen(tmp_path, chunks[:100])
    assert not has_seen(tmp_path, chunks[:0])
