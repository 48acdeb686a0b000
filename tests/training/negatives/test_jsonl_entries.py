"""Negatives that a user supplies as JSON lines: what they become, and lines that cannot be."""

from __future__ import annotations

import gzip
import json
import re

import numpy as np
import pytest
from negatives_by_hand import lists, of_by_hand

from lvm_fast.training.fit import train
from lvm_fast.training.negatives.hard_negatives import hard_negatives


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
    training, held_out = data.training.store.ids[1], data.validation.store.origins[0]

    def line(name, chunk, soft, hard):
        soft, hard = (rng.standard_normal((count, 8)).tolist() for count in (soft, hard))
        return {"id": name, "chunk": chunk, "concept": "words", "soft": soft, "hard": hard}

    return [line(training, 3, 2, 1), line(held_out, 1, 1, 1), line(training, 0, 0, 5)]


@pytest.mark.parametrize("name", ["negatives.jsonl", "negatives.jsonl.gz"])
def test_they_belong_to_the_chunk_as_the_right_answer(asked, data, written, lines, name):
    own = hard_negatives(asked(negatives=written(*lines, "", name=name)), data)
    start = int(data.training.store.offsets[1])
    vectors, is_there = own.for_targets(np.array([start, start + 3, start + 1]))
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
    assert len(own.vectors.brought) == 6  # nothing of the held-out chain


def test_kinds_that_are_not_asked_for_are_left(asked, data, written, lines):
    own = hard_negatives(asked(negatives=written(*lines), enable_hard_negatives=False), data)
    assert list(own.tables) == ["soft"]
    assert len(own.vectors.brought) == 2


def test_a_run_takes_them(asked, written, lines):
    settings = {"epochs": 1, "alpha_infonce": 1.0, "negatives_limit": 8}
    result = train(asked(**settings, negatives=written(*lines)))
    assert "negatives: hard 6 for 2, soft 2 for 1 of 125 chunks, from " in (result.output_dir / "train.log").read_text()


def test_chunks_of_the_data_may_stand_for_vectors(asked, data, written, lines):
    """By row or by chain and place; those of held-out chains go, and the next ones take their places."""
    whole, part = data.whole, data.training.store
    held_out = next(row for row in range(len(whole.vectors)) if whole.ids[whole.chain_of(row)] not in part.ids)
    right = {"id": part.ids[1], "chunk": 3}
    chains = [part.ids[chain] for chain in (4, 2, 0)]
    pairs = [[name, 5] for name in chains]
    rows = [int(whole.offsets[whole.ids.index(name)]) + 5 for name in chains]
    places = [int(part.offsets[part.ids.index(name)]) + 5 for name in chains]
    by_row = hard_negatives(
        asked(negatives=written({**right, "hard": [held_out, *rows], "soft": lines[0]["soft"]})), data
    )
    target = int(part.offsets[1]) + 3
    assert lists(by_row.tables["hard"])[target] == places
    assert sum(map(len, lists(by_row.tables["hard"]))) == 3
    name, place = whole.ids[whole.chain_of(held_out)], held_out - int(whole.offsets[whole.chain_of(held_out)])
    by_place = hard_negatives(asked(negatives=written({**right, "hard": [[name, place], *pairs], "soft": rows})), data)
    np.testing.assert_array_equal(by_place.tables["hard"], by_row.tables["hard"])
    assert not (by_place.tables["soft"] >= 0).any()  # those that are hard as well
    vectors, is_there = by_row.for_targets(np.array([target]))
    assert is_there.sum() == 5
    given = np.concatenate([part.vectors[places], np.array(lines[0]["soft"], np.float32)])
    expected = given / np.linalg.norm(given, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors[is_there], expected, rtol=1e-5)


def test_chunks_of_held_out_chains_alone_are_no_negatives(asked, data, written):
    part, whole = data.training.store, data.whole
    held_out = [chain for chain, name in enumerate(whole.ids) if name not in part.ids]
    line = {"id": part.ids[1], "chunk": 3, "hard": [int(whole.offsets[chain]) for chain in held_out]}
    with pytest.raises(ValueError, match='no "hard" negatives of a training chunk'):
        hard_negatives(asked(negatives=written(line), enable_soft_negatives=False), data)


