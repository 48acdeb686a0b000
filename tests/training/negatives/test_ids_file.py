"""Negatives from a file of ids: which store it may be of, what is taken, and rows that cannot be."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from negatives_by_hand import lists

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.retrieval.mining import mine
from lvm_fast.training.fit import train
from lvm_fast.training.load_data import load_data
from lvm_fast.training.negatives.hard_negatives import own_negatives

BAND = {"low": 0.6, "high": 0.9, "limit": 60}


@pytest.fixture
def mined(near, tmp_path):
    """A file mined from the whole store."""
    mine(near, tmp_path / "mined.safetensors", **BAND, exclude_within=2)
    return str(tmp_path / "mined.safetensors")


def by_hand(store, band, limit):
    """For each chunk, others of the band but those within two places, best first."""
    unit = store.vectors[:] / np.linalg.norm(store.vectors[:], axis=1, keepdims=True)
    scores, chains, rows = unit.astype(np.float64) @ unit.T, store.chain_of(np.arange(len(unit))), np.arange(len(unit))
    close = (chains == chains[:, None]) & (np.abs(rows - rows[:, None]) <= 2)
    kept = [np.flatnonzero((band[0] <= s) & (s < band[1]) & ~c) for s, c in zip(scores, close, strict=True)]
    return [ids[np.argsort(-s[ids], kind="stable")][:limit].tolist() for ids, s in zip(kept, scores, strict=True)]


def test_a_file_of_the_whole_data_gives_its_training_chunks_by_their_cosines(asked, data, mined):
    own = own_negatives(asked(negatives=mined, negatives_limit=4), data)
    store = data.training.store
    assert len(store.vectors) < len(data.whole.vectors)
    hard, soft = by_hand(store, (0.75, 0.9), 4), by_hand(store, (0.6, 0.8), 4)
    assert lists(own.tables["hard"]) == hard
    assert any(set(h) & set(s) for h, s in zip(hard, soft, strict=True))  # counted once, as hard ones
    assert lists(own.tables["soft"]) == [[i for i in s if i not in h] for s, h in zip(soft, hard, strict=True)]
    assert own.words().endswith(f"from {mined}")


def test_a_file_of_the_training_part_gives_the_same(asked, data, mined, tmp_path):
    mine(data.training.store, tmp_path / "part.safetensors", **BAND, exclude_within=2)
    parts = own_negatives(asked(negatives=str(tmp_path / "part.safetensors")), data)
    whole = own_negatives(asked(negatives=mined), data)
    assert all(np.array_equal(table, whole.tables[name]) for name, table in parts.tables.items())


def test_a_run_takes_a_file(asked, mined):
    result = train(asked(negatives=mined, epochs=1))
    assert f", from {mined}" in (result.output_dir / "train.log").read_text()


def refused(recipe, message):
    with pytest.raises(ValueError, match=message):
        own_negatives(recipe, load_data(recipe))


def test_a_file_of_another_store_is_refused(asked, near, mined):
    other = ChainStore(near.vectors[:][::-1], near.offsets, near.ids)
    refused(asked(negatives=mined, data=other), "mined.safetensors: mined from another store of 162 rows; expected the")
    refused(
        asked(negatives=mined, data=other.pieces(*[near.offsets[[0, 3]], near.offsets[[1, 4]]], ["a", "b"], {})),
        "of 162 rows",
    )


def test_a_row_that_points_at_the_chunk_before_it_is_named(asked, near, tmp_path):
    mine(near, tmp_path / "near.safetensors", low=-0.9, high=0.99, limit=100, exclude_within=0)
    refused(
        asked(negatives=str(tmp_path / "near.safetensors")),
        r"near.safetensors: row \d+ points at row \d+, the chunk before it, and \d+ more rows do so; .*exclude_within",
    )


def test_a_file_without_such_negatives_is_refused(asked, mined):
    message = r"no hard negative of a training chunk, cosines 0.93 to 0.94; the file has 0.60 to 0.90"
    refused(asked(negatives=mined, hard_negative_cosine_range=[0.93, 0.94]), message)


def test_a_damaged_or_missing_file_is_told_before_anything_is_written(asked, mined, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(Path(mined).read_bytes()[:-1])
    with pytest.raises(ValueError, match="truncated or damaged"):
        train(asked(negatives=str(tmp_path / "cut.safetensors")))
    with pytest.raises(FileNotFoundError, match=re.escape("absent.safetensors")):
        train(asked(negatives=str(tmp_path / "absent.safetensors")))
    assert not (tmp_path / "run").exists()
