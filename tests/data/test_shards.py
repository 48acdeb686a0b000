"""Ten files are one store: the same rows, and the same answers of everything that reads one, bit for bit."""

from __future__ import annotations

import copy
import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.joined_rows import JoinedRows
from lvm_fast.data.source import chunks_path, files_of
from lvm_fast.data.split import split_chains
from lvm_fast.data.vectors import Vectors
from lvm_fast.data.windows import Windows
from lvm_fast.retrieval import streamed_contents
from lvm_fast.retrieval.mining import mine
from lvm_fast.retrieval.search import ChunkTexts

FILES = 10
DIM = 12


def rows_of(seed: int, count: int) -> Any:
    steps = np.random.default_rng(seed).standard_normal((count, DIM))
    return np.cumsum(steps, axis=0).astype(np.float32)


@pytest.fixture(scope="module", params=["float32", "float16", "bfloat16", "int8"])
def stores(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ChainStore]:
    """The folder of ten files, and the same chains in one file."""
    place: Path = tmp_path_factory.mktemp("shards")
    folder = place / "many"
    folder.mkdir()
    lengths = [[12 + (file * 7 + chain) % 9 for chain in range(1 + file % 3 + 2)] for file in range(FILES)]
    for file, counts in enumerate(lengths):
        rows, offsets = rows_of(file, sum(counts)), np.cumsum([0, *counts])
        ids = [f"{file}.{chain}" for chain in range(len(counts))]
        metadata = {"encoder": "fake", "source": f"file {file}"}
        store = ChainStore(rows, offsets, ids, metadata)
        store.save(folder / f"part-{file:02}.safetensors", request.param)
    parts = [ChainStore.open(path) for path in sorted(folder.iterdir())]
    raw = np.concatenate([part.vectors.raw for part in parts])
    scales = None if parts[0].vectors.scales is None else np.concatenate([part.vectors.scales for part in parts])
    offsets = np.cumsum([0, *(length for counts in lengths for length in counts)])
    ids = [name for part in parts for name in part.ids]
    whole = ChainStore(Vectors(raw, request.param, scales), offsets, ids, {"encoder": "fake"})
    whole.save(place / "one.safetensors")
    return folder, ChainStore.open(place / "one.safetensors")


@pytest.mark.parametrize("pattern", ["", "part-*.safetensors", "*"])
def test_a_folder_or_a_pattern_opens_as_one_store(stores: tuple[Path, ChainStore], pattern: str) -> None:
    folder, one = stores
    many = ChainStore.open(folder / pattern)
    assert many.vectors.is_joined
    assert (many.ids, many.metadata, many.vectors.dtype_name) == (one.ids, {"encoder": "fake"}, one.vectors.dtype_name)
    np.testing.assert_array_equal(many.offsets, one.offsets)
    np.testing.assert_array_equal(many.vectors[:], one.vectors[:])
    np.testing.assert_array_equal(np.asarray(many.vectors), np.asarray(one.vectors))
    np.testing.assert_array_equal(many.vectors[[3, -1, 0]], one.vectors[[3, -1, 0]])
    assert many.fingerprint() == one.fingerprint()
    many.check()


def test_it_is_saved_as_one_file(stores: tuple[Path, ChainStore], tmp_path: Path) -> None:
    folder, one = stores
    ChainStore.open(folder).save(tmp_path / "joined.safetensors")
    assert (tmp_path / "joined.safetensors").read_bytes() == Path(str(one.vectors.path)).read_bytes()


