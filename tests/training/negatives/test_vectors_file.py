"""Negatives that a user supplies as JSON lines of vectors: what they become, and lines that cannot be."""

from __future__ import annotations

import gzip
import json
import re

import numpy as np
import pytest
from negatives_by_hand import of_by_hand

from lvm_fast.training.negatives.own import own_negatives
from lvm_fast.training.trainer import train


@pytest.fixture
def written(tmp_path):
    """written(line, ...): the path of a file of these lines; texts go in as they are."""

    def write(*lines, name="negatives.jsonl"):
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        opener = gzip.open if name.endswith(".gz") else open
        with opener(tmp_path / name, "wt", encoding="utf-8") as file:
            file.write(text)
        return str(tmp_path / name)

    return write


@pytest.fixture
def lines(data, rng):
    """Two training chunks and a held-out one, each with soft and hard vectors of any length."""
    training, held_out = data.training.store.ids[1], data.validation.store.ids[0].split("#")[0]

    def line(name, chunk, soft, hard):
        soft, hard = (rng.standard_normal((count, 8)).tolist() for count in (soft, hard))
        return {"id": name, "chunk": chunk, "concept": "words", "soft": soft, "hard": hard}

    return [line(training, 3, 2, 1), line(held_out, 1, 1, 1), line(training, 0, 0, 5)]


@pytest.mark.parametrize("name", ["negatives.jsonl", "negatives.jsonl.gz"])
def test_they_belong_to_the_chunk_as_the_right_answer(asked, data, written, lines, name):
    own = own_negatives(asked(negatives=written(*lines, "", name=name)), data)
    start = int(data.training.store.offsets[1])
    vectors, is_there = own.of(np.array([start, start + 3, start + 1]))
    assert vectors.shape == (3, 6, 8)
    assert is_there.sum(axis=1).tolist() == [3, 3, 0]  # of five hard ones the first three
    for row, there, wanted in zip(
        vectors, is_there, of_by_hand(own.vectors, own, [start, start + 3, start + 1]), strict=True
    ):
        np.testing.assert_array_equal(row[there], wanted)
    expected = np.array([*lines[0]["hard"], *lines[0]["soft"]], np.float32)
    np.testing.assert_allclose(
        vectors[1][is_there[1]], expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-5
    )
    assert len(own.vectors) == 6  # nothing of the held-out chain


def test_kinds_that_are_not_asked_for_are_left(asked, data, written, lines):
    own = own_negatives(asked(negatives=written(*lines), enable_hard_negatives=False), data)
    assert list(own.tables) == ["soft"]
    assert len(own.vectors) == 2


def test_a_run_takes_them(asked, written, lines):
    settings = {"epochs": 1, "alpha_infonce": 1.0, "negatives_limit": 8}
    result = train(asked(**settings, negatives=written(*lines)))
    assert (
        "negatives: hard 0.05 a chunk (98% have none), soft 0.02 a chunk (99% have none)"
        in (result.output_dir / "train.log").read_text()
    )


BAD = [
    ("{", "line 2: no valid JSON"),
    ({"id": "nobody"}, "line 2: \"id\" is 'nobody'; expected a chain of the data"),
    ({"chunk": None}, 'line 2: "chunk" is None; expected a whole number from 0 to'),
    ({"chunk": 99}, 'line 2: "chunk" is 99; expected a whole number from 0 to'),
    ({"chunk": True}, 'line 2: "chunk" is True; expected'),
    ({"soft": None, "hard": None}, 'line 2: neither "soft" nor "hard" negatives; expected lists of vectors'),
    ({"soft": [[1.0] * 7]}, 'line 2: "soft" has shape (1, 7); expected vectors of 8 numbers'),
    ({"soft": [1.0] * 8}, 'line 2: "soft" has shape (8,); expected vectors of 8 numbers'),
    ({"hard": [[1.0] * 8, [1.0]]}, 'line 2: "hard" is not a list of equally long lists of numbers'),
    ({"hard": "words"}, 'line 2: "hard" is not a list of equally long lists of numbers'),
    ({"hard": [[1.0] * 8, [0.0] * 8]}, 'line 2: "hard": row 1 is all zeros'),
    ({"soft": [[1e39] * 8]}, 'line 2: "soft": row 0 holds NaN or Inf'),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_line_that_cannot_be_is_named(asked, data, written, lines, change, message):
    bad = (
        change
        if isinstance(change, str)
        else {k: v for k, v in (lines[2] | change).items() if v is not None or k == "chunk"}
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        own_negatives(asked(negatives=written(lines[0], bad)), data)


@pytest.mark.parametrize(("places", "words"), [(0, "the chunk itself"), (-1, "the chunk before it")])
def test_the_right_answer_and_the_chunk_before_it_are_no_negatives(asked, data, written, lines, places, words):
    row = int(data.training.store.offsets[1]) + 3 + places
    twice = (2 * data.training.store.vectors[row]).tolist()
    bad = lines[0] | {"hard": [lines[0]["hard"][0], twice]}
    with pytest.raises(ValueError, match=f'line 1: "hard": vector 1 points at {words}; expected wrong answers'):
        own_negatives(asked(negatives=written(bad)), data)


def test_a_chunk_has_one_line(asked, data, written, lines):
    with pytest.raises(ValueError, match=r"line 3: chunk 3 of chain 'chain \d+' again; it was in .*line 1"):
        own_negatives(asked(negatives=written(lines[0], lines[1], lines[0])), data)


def test_a_file_without_a_kind_that_is_asked_for_is_refused(asked, data, written, lines):
    with pytest.raises(ValueError, match=r'negatives.jsonl: no "soft" negatives of a training chunk'):
        own_negatives(asked(negatives=written(lines[1], lines[2])), data)
