"""Adding a source of negatives: one file and one line of the registry, and a run trains with it."""

from __future__ import annotations

import numpy as np
import pytest

from lvm_fast.training import negative_sources
from lvm_fast.training.fit import train
from lvm_fast.training.negatives.hard_negatives import hard_negatives
from lvm_fast.training.recipe import Recipe, setting

TOY = '''
import numpy as np

from lvm_fast.training.negatives.hard_negatives import HardNegatives


class OppositeChunks(HardNegatives):
    """The chunk as far from the end of the store as the target is from its beginning."""

    def __init__(self, recipe, data):
        super().__init__(recipe, data)
        for table in self.tables.values():
            table[:, 0] = np.arange(len(table))[::-1]
        self.count_each_once()
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A new file on the path, its line in the registry, and the file that a recipe names."""
    (tmp_path / "opposite_chunks.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    line = {"a file *.toy": "opposite_chunks:OppositeChunks"}
    monkeypatch.setattr(negative_sources.HARD_NEGATIVES, "places", {**negative_sources.HARD_NEGATIVES.places, **line})
    return str(tmp_path / "mine.toy")


def test_a_toy_source_gives_its_own_wrong_answers(asked, data, toy):
    negatives = hard_negatives(asked(negatives=toy, enable_soft_negatives=False), data)
    store = data.training.store
    vectors, is_there = negatives.for_targets(np.array([0, 5]))
    unit = store.vectors[[len(store.vectors) - 1, len(store.vectors) - 6]]
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors[:, 0], unit, rtol=1e-6)
    assert is_there.tolist() == [[True, False, False]] * 2


def test_a_run_trains_with_a_toy_source(asked, toy):
    result = train(asked(negatives=toy, enable_soft_negatives=False, epochs=1, alpha_infonce=1.0))
    count = len(result.training.vectors)
    line = f"negatives: hard {count:,} for {count:,} of {count:,} chunks, from {toy}"
    assert line in (result.output_dir / "train.log").read_text().splitlines()
    plain = train(
        asked(
            enable_soft_negatives=False,
            enable_hard_negatives=False,
            epochs=1,
            alpha_infonce=1.0,
            output_dir=str(result.output_dir.with_name("plain")),
        )
    )
    assert result.history[0]["train_loss"] > plain.history[0]["train_loss"]  # one more wrong answer each


def test_without_its_line_it_is_unknown():
    with pytest.raises(ValueError, match=r"unknown source of negatives 'mine.toy'; there are: target, prediction, "):
        Recipe(negatives="mine.toy", enable_hard_negatives=True)


def test_flags_and_recipes_offer_the_sources_of_the_registry():
    assert setting("negatives")[0].choices == ("target", "prediction")
    assert setting("infonce_batch")[0].choices == ("micro", *negative_sources.SHARED_CANDIDATES)
