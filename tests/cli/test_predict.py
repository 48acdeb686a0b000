"""`lvm-fast predict`: a text or vectors -> the model's next vector -> the chunks nearest to it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast import cli
from lvm_fast.data.documents import Document
from lvm_fast.data.encode import encode_context, encode_documents
from lvm_fast.retrieval.search import ChunkTexts, search

DIM = 8
SENTENCES = [f"Sentence number {i} speaks of matter {i * i % 17} and no other." for i in range(30)]


class FakeEncoder:
    """A vector for each text, drawn from its hash; a token a word."""

    max_tokens = None

    def __init__(self, name: str = "fake", device: str = "cpu") -> None:
        self.name = name
        self.asked: list[str] = []

    def encode(self, texts: list[str]) -> Any:
        self.asked += texts
        width = 5 if self.name == "narrow" else DIM
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") for text in texts]
        return np.stack([3 * np.random.default_rng(seed).standard_normal(width) for seed in seeds])

    def count_tokens(self, words: list[str]) -> list[int]:
        return [1] * len(words)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with its texts, a saved model, a router, and a text to go on from."""
    monkeypatch.setattr("lvm_fast.data.sentence_encoder.SentenceEncoder", FakeEncoder)
    monkeypatch.chdir(tmp_path)
    documents = [Document("a.txt", " ".join(SENTENCES[:20])), Document("b.txt", " ".join(SENTENCES[20:]))]
    encode_documents(documents, FakeEncoder(), "my.safetensors", chunk_tokens=10, dtype="float32", progress=False)
    torch.manual_seed(0)
    model = lf.create_model("memory_gru", input_dim=DIM, hidden_dim=6, num_layers=1, memory_slots=4)
    model.save_pretrained("model")
    lf.Router({4: model, 50: model}).save_pretrained("router")
    Path("doc.txt").write_text(" ".join(SENTENCES[5:12]))
    return tmp_path


def run(capsys: Any, *words: Any) -> str:
    assert cli.main(["predict", *map(str, words)]) == 0
    return str(capsys.readouterr().out)


def expected(rows: Any, k: int = 3) -> list[int]:
    store = lf.ChainStore.open("my.safetensors")
    hits = search(store, lf.load_model("model").predict(rows[None]), len(store.vectors))[0]
    cosines = lf.l2_normalize(np.array(store.vectors[:], np.float64)) @ lf.l2_normalize(np.array(rows, np.float64)).T
    return [hit.chunk for hit in hits if cosines[hit.chunk].max() < 0.995][:k]


def test_a_text_is_continued_by_the_nearest_chunks(place: Path, capsys: Any) -> None:
    shown = run(capsys, "model", "--text", "@doc.txt", "--data", "my.safetensors", "-k", 3)
    rows, held = encode_context(Document("doc", Path("doc.txt").read_text()), FakeEncoder(), 100, 10)
    assert len(rows) == held == 7
    head, _, *lines = shown.splitlines()
    assert head == "memory_gru read 7 chunks of doc.txt; next may come:"
    store, texts = lf.ChainStore.open("my.safetensors"), ChunkTexts("my.chunks.jsonl.gz")
    for rank, (row, said, place) in enumerate(zip(expected(rows), lines[::2], lines[1::2], strict=True), 1):
        chain = int(store.chain_of(row))
        position = row - int(store.offsets[chain])
        assert said == f"{rank}. {texts.text(store, chain, position)}"
        assert re.fullmatch(
            rf"   {re.escape(store.ids[chain])}, chunk {position} \(score 0\.\d{{4}}, row {row}\)", place
        )


def test_json_is_that_of_search(place: Path, capsys: Any) -> None:
    found = json.loads(run(capsys, "model", "--text", "@doc.txt", "--data", "my.safetensors", "--json", "-k", 2))
    assert [hit.keys() for hit in found[0]] == [{"score", "chunk", "chain", "position", "text", "also_in"}] * 2
    assert "\x1b" not in str(found)


