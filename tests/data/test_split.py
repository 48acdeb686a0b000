from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lvm_fast as lf
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.number_formats import Float32
from lvm_fast.data.split import split_chains

Rows = Callable[..., Float32]


def random_store(lengths: list[int], seed: int = 0) -> ChainStore:
    rows = np.random.default_rng(seed).standard_normal((sum(lengths), 24), dtype=np.float32)
    return ChainStore(rows, np.cumsum([0, *lengths]), [f"doc{i}" for i in range(len(lengths))], {"source": "random"})


def chain_rows(store: ChainStore) -> dict[str, list[list[float]]]:
    return {
        name: store.vectors[begin:end].tolist()
        for name, begin, end in zip(store.ids, store.offsets, store.offsets[1:], strict=False)
    }


def cosines(a: ChainStore, b: ChainStore) -> Float32:
    rows = [part.vectors[:] / np.linalg.norm(part.vectors[:], axis=1, keepdims=True) for part in (a, b)]
    return rows[0] @ rows[1].T


@settings(max_examples=50)
@given(
    lengths=st.lists(st.integers(0, 30), min_size=3, max_size=20).filter(lambda x: np.count_nonzero(x) >= 3),
    fraction=st.sampled_from([0.05, 0.1, 0.3]),
    seed=st.integers(0, 5),
)
def test_parts_are_whole_chains_in_order_and_lose_nothing(lengths: list[int], fraction: float, seed: int) -> None:
    store = random_store(lengths)
    parts = split_chains(store, fraction, seed, near_duplicate=None)
    order = {name: place for place, name in enumerate(store.ids)}
    together: dict[str, Any] = {}
    for part in parts:
        assert [order[name] for name in part.ids] == sorted(order[name] for name in part.ids)
        assert part.offsets[0] == 0
        assert not together.keys() & part.ids
        together |= chain_rows(part)
    assert together == {name: rows for name, rows in chain_rows(store).items() if rows}


def test_the_fraction_is_met_as_nearly_as_chains_allow() -> None:
    lengths = np.random.default_rng(1).integers(20, 400, 200).tolist()
    store = random_store(lengths)
    for seed in range(20):
        train, val, test = split_chains(store, 0.1, seed, 0.2, near_duplicate=None)
        assert abs(len(val.vectors) - 0.1 * sum(lengths)) <= 20  # half of a shortest chain, and some room
        assert abs(len(test.vectors) - 0.2 * sum(lengths)) <= 20
        assert train.metadata["split"] == {"part": "train", "seed": seed, "fraction": 0.7, "rows": len(train.vectors)}


def test_the_seed_decides_and_the_test_fraction_does_not_move_validation() -> None:
    lengths = np.random.default_rng(1).integers(5, 30, 60).tolist()
    store = random_store(lengths)
    rows = np.array(store.vectors[:])
    rows[::7] = rows[0]  # near-duplicates everywhere, in every part
    store = ChainStore(rows, store.offsets)
    first, again = split_chains(store, seed=3)[1], split_chains(store, seed=3)[1]
    with_test = split_chains(store, seed=3, test_fraction=0.3)[1]
    for other in (again, with_test):
        assert other.ids == first.ids
        np.testing.assert_array_equal(other.vectors[:], first.vectors[:])
    assert split_chains(store, seed=4)[1].ids != first.ids


@pytest.mark.parametrize("lengths", [[1, 1], [100, 1], [1, 100], [50, 50, 50], [0, 7, 0, 9]])
def test_no_part_is_empty(lengths: list[int]) -> None:
    for fraction in (0.01, 0.5, 0.99):
        for part in split_chains(random_store(lengths), fraction):
            assert len(part.vectors)
    if len(lengths) == 3:
        assert [len(part) for part in split_chains(random_store(lengths), 0.1, test_fraction=0.1)] == [1, 1, 1]


def test_something_is_left_for_training_when_chains_are_coarse() -> None:
    for seed in range(5):  # validation takes more than its share here, so that test could take all the rest
        parts = split_chains(random_store([60, 30, 30]), 0.1, seed, test_fraction=0.8)
        assert [len(part) for part in parts] == [1, 1, 1]


def test_near_duplicates_are_cut_out_and_no_pair_is_left(rng: np.random.Generator) -> None:
    store = random_store([40] * 30)
    rows = np.array(store.vectors[:])
    source, copy = rng.integers(0, len(rows), (2, 150))
    rows[copy] = rows[source] * 2 + 0.01 * rng.standard_normal((150, 24), dtype=np.float32)
    store = ChainStore(rows, store.offsets, store.ids)
    train, val, test = split_chains(store, 0.2, test_fraction=0.2)
    kept_train, kept_val, kept_test = split_chains(store, 0.2, test_fraction=0.2, near_duplicate=None)
    assert max(cosines(train, val).max(), cosines(train, test).max(), cosines(val, test).max()) < 0.995
    assert chain_rows(train) == chain_rows(kept_train)
    for part, whole in ((val, kept_val), (test, kept_test)):
        dropped = part.metadata["near_duplicates_dropped"]
        assert dropped == len(whole.vectors) - len(part.vectors) > 0
        assert whole.metadata["near_duplicates_dropped"] == 0
        assert part.metadata["split"]["rows"] == len(part.vectors)


