"""Searching a store: against a full sort, with texts, and from the command line; no encoder needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from lvm_fast import cli
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.retrieval.bank import VectorBank
from lvm_fast.retrieval.search import ChunkTexts, Hit, Place, search


@pytest.fixture
def texts_path(store: ChainStore, tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    chains = zip(store.ids, store.lengths.tolist(), strict=True)
    lines = [
        {"id": name, "chunks": [f"chunk {i} of {name}" for i in range(length)]} for name, length in chains if length
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture
def store_path(store: ChainStore, tmp_path: Path) -> Path:
    store.save(tmp_path / "my.safetensors")
    return tmp_path / "my.safetensors"


def test_hits_are_the_best_of_a_full_sort(store: ChainStore, rng: np.random.Generator) -> None:
    queries = rng.standard_normal((5, 16), dtype=np.float32)
    found = search(store, queries, 4)
    scores = store.vectors[:] @ (queries / np.linalg.norm(queries, axis=1, keepdims=True)).T
    for b, hits in enumerate(found):
        rows = np.argsort(-scores[:, b])[:4]
        assert [hit.chunk for hit in hits] == rows.tolist()
        np.testing.assert_allclose([hit.score for hit in hits], scores[rows, b], rtol=1e-5)
        for hit in hits:
            assert hit.text is None
            assert store.offsets[store.ids.index(hit.chain)] + hit.position == hit.chunk


def test_keys_are_compared_in_place_of_the_vectors(store: ChainStore, rng: np.random.Generator) -> None:
    keys = VectorBank(rng.standard_normal((len(store.vectors), 5)).astype(np.float32), normalize=True)
    queries = rng.standard_normal((2, 5)).astype(np.float32)
    scores, ids = keys.topk(queries, 4)
    for hits, own_scores, own_ids in zip(search(store, queries, 4, keys=keys), scores, ids, strict=True):
        assert [hit.chunk for hit in hits] == own_ids.tolist()
        assert [hit.score for hit in hits] == own_scores.tolist()
    few = VectorBank(np.eye(5, dtype=np.float32))
    with pytest.raises(ValueError, match=r"search: keys: 5 rows; expected \d+, one for each chunk of the store"):
        search(store, queries, keys=few)


def test_more_than_there_are_is_all(store: ChainStore) -> None:
    assert len(search(store, store.vectors[:1], 1000)[0]) == 52


def test_a_chunk_can_be_left_out_even_behind_its_copies() -> None:
    store = ChainStore(np.ones((6, 3), np.float32), [0, 2, 2, 6])
    for row in range(6):
        hits = search(store, store.vectors[row : row + 1], 3, leave_out=row)[0]
        assert [hit.chunk for hit in hits] == [i for i in range(6) if i != row][:3]
    assert hits[2] == Hit(hits[2].score, 2, "chain_2", 0)


def test_what_is_like_given_vectors_is_left_out(rng: np.random.Generator) -> None:
    rows = rng.standard_normal((300, 16)).astype(np.float32)
    rows[40:140] = rows[3] * rng.uniform(0.5, 2, (100, 1))  # copies of any length
    rows[200] = rows[5] + 0.01 * rows[6]
    store = ChainStore(rows, [0, 300])
    hits = search(store, rows[3:4], 300, unlike=rows[[3, 5]], leave_out=7)[0]
    assert {hit.chunk for hit in hits} == set(range(300)) - {3, *range(40, 140), 5, 200, 7}
    assert {hit.chunk for hit in search(store, rows[3:4], 101, unlike=-rows)[0]} == {3, *range(40, 140)}


@pytest.fixture
def repeated(rng: np.random.Generator) -> ChainStore:
    """Four documents of ten chunks that end in the same sentence, and one that says it twice, once nearly."""
    rows = rng.standard_normal((50, 16)).astype(np.float32)
    rows[[9, 19, 29, 39, 41, 45]] = rows[9] * np.array([[1], [2], [1], [0.5], [1], [1]], np.float32)
    rows[45] += 0.01 * rows[0]
    return ChainStore(rows, [0, 10, 20, 30, 40, 50], ["a", "b", "c", "d", "e"])


def test_the_same_sentence_is_shown_once_and_where_else_it_stands(repeated: ChainStore) -> None:
    query = repeated.vectors[9:10]
    plain = search(repeated, query, 12)[0]
    assert [hit.chunk for hit in plain[:6]] == [9, 19, 29, 39, 41, 45]
    assert all(hit.also_in == () for hit in plain)
    folded = search(repeated, query, 3, fold_copies=True)[0]
    assert [hit.chunk for hit in folded] == [9, *(hit.chunk for hit in plain[6:8])]
    also_in = (Place(19, "b", 9), Place(29, "c", 9), Place(39, "d", 9), Place(41, "e", 1), Place(45, "e", 5))
    assert folded[0] == Hit(plain[0].score, 9, "a", 9, None, also_in)
    assert [hit.also_in for hit in folded[1:]] == [(), ()]


def test_folding_asks_on_until_there_are_enough_that_differ(rng: np.random.Generator) -> None:
    """400 copies of the nearest chunk stand before the second."""
    rows = rng.standard_normal((450, 16)).astype(np.float32)
    rows[20:420] = rows[20]
    store = ChainStore(rows, [0, 450])
    query = rows[20:21]
    folded = search(store, query, 5, fold_copies=True)[0]
    plain = search(store, query, 450)[0]
    assert [hit.chunk for hit in folded] == [hit.chunk for hit in plain if hit.chunk not in range(21, 420)][:5]
    assert [place.chunk for place in folded[0].also_in] == list(range(21, 420))
    assert len(search(store, query, 1000, fold_copies=True)[0]) == 51


def test_folding_is_that_of_the_definition(rng: np.random.Generator) -> None:
    """Nearness is not transitive: a chunk is folded into the best one before it that is like it and was kept."""
    steps = rng.standard_normal((12, 8)).astype(np.float32)
    rows = np.concatenate([steps[i] + 0.06 * j * steps[11] for i in range(11) for j in range(6)]).reshape(66, 8)
    store = ChainStore(rows, [0, 66])
    unit = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    alike = unit @ unit.T >= 0.995
    queries = rng.standard_normal((3, 8)).astype(np.float32)
    for query, hits in zip(queries, search(store, queries, 9, fold_copies=True, leave_out=7), strict=True):
        kept: list[int] = []
        for row in np.argsort(-(unit @ query), kind="stable").tolist():
            if row != 7 and not alike[row, kept].any():
                kept.append(row)
        assert [hit.chunk for hit in hits] == kept[:9]
        for hit in hits:
            wanted = [row for row in np.flatnonzero(alike[hit.chunk]).tolist() if row not in (7, hit.chunk)]
            assert [place.chunk for place in hit.also_in] == wanted


def test_what_is_left_out_is_in_no_place(repeated: ChainStore) -> None:
    hits = search(repeated, repeated.vectors[9:10], 2, leave_out=9, fold_copies=True)[0]
    assert hits[0].chunk == 19
    assert [place.chunk for place in hits[0].also_in] == [29, 39, 41, 45]
    hits = search(repeated, repeated.vectors[9:10], 50, unlike=repeated.vectors[39:40], fold_copies=True)[0]
    assert not {9, 19, 29, 39, 41, 45} & {hit.chunk for hit in hits}


@pytest.mark.parametrize("count", [np.int64(3), np.int32(3)])
def test_numbers_may_be_numpys(store: ChainStore, count: Any) -> None:
    assert search(store, store.vectors[:1], count, leave_out=np.int64(0)) == search(
        store, store.vectors[:1], 3, leave_out=0
    )
    for wrong in (2.0, True, np.float32(2)):
        with pytest.raises(ValueError, match="search: k: expected a whole number of at least 1"):
            search(store, store.vectors[:1], wrong)
    for wrong in (-1, 52, 1.5):
        with pytest.raises(ValueError, match="search: leave_out: expected a whole number from 0 to 51"):
            search(store, store.vectors[:1], 3, leave_out=wrong)


def test_texts_come_with_the_hits(store: ChainStore, texts_path: Path) -> None:
    hits = search(store, store.vectors[13:14], 52, texts=ChunkTexts(texts_path))[0]
    assert all(hit.text == f"chunk {hit.position} of {hit.chain}" for hit in hits)
    assert (hits[0].chunk, hits[0].text) == (13, "chunk 1 of b")


@pytest.mark.parametrize("change", ["chain", "chunk"])
def test_texts_of_another_store_are_refused(store: ChainStore, texts_path: Path, change: str) -> None:
    lines = texts_path.read_text().splitlines()
    lines[0] = (
        lines[0].replace('"id": "a"', '"id": "z"') if change == "chain" else lines[0].replace('"chunk 0 of a", ', "")
    )
    texts_path.write_text("\n".join(lines))
    found = 0 if change == "chain" else 11
    with pytest.raises(ValueError, match=rf"texts.jsonl: {found} chunks for chain 'a'; expected 12, as in the store"):
        search(store, store.vectors[:1], 1, texts=ChunkTexts(texts_path))


def run(capsys: Any, *words: Any) -> str:
    assert cli.main(["search", *map(str, words)]) == 0
    return str(capsys.readouterr().out)


def test_the_command_finds_the_neighbours_of_a_chunk(store_path: Path, store: ChainStore, capsys: Any) -> None:
    lines = run(capsys, "--data", store_path, "--chunk", 20, "-k", 3).splitlines()
    hits = search(store, store.vectors[20:21], 3, leave_out=20)[0]
    assert lines == [
        f"{rank}. {hit.chain}, chunk {hit.position} (score {hit.score:.4f}, row {hit.chunk})"
        for rank, hit in enumerate(hits, 1)
    ]


def test_the_command_prints_json_and_texts(store_path: Path, store: ChainStore, texts_path: Path, capsys: Any) -> None:
    np.save(store_path.with_name("q.npy"), store.vectors[[3, 13]])
    words = ["--data", store_path, "--vectors", store_path.with_name("q.npy"), "-k", 1]
    found = json.loads(run(capsys, *words, "--json", "--text-of", texts_path))
    assert [(hits[0]["chunk"], hits[0]["chain"], hits[0]["position"]) for hits in found] == [(3, "a", 3), (13, "b", 1)]
    assert [hits[0]["text"] for hits in found] == ["chunk 3 of a", "chunk 1 of b"]
    assert found[0][0]["score"] == pytest.approx(1, abs=1e-6)
    assert "text" in json.loads(run(capsys, *words, "--json"))[0][0]
    shown = run(capsys, *words).splitlines()
    assert [line for line in shown if "query" in line] == ["query 0", "query 1"]
    np.save(store_path.with_name("q.npy"), store.vectors[3].astype(np.float64))
    assert json.loads(run(capsys, *words, "--json"))[0][0]["chunk"] == 3


def test_the_command_folds_the_same_sentence(repeated: ChainStore, tmp_path: Path, capsys: Any) -> None:
    repeated.save(tmp_path / "s")
    chunks = [{"id": name, "chunks": [f"{name} {i}" for i in range(10)]} for name in repeated.ids]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, chunks)))
    np.save(tmp_path / "q.npy", repeated.vectors[9])
    words = ["--data", tmp_path / "s", "--vectors", tmp_path / "q.npy", "-k", 2, "--text-of", tmp_path / "t.jsonl"]
    text, first, places, second, _ = run(capsys, *words).splitlines()
    assert text == "1. a 9"
    assert first == "   a, chunk 9 (score 1.0000, row 9)"
    assert places == "   also in b at 9, c at 9, d at 9, and 2 more"
    assert second.split()[0] == "2."
    (found,) = json.loads(run(capsys, *words, "--json"))
    assert found[0]["also_in"] == [
        {"chunk": chunk, "chain": chain, "position": position}
        for chunk, chain, position in ((19, "b", 9), (29, "c", 9), (39, "d", 9), (41, "e", 1), (45, "e", 5))
    ]
    assert found[1]["also_in"] == []


def test_a_text_that_is_no_unicode_is_one_line(store_path: Path, capsys: Any) -> None:
    assert cli.main(["search", "--data", str(store_path), "--text", "caf\udce9"]) == 2
    said = "search: --text holds half of a surrogate pair, '\\udce9', at character 3; expected Unicode text"
    assert capsys.readouterr().err == f"lvm-fast: error: {said}\n"


def test_texts_beside_the_store_are_found(store_path: Path, texts_path: Path, capsys: Any) -> None:
    import gzip

    with gzip.open(store_path.with_name("my.chunks.jsonl.gz"), "wb") as file:
        file.write(texts_path.read_bytes())
    assert "of d" in run(capsys, "--data", store_path, "--chunk", 51, "-k", 51)


def test_the_list_keeps_within_its_width_and_commands_no_terminal(tmp_path: Path, capsys: Any) -> None:
    name = "long" * 40
    ChainStore(np.eye(2, dtype=np.float32), [0, 2], [name]).save(tmp_path / "s")
    chunks = ["x", "\x1b[2Jword\n" * 60]
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": name, "chunks": chunks}))
    shown = run(capsys, "--data", tmp_path / "s", "--chunk", 0, "--text-of", tmp_path / "t.jsonl")
    assert "\x1b" not in shown
    assert shown.count("word") == 60
    assert max(map(len, shown.splitlines())) == 100
    assert shown.splitlines()[-1].endswith("…, chunk 1 (score 0.0000, row 1)")


class FakeEncoder:
    made: ClassVar[list[str]] = []

    def __init__(self, name: str, device: str) -> None:
        self.made.append(name)
        self.name = name

    def encode(self, texts: list[str]) -> Any:
        return np.full((1, 16 if texts == ["fits"] else 7), 2.0)


def test_a_text_is_encoded_by_the_stores_own_model_or_the_one_named(
    store_path: Path, store: ChainStore, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvm_fast.data.sentence_encoder.SentenceEncoder", FakeEncoder)
    best = search(store, np.ones((1, 16), np.float32), 1)[0][0]
    for words in ([], ["--encoder", "other"]):
        found = json.loads(run(capsys, "--data", store_path, "--text", "fits", "-k", 1, "--json", *words))
        assert found[0][0]["chunk"] == best.chunk
    assert FakeEncoder.made == ["random", "other"]
    for words, message in (
        (["--text", "does not"], "search: random gives vectors of 7 numbers; expected 16, as in the store"),
        (["--text", " "], "search: --text: expected words, got an empty text"),
    ):
        assert cli.main(["search", "--data", str(store_path), *words]) == 2
        assert capsys.readouterr().err == f"lvm-fast: error: {message}\n"
    del store.metadata["encoder"]
    store.save(store_path)
    assert cli.main(["search", "--data", str(store_path), "--text", "fits"]) == 2
    assert "the store does not say what it was encoded with; name it with --encoder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--chunk", "52"], "search: --chunk 52: expected a row from 0 to 51"),
        (["--chunk", "-1"], "search: --chunk -1: expected a row from 0 to 51"),
        (["--chunk", "0", "-k", "0"], "search: k: expected a whole number of at least 1, got 0"),
        (["--chunk", "0", "--encoder", "m"], "search: --encoder encodes a --text; there is none"),
        (["--chunk", "0", "--text-of", "none.jsonl"], "No such file or directory: 'none.jsonl'"),
        (["--vectors", "none.npy"], "No such file or directory: 'none.npy'"),
        (["--vectors", "text.npy"], "search: text.npy: no .npy file of numbers"),
        (["--vectors", "ints.npy"], "search: ints.npy: expected a .npy file of floating-point numbers"),
        (["--vectors", "wide.npy"], "search: wide.npy: expected shape (B, 16) or (16,), got (2, 17)"),
        (["--vectors", "empty.npy"], "search: empty.npy: expected shape (B, 16) or (16,), got (0, 16)"),
        (["--vectors", "nan.npy"], "queries: row 1 holds NaN"),
        (["--vectors", "zero.npy"], "queries: row 1 is all zeros"),
    ],
)
def test_bad_input_is_one_line(
    store_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, words: list[str], message: str
) -> None:
    monkeypatch.chdir(store_path.parent)
    Path("text.npy").write_text("no numbers")
    rows = np.ones((2, 16), np.float32)
    np.save("ints.npy", rows.astype(np.int64))
    np.save("wide.npy", np.ones((2, 17)))
    np.save("empty.npy", rows[:0])
    np.save("nan.npy", rows * [[1], [np.nan]])
    np.save("zero.npy", rows * [[1], [0]])
    assert cli.main(["search", "--data", "my.safetensors", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