FORMS = 'expected a list of vectors, of rows of the data, or of ["chain", place]'
BAD = [
    ("{", "line 2: no valid JSON"),
    ({"id": "nobody"}, 'line 2: "id" and "chunk": \'nobody\' is no chain of the data'),
    ({"id": "chian 3"}, "'chian 3' is no chain of the data (did you mean 'chain 3'?)"),
    ({"chunk": None}, 'line 2: "id" and "chunk": None is no place in \'chain'),
    ({"chunk": 99}, "99 is no place in 'chain"),
    ({"chunk": True}, "True is no place in 'chain"),
    ({"soft": None, "hard": None}, 'line 2: neither "soft" nor "hard" negatives; expected lists of them'),
    ({"soft": [[1.0] * 7]}, 'line 2: "soft": entry 0 has 7 numbers; expected vectors of 8'),
    ({"soft": [[]]}, 'line 2: "soft": entry 0 has 0 numbers; expected vectors of 8'),
    ({"soft": [1.0] * 8}, f'line 2: "soft": entry 0 is no list of numbers; {FORMS}'),
    ({"hard": [[1.0] * 8, [1.0]]}, 'line 2: "hard": entry 1 has 1 numbers; expected vectors of 8'),
    ({"hard": "words"}, f'line 2: "hard" is a str; {FORMS}'),
    ({"hard": {"0": 1}}, f'line 2: "hard" is a dict; {FORMS}'),
    ({"hard": [["1"] * 8]}, f'line 2: "hard": entry 0 is no list of numbers; {FORMS}'),
    ({"hard": [[1.0] * 8, [True] * 8]}, f'line 2: "hard": entry 1 is no list of numbers; {FORMS}'),
    ({"hard": [[10**400] * 8]}, "line 2: no valid JSON in UTF-8: a number is beyond those of float64"),
    ({"hard": [[1.0] * 8, [0.0] * 8]}, 'line 2: "hard": row 1 is all zeros'),
    ({"soft": [[1e39] * 8]}, 'line 2: "soft": row 0 holds NaN or Inf'),
    ({"hard": [3, 162]}, 'line 2: "hard": entry 1 is row 162; expected a row of the data, 0 to 161'),
    ({"hard": [-1]}, 'line 2: "hard": entry 0 is row -1; expected a row'),
    ({"hard": [3, True]}, f'line 2: "hard": entry 0 is no list of numbers; {FORMS}'),
    ({"hard": [3, ["chain 2", 1]]}, f'line 2: "hard": entry 0 is no list of numbers; {FORMS}'),
    ({"hard": [["chain 2", 1], ["chain 99", 1]]}, "line 2: \"hard\": entry 1: 'chain 99' is no chain of the data"),
    ({"hard": [["chain 2", 10]]}, "entry 0: 10 is no place in 'chain 2'; expected a whole number from 0 to 9"),
    ({"hard": [["chain 2", True]]}, "entry 0: True is no place in 'chain 2'"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_line_that_cannot_be_is_named(asked, data, written, lines, change, message):
    bad = (
        change
        if isinstance(change, str)
        else {k: v for k, v in (lines[2] | change).items() if v is not None or k == "chunk"}
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        hard_negatives(asked(negatives=written(lines[0], bad)), data)


@pytest.mark.parametrize(("places", "words"), [(0, "the chunk itself"), (-1, "the chunk before it")])
def test_the_right_answer_and_the_chunk_before_it_are_no_negatives(asked, data, written, lines, places, words):
    row = int(data.training.store.offsets[1]) + 3 + places
    twice = (2 * data.training.store.vectors[row]).tolist()
    bad = lines[0] | {"hard": [lines[0]["hard"][0], twice]}
    with pytest.raises(ValueError, match=f'line 1: "hard": entry 1 points at {words}; expected wrong answers'):
        hard_negatives(asked(negatives=written(bad)), data)
    named = int(data.whole.offsets[data.whole.ids.index(bad["id"])]) + 3 + places
    bad = lines[0] | {"hard": [(named + 20) % len(data.whole.vectors), named]}
    with pytest.raises(ValueError, match=f'line 1: "hard": entry 1 points at {words}; expected wrong answers'):
        hard_negatives(asked(negatives=written(bad)), data)


def test_a_chunk_has_one_line(asked, data, written, lines):
    with pytest.raises(
        ValueError, match=r"line 3: chunk 3 of chain 'chain \d+' again; expected one line, and .*line 1 is one"
    ):
        hard_negatives(asked(negatives=written(lines[0], lines[1], lines[0])), data)


def test_a_file_without_a_kind_that_is_asked_for_is_refused(asked, data, written, lines):
    with pytest.raises(ValueError, match=r'negatives.jsonl: no "soft" negatives of a training chunk'):
        hard_negatives(asked(negatives=written(lines[1], lines[2])), data)
