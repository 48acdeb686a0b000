"""Negatives mined around the right answers: by definition, from training chunks only, once."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from negatives_by_hand import lists, mined_by_hand, of_by_hand, unit

from lvm_fast.training.distributed import DistributedContext
from lvm_fast.training.fit import train
from lvm_fast.training.load_data import load_data
from lvm_fast.training.negatives import mined_negatives
from lvm_fast.training.negatives.hard_negatives import first_ids, hard_negatives

ALONE = DistributedContext(torch.device("cpu"))


def prepared(recipe, folder, data=None):
    own = hard_negatives(recipe, data or load_data(recipe))
    own.prepare(folder, ALONE)
    return own


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("hard", [False, True])
def test_either_kind_asks_for_a_source(asked, soft, hard):
    assert asked(enable_soft_negatives=soft, enable_hard_negatives=hard).has_hard_negatives is (soft or hard)


@pytest.mark.parametrize("highest", [0.9, 1.0])
def test_they_are_those_of_the_definition_among_training_chunks(asked, data, tmp_path, highest):
    recipe, store = asked(hard_negative_cosine_range=[0.75, highest]), data.training.store
    own = prepared(recipe, tmp_path, data)
    expected = mined_by_hand(store, dict(enumerate(unit(store))), recipe)
    for kind, table in own.tables.items():
        assert lists(table) == list(expected[kind].values())
        assert any(lists(table))
        assert not all(lists(table))
    assert len(store.vectors) < len(data.whole.vectors)


def test_a_batch_of_targets_gets_unit_vectors_and_what_is_padding(asked, data, tmp_path):
    own = prepared(asked(), tmp_path, data)
    targets = [40, 3, 11]
    vectors, is_there = own.for_targets(np.array(targets))
    assert vectors.shape == (3, 6, 8)
    assert vectors.dtype == np.float32
    expected = of_by_hand(data.training.store.vectors, own, targets)
    for row, there, wanted in zip(vectors, is_there, expected, strict=True):
        np.testing.assert_array_equal(row[there], wanted)


def test_only_one_kind_where_only_one_is_asked_for(asked, data, tmp_path):
    own = prepared(asked(enable_hard_negatives=False), tmp_path, data)
    assert list(own.tables) == ["soft"]
    found = lists(own.tables["soft"])
    count, having = sum(map(len, found)), sum(map(bool, found))
    assert 0 < having < count
    assert [path.name for path in tmp_path.iterdir()] == ["soft_negatives.safetensors"]
    assert own.describe() == f"negatives: soft {count} for {having} of 125 chunks, from target"


def test_they_are_mined_once_for_a_folder_and_settings(asked, data, tmp_path, monkeypatch):
    first, mined, real = prepared(asked(), tmp_path, data), [], mined_negatives.mine
    monkeypatch.setattr(
        mined_negatives, "mine", lambda *given, **named: (mined.append(given[1].name), real(*given, **named))
    )
    again = prepared(asked(), tmp_path, data)
    assert mined == []
    np.testing.assert_array_equal(again.tables["soft"], first.tables["soft"])
    prepared(asked(soft_negative_cosine_range=[0.5, 0.8]), tmp_path, data)
    assert mined == ["soft_negatives.safetensors"]


def test_a_band_beyond_the_margin_is_refused(asked, data):
    with pytest.raises(
        ValueError, match=r"train: hard_negative_cosine_range begins at 0.96; expected cosines below 0.95"
    ):
        hard_negatives(asked(hard_negative_cosine_range=[0.96, 1.0]), data)


def test_a_run_uses_them_says_so_and_its_loss_is_higher_for_them(asked, tmp_path):
    settings = {"epochs": 1, "alpha_infonce": 1.0}
    plain = train(
        asked(**settings, enable_soft_negatives=False, enable_hard_negatives=False, output_dir=str(tmp_path / "plain"))
    )
    result = train(asked(**settings))
    assert result.history[0]["train_loss"] > plain.history[0]["train_loss"] + 0.01
    log = (result.output_dir / "train.log").read_text()
    said = r"^negatives: hard \d+ for \d+, soft \d+ for \d+ of 125 chunks, from target$"
    assert len(re.findall(said, log, re.MULTILINE)) == 1
    assert {"soft_negatives.safetensors", "hard_negatives.safetensors"} < {p.name for p in result.output_dir.iterdir()}


@pytest.mark.parametrize("source", ["target", "prediction"])
def test_a_kind_that_no_chunk_has_any_of_is_warned_of(asked, source):
    settings = {"hard_negative_cosine_range": [-0.99, -0.98], "negatives": source, "negatives_refresh": 2}
    with pytest.warns(UserWarning, match="no training chunk has hard negatives") as caught:
        result = train(asked(epochs=2, **settings))
    assert [str(warning.message) for warning in caught] == [
        f"train: negatives = {source!r}: no training chunk has hard negatives; "
        "expected some in hard_negative_cosine_range = -0.99 to -0.98"
    ]
    assert re.search(r"^negatives: hard 0 for 0, soft [1-9]", (result.output_dir / "train.log").read_text(), re.M)


def test_a_run_that_was_stopped_while_mining_goes_on(asked, monkeypatch):
    def stop(*given, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mined_negatives, "mine", stop)
        with pytest.raises(KeyboardInterrupt):
            train(asked(epochs=1))
    assert len(train(asked(epochs=1, resume=True)).history) == 1


def test_the_first_wanted_ids_of_each_row():
    ids = np.array([[4, 5, 6], [7, 8, -1]])
    wanted = np.array([[False, True, True], [True, False, False]])
    assert first_ids(ids, wanted, 2).tolist() == [[5, 6], [7, -1]]
    assert first_ids(ids, wanted, 5).tolist() == [[5, 6, -1, -1, -1], [7, -1, -1, -1, -1]]
