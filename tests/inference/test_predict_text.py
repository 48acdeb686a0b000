"""What comes after a text, from Python: the same hits as a search by hand, and nothing is encoded twice."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.data.documents import Document
from lvm_fast.data.encode import encode_context, encode_documents
from lvm_fast.data.number_formats import Float32

DIM = 8
SENTENCES = [f"Sentence number {i} speaks of matter {i * i % 17} and no other." for i in range(30)]


class HashEncoder:
    """A vector for each text, drawn from its hash; a token a word."""

    name, max_tokens = "hash", None

    def __init__(self, width: int = DIM) -> None:
        self.width = width
        self.asked: list[str] = []

    def encode(self, texts: list[str]) -> Any:
        self.asked += texts
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") for text in texts]
        return np.stack([3 * np.random.default_rng(seed).standard_normal(self.width) for seed in seeds])

    def count_tokens(self, words: list[str]) -> list[int]:
        return [1] * len(words)


@pytest.fixture
def store(tmp_path: Path) -> lf.ChainStore:
    documents = [Document("a", " ".join(SENTENCES[:20])), Document("b", " ".join(SENTENCES[20:]))]
    return encode_documents(
        documents, HashEncoder(), tmp_path / "my.safetensors", chunk_tokens=10, dtype="float32", progress=False
    )


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return lf.create_model("memory_gru", input_dim=DIM, hidden_dim=6, num_layers=1, memory_slots=4).eval()


def best_unread(store: lf.ChainStore, query: Any, read: Float32) -> list[int]:
    """All rows that are no near-copy of what was read, by a full sort of cosines."""
    rows = store.vectors[:].astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    order = np.argsort(-(rows @ np.asarray(query, np.float64)), kind="stable")
    return [row for row in order.tolist() if (rows[row] @ read.T.astype(np.float64)).max() < 0.995]


def test_a_text_is_continued_by_the_unread_chunks_nearest_to_the_prediction(store: lf.ChainStore, model: Any) -> None:
    text = " ".join(SENTENCES[3:9])
    rows, _ = encode_context(Document("d", text), HashEncoder(), 100, 10)
    hits = lf.predict_text(model, text, store, 4, encoder=HashEncoder())
    assert [hit.chunk for hit in hits] == best_unread(store, model.predict(rows[None])[0], rows)[:4]
    assert [hit.text for hit in hits] == [SENTENCES[hit.chunk] for hit in hits]
    assert not {hit.text for hit in hits} & set(SENTENCES[3:9])
    assert [hit.chain for hit in hits] == ["a" if hit.chunk < 20 else "b" for hit in hits]


def test_the_nearest_to_the_last_chunk(store: lf.ChainStore, model: Any) -> None:
    ready = lf.TextPredictor(model, store, HashEncoder())
    read = ready.read(Document("d", " ".join(SENTENCES[3:9])))
    coming, hits = ready.next_and_nearest(read.vectors, 3)
    assert coming == ready.next_chunks(read.vectors, 3)
    assert [hit.chunk for hit in hits] == best_unread(store, read.vectors[-1], read.vectors)[:3]


def test_a_text_that_grows_costs_its_new_chunks_only(store: lf.ChainStore, model: Any) -> None:
    encoder = HashEncoder()
    ready = lf.TextPredictor(model, store, encoder, context_length=6)
    ready.read(Document("d", chunks=tuple(SENTENCES[:8])))
    assert encoder.asked == SENTENCES[2:8]
    read = ready.read(Document("d", chunks=tuple(SENTENCES[:9])))
    assert encoder.asked == SENTENCES[2:9]
    assert (read.vectors.shape, read.chunks) == ((6, DIM), 9)
    fresh, _ = encode_context(Document("d", chunks=tuple(SENTENCES[:9])), HashEncoder(), 6)
    np.testing.assert_array_equal(read.vectors, fresh)


def test_what_is_remembered_is_bounded(store: lf.ChainStore, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvm_fast.inference.predict_text._REMEMBERED", 3)
    encoder = HashEncoder()
    ready = lf.TextPredictor(model, store, encoder)
    for text in (*SENTENCES[:4], SENTENCES[3], SENTENCES[0]):
        ready.read(Document("d", chunks=(text,)))
    assert encoder.asked == [*SENTENCES[:4], SENTENCES[0]]


def test_paths_do_as_well_as_what_they_hold(store: lf.ChainStore, model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    text = " ".join(SENTENCES[3:9])
    by_path = lf.predict_text(tmp_path / "model", text, tmp_path / "my.safetensors", encoder=HashEncoder())
    assert by_path == lf.predict_text(model, text, store, encoder=HashEncoder())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": " "}, "predict_text: text = ' '; expected words"),
        ({"text": 3}, "predict_text: text = 3; expected words"),
        ({"text": "caf\udce9"}, "half of a surrogate pair"),
        ({"k": 0}, "search: k: expected a whole number of at least 1, got 0"),
        ({"context_length": 0}, "predict: context_length: expected a whole number of at least 1, got 0"),
        ({"encoder": HashEncoder(5)}, "hash gives vectors of 5 numbers; expected 8, as in the store"),
        ({"store": lf.ChainStore(np.ones((3, 5), np.float32), [0, 3])}, "5 dimensions; expected 8, as the model reads"),
        (
            {"store": lf.ChainStore(np.ones((3, 8), np.float32), [0, 3]), "encoder": None},
            "does not say what it was encoded with; name the encoder",
        ),
    ],
)
def test_bad_input_is_named(store: lf.ChainStore, model: Any, options: dict[str, Any], message: str) -> None:
    given = {"text": "some words", "store": store, "encoder": HashEncoder(), **options}
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        lf.predict_text(model, **given)


def test_a_model_with_a_correction_for_hubs_finds_what_its_own_bank_finds():
    rng = np.random.default_rng(3)
    rows = lf.l2_normalize((rng.standard_normal((60, 16)) + 1.0).astype(np.float32))
    store = lf.ChainStore(rows, [0, 60])
    model = lf.create_model("whitened_recency", input_dim=16)
    model.set_space(lf.fit_space(rows))
    model.config["space"]["search"] = "vectors"
    model.set_query_bank(lf.l2_normalize((rng.standard_normal((20, 16)) + 1.0).astype(np.float32)), 0.75, 5)
    context = lf.l2_normalize((rng.standard_normal((4, 16)) + 1.0).astype(np.float32))
    ready = lf.TextPredictor(model, store)
    scores, ids = model.bank(store).topk(model.query(context), 6)
    for hits in (ready.next_chunks(context, 6), ready.next_and_nearest(context, 6)[0]):
        assert [hit.chunk for hit in hits] == ids.tolist()
        np.testing.assert_allclose([hit.score for hit in hits], scores, atol=1e-6)
    plain = lf.VectorBank(rows, normalize=True)
    assert ids.tolist() != plain.topk(model.predict(context), 6)[1].tolist()
    nearest = ready.next_and_nearest(context, 6)[1]
    assert [hit.chunk for hit in nearest] == plain.topk(context[-1], 6)[1].tolist()