def test_a_chain_is_cut_where_a_chunk_was_dropped(unit_rows: Rows) -> None:
    rows = unit_rows(40, 64)
    store = ChainStore(rows, [0, 10, 20, 30, 40], ["a", "b", "c", "d"])
    _, val = split_chains(store, 0.45, near_duplicate=None)
    assert len(val) == 2
    whole, cut = (store.ids.index(name) for name in val.ids)
    in_train = next(chain for chain in range(4) if chain not in (whole, cut))
    for place in (0, 4, 5, 8):  # the first row, two neighbours, and one that leaves a piece of one row
        rows[10 * cut + place] = rows[10 * in_train + place]
    _, val = split_chains(ChainStore(rows, store.offsets, store.ids), 0.45)
    name = store.ids[cut]
    assert val.ids == [store.ids[whole], f"{name}#1", f"{name}#2", f"{name}#3"]
    np.testing.assert_array_equal(val.lengths, [10, 3, 2, 1])
    np.testing.assert_array_equal(val.vectors[10:], rows[10 * cut + np.array([1, 2, 3, 6, 7, 9])])
    assert val.metadata["near_duplicates_dropped"] == 4


def cut_store(ids: list[str], cut: str) -> tuple[ChainStore, ChainStore]:
    """Equal chains of 10 rows, of which validation holds `cut` without its fifth row; training and validation."""
    for seed in range(200):
        store = random_store([10] * len(ids), seed=1)
        _, val = split_chains(ChainStore(store.vectors, store.offsets, ids), 0.3, seed, near_duplicate=None)
        if cut in val.ids:
            break
    rows = np.array(store.vectors[:])
    source = next(chain for chain, name in enumerate(ids) if name not in val.ids)
    rows[10 * ids.index(cut) + 4] = rows[10 * source]
    parts = split_chains(ChainStore(rows, store.offsets, ids), 0.3, seed)
    return parts[0], parts[1]


def test_pieces_have_the_origin_of_their_chain() -> None:
    _, val = cut_store(["a", "b", "c", "d", "e", "f"], "c")
    assert {"c#1", "c#2"} < set(val.ids)
    assert [origin for name, origin in zip(val.ids, val.origins, strict=True) if "#" in name] == ["c", "c"]
    assert all(origin == name for name, origin in zip(val.ids, val.origins, strict=True) if "#" not in name)


@pytest.mark.parametrize(
    ("taken", "pieces"),
    [
        (["a#1"], ["a##1", "a##2"]),
        (["a#2"], ["a##1", "a##2"]),
        (["a#1", "a##2"], ["a###1", "a###2"]),
        (["a#x", "a"], ["a#1", "a#2"]),
    ],
)
def test_pieces_are_called_as_no_other_chain_is(taken: list[str], pieces: list[str]) -> None:
    ids = list(dict.fromkeys(["a", *taken, "b", "c", "d"]))
    train, val = cut_store(ids, "a")
    assert [name for name, origin in zip(val.ids, val.origins, strict=True) if origin == "a"] == pieces
    assert len({*train.ids, *val.ids}) == len(train) + len(val)
    assert set(train.origins) | set(val.origins) == set(ids)


def test_chains_whose_ids_end_like_pieces_are_chains() -> None:
    """Six chains, each scored as one."""
    store = random_store([30] * 6)
    store = ChainStore(store.vectors, store.offsets, [f"issue#{number}" for number in range(6)])
    model = lf.create_model("gru", input_dim=24, hidden_dim=8, num_layers=1)
    report = lf.evaluate(model, store, context_length=5, bootstrap=50, curve=False)
    assert report.chains == 6


def test_the_pieces_of_a_chain_are_scored_as_one(tmp_path: Path) -> None:
    ids = ["a", "b", "c", "d", "e", "f", "g"]
    _, val = cut_store(ids, "c")
    val.save(tmp_path / "val")
    model = lf.create_model("gru", input_dim=24, hidden_dim=8, num_layers=1)
    for store in (val, ChainStore.open(tmp_path / "val")):
        report = lf.evaluate(model, store, context_length=5, min_length=2, bootstrap=50, curve=False)
        assert report.chains == len(val) - 1 == len({*val.origins})