@pytest.mark.parametrize(("words", "used"), [([], 7), (["--context-length", "3"], 3)])
def test_vectors_go_on_too(place: Path, capsys: Any, words: list[str], used: int) -> None:
    rows = lf.ChainStore.open("my.safetensors").vectors[3:10]
    np.save("v.npy", rows.astype(np.float64))
    arguments = ["model", "--vectors", "v.npy", "--data", "my.safetensors", "-k", 3, *words]
    assert [hit["chunk"] for hit in json.loads(run(capsys, *arguments, "--json"))[0]] == expected(rows[-used:])
    said = "7 chunks of v.npy" if used == 7 else "the last 3 of 7 chunks of v.npy"
    assert run(capsys, *arguments).startswith(f"memory_gru read {said}; next may come:\n\n")


@pytest.mark.parametrize("search_in", ["keys", "vectors", "corrected"])
def test_a_model_in_a_space_searches_as_it_searches_everywhere(place: Path, capsys: Any, search_in: str) -> None:
    store = lf.ChainStore.open("my.safetensors")
    rows = np.asarray(store.vectors[:], np.float32)
    model = lf.create_model("whitened_recency", input_dim=DIM)
    model.set_space(lf.fit_space(rows))
    if search_in != "keys":
        model.config["space"]["search"] = "vectors"
    if search_in == "corrected":
        model.set_query_bank(rows[::2], 0.75, 3)
    model.save_pretrained("spaced")
    context = np.random.default_rng(5).standard_normal((4, DIM)).astype(np.float32)
    np.save("context.npy", context)
    words = ["predict", "spaced", "--vectors", "context.npy", "--data", "my.safetensors", "-k", "6", "--json"]
    assert cli.main(words) == 0
    (hits,) = json.loads(capsys.readouterr().out)
    scores, ids = model.bank(store).topk(model.query(context), 6)
    assert [hit["chunk"] for hit in hits] == ids.tolist()
    np.testing.assert_allclose([hit["score"] for hit in hits], scores, atol=1e-6)
    plain = lf.VectorBank(rows, normalize=True).topk(model.predict(context), 6)[1]
    assert (ids.tolist() == plain.tolist()) == (search_in == "vectors")


def test_a_router_predicts(place: Path, capsys: Any) -> None:
    words = ["--text", "@doc.txt", "--data", "my.safetensors", "-k", 3, "--json"]
    assert run(capsys, "router", *words) == run(capsys, "model", *words)
    assert run(capsys, "router", *words[:-1]).startswith("router read 7 chunks")


def test_the_encoder_reads_only_what_the_model_does(place: Path) -> None:
    encoder = FakeEncoder()
    rows, held = encode_context(Document("d", chunks=tuple(SENTENCES)), encoder, 4)
    assert (rows.shape, held, encoder.asked) == ((4, DIM), 30, SENTENCES[-4:])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)


def test_what_cannot_be_encoded_is_named(place: Path) -> None:
    for document, most, message in (
        (Document("d", "caf\udce9"), 4, "document 'd' holds half of a surrogate pair"),
        (Document("d", "words"), 0, "encode_context: most: expected a whole number of at least 1, got 0"),
        (Document("d", "words"), 2.5, "encode_context: most: expected a whole number of at least 1, got 2.5"),
    ):
        with pytest.raises(ValueError, match=message):
            encode_context(document, FakeEncoder(), most)
    rows, _ = encode_context(Document("d", chunks=tuple(SENTENCES)), FakeEncoder(), np.int64(3), np.int32(10))
    assert rows.shape == (3, DIM)