def test_splits_and_windows_are_those_of_one_file_and_stay_on_disk(stores: tuple[Path, ChainStore]) -> None:
    folder, one = stores
    for ours, theirs in zip(split_chains(ChainStore.open(folder)), split_chains(one), strict=True):
        assert ours.vectors.is_joined
        assert (ours.ids, ours.metadata) == (theirs.ids, theirs.metadata)
        np.testing.assert_array_equal(ours.vectors[:], theirs.vectors[:])
        windows, expected = Windows(ours, 5), Windows(theirs, 5)
        for got, wanted in zip(windows.batch([0, 3, 1]), expected.batch([0, 3, 1]), strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_it_is_pickled_as_its_paths(stores: tuple[Path, ChainStore]) -> None:
    folder, _ = stores
    train, _ = split_chains(ChainStore.open(folder))
    pickled = pickle.dumps(train.vectors)
    assert len(pickled) < train.vectors.raw[:].nbytes + 4000
    for again in (pickle.loads(pickled), copy.copy(train.vectors), copy.deepcopy(train.vectors)):
        assert again.is_joined
        np.testing.assert_array_equal(again[:], train.vectors[:])
    assert files_of(folder) == sorted(folder.iterdir()) == [Path(path) for path in files_of(ChainStore.open(folder))]


def test_a_pickle_of_files_that_have_changed_is_refused(tmp_path: Path) -> None:
    for file in range(2):
        ChainStore.write(tmp_path / f"{file}.safetensors", rows_of(file, 9), [0, 9], [str(file)])
    pickled = pickle.dumps(ChainStore.open(tmp_path))
    ChainStore.write(tmp_path / "1.safetensors", rows_of(5, 9), [0, 9], ["1"])
    with pytest.raises(ValueError, match="hold other rows than when this was pickled"):
        pickle.loads(pickled)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Banks that pack 30 rows at a time."""
    monkeypatch.setattr(streamed_contents, "_PACKED_BYTES", 30 * 4 * DIM)


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
@pytest.mark.usefixtures("small_blocks")
def test_a_bank_streams_and_answers_alike(stores: tuple[Path, ChainStore], metric: str) -> None:
    folder, one = stores
    many = lf.VectorBank(ChainStore.open(folder).vectors, metric=metric)
    bank = lf.VectorBank(one.vectors, metric=metric)
    assert many.is_streamed
    assert not bank.is_streamed
    assert (len(many), many.dim) == (len(bank), DIM)
    queries = np.concatenate([one.vectors[::17], rows_of(99, 8)])
    targets = np.random.default_rng(0).integers(0, len(bank), len(queries))
    exclude = np.stack([targets, (targets + 40) % len(bank), np.full(len(targets), -1)], axis=1)
    below = bank.pair_scores(queries, targets) + 0.1
    np.testing.assert_array_equal(many.pair_scores(queries, targets), bank.pair_scores(queries, targets))
    for most in (None, 1, 7):
        np.testing.assert_array_equal(many.rank(queries, targets, most), bank.rank(queries, targets, most))
    for k in (1, 5, 45, len(bank)):
        for ours, theirs in zip(many.topk(queries, k), bank.topk(queries, k), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for low, high, limit in ((-np.inf, np.inf, 50), (0.1, 0.9, 3), (2.0, 1e9, 400)):
        asked = (queries, low, high, limit, exclude, below)
        for ours, theirs in zip(many.scored_band(*asked), bank.scored_band(*asked), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    if metric != "l2":
        for ours, theirs in zip(many.logsumexp(queries, 0.3), bank.logsumexp(queries, 0.3), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    again = pickle.loads(pickle.dumps(many))
    np.testing.assert_array_equal(again.rank(queries, targets), bank.rank(queries, targets))


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.usefixtures("small_blocks")
def test_a_streamed_bank_filters_and_forgets_alike(stores: tuple[Path, ChainStore], metric: str) -> None:
    folder, one = stores
    banks = [lf.VectorBank(vectors, metric=metric) for vectors in (ChainStore.open(folder).vectors, one.vectors)]
    rng, size = np.random.default_rng(1), len(one.vectors)
    gone = rng.permutation(size)[:50]
    for bank in banks:
        bank.remove(gone)
    banks.append(pickle.loads(pickle.dumps(banks[0])))
    queries, targets = one.vectors[::29], np.setdiff1d(np.arange(size), gone)[: len(one.vectors[::29])]
    ranges = np.sort(rng.integers(0, size, (len(queries), 2, 2)), axis=2)
    filters = {"exclude": targets[:, None] // 2, "exclude_ranges": ranges, "allow": rng.random(size) < 0.6}
    answers = [(len(bank), bank.rank(queries, targets, **filters), *bank.topk(queries, 9, **filters)) for bank in banks]
    for ours in answers[::2]:
        for one_answer, theirs in zip(ours, answers[1], strict=True):
            np.testing.assert_array_equal(one_answer, theirs)
    assert banks[2].is_streamed


def test_what_a_streamed_bank_cannot_do_is_said(tmp_path: Path, small_blocks: None) -> None:
    rows = rows_of(1, 80)
    rows[70, 3] = np.nan
    bank = lf.VectorBank(Vectors(JoinedRows([rows[:50], rows[50:]]), "float32"))
    with pytest.raises(ValueError, match=r"row 10 .*\(rows counted from 60\)"):
        bank.topk(rows[:1], 1)
    with pytest.raises(ValueError, match="the bank reads several files"):
        bank.save(tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="append: vectors: a bank of rows in several files takes no others"):
        bank.append(rows[:5])
    with pytest.raises(ValueError, match="rows in one place"):
        bank.refill(rows[:5])


def recipe(data: Any, place: Path, **settings: Any) -> Any:
    sizes = {"model": {"hidden_dim": 6, "num_layers": 1, "memory_slots": 4}} if "model_type" not in settings else {}
    common = {"epochs": 2, "context_length": 5, "stride": 2, "accumulation_steps": 1, "device": "cpu"}
    return lf.Recipe(data=data, output_dir=place, tensorboard=False, val_fraction=0.2, **common, **sizes, **settings)


@pytest.mark.parametrize("settings", [{}, {"space": "whitened"}], ids=str)
@pytest.mark.usefixtures("small_blocks")
def test_training_and_evaluation_are_those_of_one_file(
    stores: tuple[Path, ChainStore], tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder, one = stores
    if one.vectors.dtype_name != "float16":
        pytest.skip("one number format shows it")
    results = [lf.train(recipe(data, tmp_path / name, **settings)) for name, data in (("a", folder), ("b", one))]
    timings = ("seconds", "vectors_per_second")
    ours, theirs = ([{k: v for k, v in row.items() if k not in timings} for row in one.history] for one in results)
    assert ours == theirs
    models = [lf.load_model(tmp_path / name) for name in "ab"]
    for pool in ("targets", "store"):
        reports = [
            lf.evaluate(model, store, context_length=5, pool=pool)
            for model, store in zip(models, (ChainStore.open(folder), one), strict=True)
        ]
        assert reports[0].hits == reports[1].hits
        assert reports[0].baselines == reports[1].baselines


@pytest.mark.usefixtures("small_blocks")
def test_spaces_banks_and_mined_negatives_are_those_of_one_file(
    stores: tuple[Path, ChainStore], tmp_path: Path
) -> None:
    folder, one = stores
    many = ChainStore.open(folder)
    spaces = [lf.fit_space(store.vectors) for store in (many, one)]
    np.testing.assert_array_equal(spaces[0].matrix, spaces[1].matrix)  # type: ignore[union-attr]
    inside = [space.store(store) for space, store in zip(spaces, (many, one), strict=True)]  # type: ignore[union-attr]
    assert inside[0].vectors.is_joined
    np.testing.assert_array_equal(inside[0].vectors[:], inside[1].vectors[:])
    options = {"low": 0.2, "high": 0.95, "limit": 4}
    mined = [
        mine(data, tmp_path / f"{name}.safetensors", progress=False, **options)
        for name, data in (("many", str(folder)), ("one", one))
    ]
    np.testing.assert_array_equal(mined[0].ids, mined[1].ids)
    np.testing.assert_array_equal(mined[0].scores, mined[1].scores)
    with pytest.raises(ValueError, match="is an input too"):
        mine(folder, folder / "part-03.safetensors", overwrite=True)
    hits = [lf.search(store, one.vectors[:2], 3) for store in (many, one)]
    assert hits[0] == hits[1]


def test_chains_of_one_name_in_two_files_are_called_by_their_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        path = tmp_path / f"{name}.safetensors"
        ChainStore.write(path, rows_of(1, 4), [0, 3, 4], ["x", "y"], origins=["o", "o"])
        texts = [{"id": "x", "chunks": [f"{name}{row}" for row in range(3)]}, {"id": "y", "chunks": [f"{name} end"]}]
        with gzip.open(chunks_path(path), "wt") as file:
            file.write("".join(json.dumps(text) + "\n" for text in texts))
    store = ChainStore.open(tmp_path)
    assert store.ids == ["a/x", "a/y", "b/x", "b/y"]
    assert store.origins == ["a/o", "a/o", "b/o", "b/o"]
    texts = ChunkTexts.beside(tmp_path)
    assert texts is not None
    assert [texts.text(store, chain, 0) for chain in range(4)] == ["a0", "a end", "b0", "b end"]
    chunks_path(tmp_path / "b.safetensors").unlink()
    assert ChunkTexts.beside(tmp_path) is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"rows": np.ones((2, 5), np.float32)}, "b.safetensors: dimensions 5; expected 12, as in .*a.safetensors"),
        ({"rows": np.ones((2, DIM), np.float16)}, "number format 'float16'; expected 'float32'"),
        ({"metadata": {"encoder": "other"}}, "encoder 'other'; expected 'fake'"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    ChainStore.write(tmp_path / "a.safetensors", rows_of(1, 2), [0, 2], metadata={"encoder": "fake"})
    given = {"rows": rows_of(2, 2), "metadata": {"encoder": "fake"}} | other
    ChainStore.write(tmp_path / "b.safetensors", given["rows"], [0, 2], metadata=given["metadata"])
    with pytest.raises(ValueError, match=message):
        ChainStore.open(tmp_path)


def test_a_folder_without_stores_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    for path in (tmp_path, tmp_path / "part-*.safetensors"):
        with pytest.raises(FileNotFoundError, match=r"no \.safetensors file there"):
            ChainStore.open(path)