def test_the_pieces_of_a_chain_are_dealt_together() -> None:
    """What one split cut, saved and split again, is never on both sides."""
    rows = random_store([5] * 12)
    origins = [f"doc{chain // 3}" for chain in range(12)]
    store = ChainStore(rows.vectors, rows.offsets, [f"piece {chain}" for chain in range(12)], origins=origins)
    for seed in range(10):
        parts = split_chains(store, 0.25, seed, test_fraction=0.25)
        sides = [set(part.origins) for part in parts]
        assert [len(part.vectors) for part in parts] == [30, 15, 15]
        assert sorted(name for side in sides for name in side) == ["doc0", "doc1", "doc2", "doc3"]
    one = ChainStore(rows.vectors, rows.offsets, origins=["whole"] * 12)
    with pytest.raises(ValueError, match="1 chains with rows; expected at least 2"):
        split_chains(one)


def test_a_piece_that_is_cut_again_keeps_the_first_origin() -> None:
    rows = np.array(random_store([10] * 4).vectors[:])
    store = ChainStore(rows, [0, 10, 20, 30, 40], ["a#1", "b", "c", "d"], origins=["a", "b", "c", "d"])
    seed = next(seed for seed in range(50) if split_chains(store, 0.25, seed, near_duplicate=None)[1].ids == ["a#1"])
    rows[4] = rows[25]
    _, val = split_chains(ChainStore(rows, store.offsets, store.ids, origins=store.origins), 0.25, seed)
    assert (val.ids, val.origins) == (["a#1#1", "a#1#2"], ["a", "a"])


def test_settings_may_be_numpy_numbers() -> None:
    store = random_store([10] * 10)
    plain = split_chains(store, 0.25, 3, 0.25, 0.5)
    numpys = split_chains(store, np.float32(0.25), np.int64(3), np.float64(0.25), np.float32(0.5))
    for part, other in zip(plain, numpys, strict=True):
        assert repr((part.ids, part.metadata)) == repr((other.ids, other.metadata))


def test_a_chain_of_duplicates_vanishes(unit_rows: Rows) -> None:
    rows = unit_rows(30, 64)
    store = ChainStore(rows, [0, 10, 20, 30], ["a", "b", "c"])
    train, val = split_chains(store, 0.6, near_duplicate=None)
    gone, kept, source = (store.ids.index(name) for name in (*val.ids, *train.ids))
    rows[10 * gone : 10 * gone + 10] = rows[10 * source : 10 * source + 10]
    assert split_chains(ChainStore(rows, store.offsets, store.ids), 0.6)[1].ids == [store.ids[kept]]


def test_the_stored_format_is_kept() -> None:
    store = lf.sample()
    train, val = lf.split_chains(store)
    assert (train.vectors.dtype_name, val.vectors.dtype_name) == ("int8", "int8")
    assert abs(len(val.vectors) / len(store.vectors) - 0.1) < 0.002
    assert val.metadata["near_duplicates_dropped"] == 2
    assert cosines(val, train).max() < 0.9955  # float32 rounding aside


@pytest.mark.parametrize(
    ("lengths", "arguments", "message"),
    [
        ([5, 5], {"val_fraction": 0.0}, "val_fraction = 0.0; expected above 0 and below 1"),
        ([5, 5], {"val_fraction": 1.0}, "val_fraction = 1.0"),
        ([5, 5], {"val_fraction": float("nan")}, "val_fraction: expected a finite number, got nan"),
        ([5, 5], {"val_fraction": "0.1"}, "val_fraction: expected a finite number, got '0.1'"),
        ([5, 5], {"near_duplicate": True}, "near_duplicate: expected a finite number, got True"),
        ([5, 5], {"seed": True}, "seed: expected a whole number of at least 0, got True"),
        ([5, 5, 5], {"test_fraction": -0.1}, "test_fraction = -0.1"),
        ([5, 5, 5], {"val_fraction": 0.5, "test_fraction": 0.5}, "leave nothing for training"),
        ([5], {}, "1 chains with rows; expected at least 2"),
        ([5, 0, 0], {}, "1 chains with rows; expected at least 2"),
        ([5, 5], {"test_fraction": 0.1}, "2 chains with rows; expected at least 3"),
        ([5, 5, 5], {"val_fraction": 0.7, "test_fraction": 0.1}, "1 chain is left for test and training"),
        ([5, 5], {"seed": -1}, "seed: expected a whole number of at least 0, got -1"),
        ([5, 5], {"seed": 0.5}, "seed: expected a whole number of at least 0, got 0.5"),
        ([5, 5], {"near_duplicate": 0.0}, "near_duplicate = 0.0; expected a cosine above 0"),
        ([5, 5], {"near_duplicate": float("nan")}, "near_duplicate: expected a finite number, got nan"),
    ],
)
def test_bad_arguments(lengths: list[int], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"split_chains: .*{message}"):
        split_chains(random_store(lengths), **arguments)


def test_copies_of_one_document_cannot_be_split(unit_rows: Rows) -> None:
    store = ChainStore(np.tile(unit_rows(5), (2, 1)), [0, 5, 10])
    with pytest.raises(ValueError, match="every chunk of the val part is a near-duplicate"):
        split_chains(store)