def test_another_precision(place: Path, capsys: Any) -> None:
    words = ["model", "--text", "@doc.txt", "--data", "my.safetensors", "-k", 1, "--json"]
    scores = [json.loads(run(capsys, *words, "--weights", kind))[0][0]["score"] for kind in ("float32", "int8")]
    assert scores[0] != scores[1] == pytest.approx(scores[0], abs=0.05)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "--text", "@doc.txt"], "no model at 'nowhere'"),
        (["hollow", "--text", "@doc.txt"], "predict: hollow is empty"),
        (["model", "--text", "@none.txt"], "none.txt"),
        (["model", "--text", "@blank.txt"], "blank.txt: holds no text"),
        (["model", "--text", "@two.jsonl"], "two.jsonl holds 2 documents; expected one"),
        (["model", "--text", "@doc.txt", "-k", "0"], "search: k: expected a whole number of at least 1, got 0"),
        (["model", "--text", "@doc.txt", "--context-length", "0"], "--context-length = 0; expected at least 1"),
        (["model", "--text", "@doc.txt", "--weights", "int4"], "weights = 'int4'"),
        (
            ["model", "--text", "@doc.txt", "--encoder", "narrow"],
            "narrow gives vectors of 5 numbers; expected 8, as in the store",
        ),
        (["model", "--text", "@doc.txt", "--device", "abacus"], "abacus"),
        (["wide", "--text", "@doc.txt"], "predict: the store has 8 dimensions; expected 9, as the model reads"),
        (["model", "--vectors", "v.npy", "--encoder", "x"], "--encoder encodes a --text; there is none"),
        (["model", "--vectors", "nan.npy"], "context[0, 1] holds NaN"),
        (["model", "--vectors", "narrow.npy"], "expected shape (B, 8) or (8,), got (3, 5)"),
        (["model", "--vectors", "none.npy"], "none.npy"),
    ],
)
def test_bad_input_is_one_line(place: Path, capsys: Any, words: list[str], message: str) -> None:
    Path("hollow").mkdir()
    Path("blank.txt").write_text(" \n")
    Path("two.jsonl").write_text('{"id": "a", "text": "x"}\n{"id": "b", "text": "y"}\n')
    lf.create_model("memory_gru", input_dim=9, hidden_dim=6, num_layers=1, memory_slots=4).save_pretrained("wide")
    rows = np.ones((3, DIM), np.float32)
    np.save("v.npy", rows)
    np.save("nan.npy", rows * [[1], [np.nan], [1]])
    np.save("narrow.npy", rows[:, :5])
    assert cli.main(["predict", *words, "--data", "my.safetensors"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("lvm-fast: error: ")
    assert len(error.splitlines()) == 1


def test_a_store_without_an_encoder_needs_one(place: Path, capsys: Any) -> None:
    store = lf.ChainStore.open("my.safetensors")
    lf.ChainStore.write("bare.safetensors", store.vectors[:], store.offsets)
    words = ["predict", "model", "--text", "@doc.txt", "--data", "bare.safetensors"]
    assert cli.main(words) == 2
    assert "does not say what it was encoded with; name it with --encoder" in capsys.readouterr().err
    assert cli.main([*words, "--encoder", "fake"]) == 0


def test_the_sample_shows_what_its_chunks_say(tmp_path: Path, capsys: Any) -> None:
    np.save(tmp_path / "v.npy", lf.sample().vectors[-400:-380])
    shown = run(capsys, "general", "--vectors", tmp_path / "v.npy", "--data", "sample", "-k", 3)
    head, _, *lines = shown.splitlines()
    assert head.endswith("v.npy; next may come:")
    hits = json.loads(run(capsys, "general", "--vectors", tmp_path / "v.npy", "--data", "sample", "-k", 3, "--json"))[0]
    assert [line[:3] for line in lines if line[0] != " "] == ["1. ", "2. ", "3. "]
    said = " ".join(line.strip() for line in lines)
    assert all(hit["text"] in said and f"{hit['chain']}, chunk {hit['position']} (" in said for hit in hits)
    assert not {hit["chunk"] for hit in hits} & set(range(35_002, 35_022))
