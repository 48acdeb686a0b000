from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvm_fast.data import encode as encode_module
from lvm_fast.data.documents import Document, read_documents
from lvm_fast.data.encode import encode_documents
from lvm_fast.data.number_formats import Float32
from lvm_fast.data.source import chunks_path

WORDS = " ".join(f"word{i}" for i in range(100))
DOCUMENTS = [
    Document("long", WORDS),
    Document("cut", chunks=("one chunk", "another chunk")),
    Document("short", "Just this."),
    Document("last", WORDS.upper()),
]


class FakeEncoder:
    """Vectors drawn from a hash of the text, not of unit length; counts what it is asked, and may stop."""

    name = "fake"
    max_tokens: int | None = None

    def __init__(self, stop_after: int = 10**9, batch_size: int | None = None) -> None:
        self.texts: list[str] = []
        self.stop_after = stop_after
        self.batch_size = batch_size

    def encode(self, texts: list[str]) -> Any:
        if len(self.texts) + len(texts) > self.stop_after:
            raise KeyboardInterrupt
        self.texts += texts
        return np.stack([3 * vector_of(text) for text in texts])

    def count_tokens(self, words: list[str]) -> list[int]:
        return [1] * len(words)


def vector_of(text: str) -> Float32:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    row = np.random.default_rng(seed).standard_normal(8, dtype=np.float32)
    return row / np.linalg.norm(row)


def read_chunks(store_path: Path) -> list[dict[str, Any]]:
    with gzip.open(chunks_path(store_path), "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def names_in(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir()}


@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_each_document_becomes_a_chain_of_unit_vectors(tmp_path: Path, batch_size: int | None) -> None:
    output = tmp_path / "my.safetensors"
    encoder = FakeEncoder(batch_size=batch_size)
    store = encode_documents(DOCUMENTS, encoder, output, dtype="float32", source="test")
    assert store.ids == ["long", "cut", "short", "last"]
    digest = hashlib.sha256(chunks_path(output).read_bytes()).hexdigest()
    assert store.metadata == {"encoder": "fake", "source": "test", "chunk_tokens": 20, "texts_digest": digest}
    chunks = read_chunks(output)
    assert [record["id"] for record in chunks] == store.ids
    assert [len(record["chunks"]) for record in chunks] == list(store.lengths) == [5, 2, 1, 5]
    assert chunks[1]["chunks"] == ["one chunk", "another chunk"]
    assert " ".join(chunks[0]["chunks"]) == WORDS
    texts = [text for record in chunks for text in record["chunks"]]
    assert encoder.texts == texts
    np.testing.assert_allclose(store.vectors[:], [vector_of(text) for text in texts], rtol=1e-6)
    assert names_in(tmp_path) == {"my.safetensors", "my.chunks.jsonl.gz"}


def test_the_dtype_is_float16_unless_asked(tmp_path: Path) -> None:
    assert encode_documents(DOCUMENTS, FakeEncoder(), tmp_path / "s").vectors.dtype_name == "float16"
    assert encode_documents(DOCUMENTS, FakeEncoder(), tmp_path / "t", dtype="int8").vectors.dtype_name == "int8"


def test_a_run_that_was_cut_off_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode_documents(DOCUMENTS, FakeEncoder(stop_after=9, batch_size=2), tmp_path / "s")
    assert names_in(tmp_path) == {"s.partial"}
    assert names_in(tmp_path / "s.partial") == {"rows-0.kept"}  # four batches of two
    encoder = FakeEncoder()
    resumed = encode_documents(DOCUMENTS, encoder, tmp_path / "s")
    assert len(encoder.texts) == 5
    encode_documents(DOCUMENTS, FakeEncoder(), tmp_path / "whole")
    assert chunks_path(tmp_path / "s").read_bytes() == chunks_path(tmp_path / "whole").read_bytes()
    assert (tmp_path / "s").read_bytes() == (tmp_path / "whole").read_bytes()
    assert resumed.ids == [document.id for document in DOCUMENTS]
    assert not (tmp_path / "s.partial").exists()


def test_a_document_of_no_words_is_refused_by_any_encoder(tmp_path: Path) -> None:
    class Strict(FakeEncoder):
        def count_tokens(self, words: list[str]) -> list[int]:
            return [1] * (len(words) or pytest.fail("asked of no words"))

    with pytest.raises(ValueError, match="document 'blank' holds no text"):
        encode_documents([Document("blank", " \n")], Strict(), tmp_path / "s")


@pytest.mark.parametrize("change", ["text", "model", "chunk_tokens", "order"])
def test_only_what_is_unchanged_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode_documents(DOCUMENTS, FakeEncoder(stop_after=9, batch_size=2), tmp_path / "s")
    encoder, documents, chunk_tokens = FakeEncoder(), list(DOCUMENTS), 20
    if change == "text":
        documents[2] = Document("short", "Just that.")
        again = 1 + 5
    elif change == "model":
        encoder.name = "other"
        again = 13
    elif change == "chunk_tokens":
        chunk_tokens = 25
        again = 4 + 4  # cut and short keep their chunks
    else:
        documents.reverse()
        again = 5
    store = encode_documents(documents, encoder, tmp_path / "s", dtype="float32", chunk_tokens=chunk_tokens)
    assert len(encoder.texts) == again
    texts = [text for record in read_chunks(tmp_path / "s") for text in record["chunks"]]
    np.testing.assert_allclose(store.vectors[:], [vector_of(text) for text in texts], rtol=1e-6)


class BadEncoder(FakeEncoder):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def encode(self, texts: Sequence[str]) -> Any:
        rows = np.ones((len(texts), 8), dtype=np.float32)
        return self.answer(rows)


def with_last_row(value: float) -> Any:
    def change(rows: Float32) -> Float32:
        rows[-1] = value
        return rows

    return change


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (with_last_row(np.nan), "document 'last': row 4 holds NaN or Inf"),
        (with_last_row(0), "document 'last': row 4 is all zeros"),
        (lambda rows: rows[:-1], r"gave shape \(12, 8\) for 13 texts"),
        (lambda rows: rows[:, 0], r"gave shape \(13,\) for 13 texts"),
    ],
)
def test_an_encoder_that_misbehaves_is_named(tmp_path: Path, answer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"fake: .*{message}"):
        encode_documents(DOCUMENTS, BadEncoder(answer), tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_vectors_of_another_width_kept_from_before_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode_documents(DOCUMENTS, FakeEncoder(stop_after=9, batch_size=2), tmp_path / "s")
    with pytest.raises(ValueError, match=r"s\.partial: 3 numbers a row, and 8; expected one width; delete it and run"):
        encode_documents(DOCUMENTS, BadEncoder(lambda rows: rows[:, :3]), tmp_path / "s")


def test_bad_arguments_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    limited = FakeEncoder()
    limited.max_tokens = 30
    for documents, encoder, options, message in (
        ([], FakeEncoder(), {}, "no documents"),
        ([Document("empty", " ")], FakeEncoder(), {}, "document 'empty' holds no text"),
        ([Document("a", "x"), Document("a", "y")], FakeEncoder(), {}, "two documents are called 'a'"),
        ([Document("a", "x"), Document("b", "caf\ud83d")], FakeEncoder(), {}, "document 'b' holds half of a surrogate"),
        ([Document("a", chunks=("x", "\udce9"))], FakeEncoder(), {}, r"document 'a' holds half .* '\\udce9', at char"),
        ([Document("b\udce9", "x")], FakeEncoder(), {}, r"the id 'b\\udce9' holds half of a surrogate pair"),
        (DOCUMENTS, FakeEncoder(), {"dtype": "float64"}, "dtype = 'float64'; expected one of float32"),
        (DOCUMENTS, FakeEncoder(), {"chunk_tokens": 2.5}, "chunk_tokens: expected a whole number, got 2.5"),
        (DOCUMENTS, FakeEncoder(), {"chunk_tokens": 0}, "chunk_tokens = 0"),
        (DOCUMENTS, limited, {"chunk_tokens": 21}, "chunk_tokens = 21; fake allows 1 to 20"),
    ):
        with pytest.raises(ValueError, match=message):
            encode_documents(documents, encoder, tmp_path / "s", **options)
    assert names_in(tmp_path) == set()
    with pytest.raises(FileNotFoundError, match=r"missing/s'$"):
        encode_documents(DOCUMENTS, FakeEncoder(), tmp_path / "missing" / "s")


def test_settings_may_be_numpy_numbers(tmp_path: Path) -> None:
    store = encode_documents(DOCUMENTS, FakeEncoder(), tmp_path / "s", chunk_tokens=np.int64(25))
    assert store.metadata["chunk_tokens"] == 25
    assert list(store.lengths) == [4, 2, 1, 4]


def test_names_that_are_no_unicode_do_not_end_the_run(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    encoder.name = "models/caf\udce9"  # a folder whose name is no UTF-8
    store = encode_documents(DOCUMENTS, encoder, tmp_path / "s", source="b\udce9.txt")
    assert (store.metadata["encoder"], store.metadata["source"]) == ("models/caf\ufffd", "b\ufffd.txt")


@pytest.mark.parametrize("left", ["my.safetensors", "my.chunks.jsonl.gz"])
def test_a_store_is_replaced_only_when_asked(tmp_path: Path, left: str) -> None:
    output = tmp_path / "my.safetensors"
    encode_documents(DOCUMENTS[:1], FakeEncoder(), output)
    for name in names_in(tmp_path) - {left}:
        (tmp_path / name).unlink()
    before = (tmp_path / left).read_bytes()
    encoder = FakeEncoder()
    with pytest.raises(
        FileExistsError, match=rf"encode_documents: output.*{left}' exists already; pass overwrite=True"
    ):
        encode_documents(DOCUMENTS, encoder, output)
    assert encoder.texts == []
    assert (tmp_path / left).read_bytes() == before
    assert names_in(tmp_path) == {left}
    encode_documents(DOCUMENTS, encoder, output, overwrite=True)
    assert len(encoder.texts) == 13
    assert [record["id"] for record in read_chunks(output)] == ["long", "cut", "short", "last"]
    assert names_in(tmp_path) == {"my.safetensors", "my.chunks.jsonl.gz"}


def test_replacing_goes_on_where_it_was_cut_off_and_keeps_the_old_until_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "my.safetensors"
    encode_documents(DOCUMENTS[:1], FakeEncoder(), output)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        encode_documents(DOCUMENTS, FakeEncoder(stop_after=9, batch_size=2), output, overwrite=True)
    monkeypatch.setattr(encode_module.ChainStore, "save", fail)
    with pytest.raises(OSError, match="no room"):
        encode_documents(DOCUMENTS, FakeEncoder(), output, overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    monkeypatch.undo()
    encoder = FakeEncoder()
    assert len(encode_documents(DOCUMENTS, encoder, output, overwrite=True)) == 4
    assert encoder.texts == []


def fail(*arguments: Any, **options: Any) -> None:
    raise OSError("no room")


def test_the_chunks_that_are_encoded_again_are_not_written_over(tmp_path: Path) -> None:
    encode_documents(DOCUMENTS, FakeEncoder(), tmp_path / "mine.safetensors")
    (tmp_path / "mine.safetensors").unlink()
    chunks = tmp_path / "mine.chunks.jsonl.gz"
    before = chunks.read_bytes()
    documents = read_documents([chunks])
    with pytest.raises(ValueError, match=r"the texts beside it = .*mine\.chunks\.jsonl\.gz' is an input too"):
        encode_documents(documents, FakeEncoder(), tmp_path / "mine.safetensors", overwrite=True)
    assert chunks.read_bytes() == before
    assert names_in(tmp_path) == {"mine.chunks.jsonl.gz"}
    assert len(encode_documents(documents, FakeEncoder(), tmp_path / "other.safetensors")) == 4


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_an_output_that_leads_to_an_input_is_refused(tmp_path: Path, link: str) -> None:
    source = tmp_path / "a.txt"
    source.write_text("words")
    output = tmp_path / "s.safetensors"
    output.symlink_to(source) if link == "symbolic" else output.hardlink_to(source)
    with pytest.raises(ValueError, match=r"output = .*s\.safetensors' is an input too, '.*a\.txt'"):
        encode_documents(read_documents([source]), FakeEncoder(), output, overwrite=True)
    assert source.read_text() == "words"


def test_the_weights_of_an_encoder_are_not_written_over(tmp_path: Path) -> None:
    weights = tmp_path / "encoder" / "deep" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    encoder = FakeEncoder()
    encoder.name = str(tmp_path / "encoder")
    with pytest.raises(ValueError, match=r"model\.safetensors' is an input too"):
        encode_documents(DOCUMENTS, encoder, weights, overwrite=True)
    assert weights.read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (lambda file: file[:-4], 3),
        (lambda file: file[:-70] + b"x" + file[-69:], 3),
        (lambda file: file + file[:50], 4),
        (lambda file: file + b"\0" * 4096, 4),
        (lambda file: b"", 0),
        (lambda file: b"not vectors", 0),
    ],
)
def test_what_is_damaged_of_an_earlier_run_is_encoded_again(tmp_path: Path, damage: Any, left: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode_documents(DOCUMENTS, FakeEncoder(stop_after=9, batch_size=2), tmp_path / "s")
    kept = tmp_path / "s.partial" / "rows-0.kept"
    kept.write_bytes(damage(kept.read_bytes()))
    encoder = FakeEncoder(stop_after=13 - 2 * left, batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        encode_documents(DOCUMENTS, FakeEncoder(stop_after=2, batch_size=2), tmp_path / "s")  # appends where it ends
    encode_documents(DOCUMENTS, encoder, tmp_path / "s")
    assert len(encoder.texts) == 13 - 2 * left - 2
    encode_documents(DOCUMENTS, FakeEncoder(), tmp_path / "whole")
    assert (tmp_path / "s").read_bytes() == (tmp_path / "whole").read_bytes()


def test_what_is_not_ours_stays_in_the_folder_of_an_unfinished_run(tmp_path: Path) -> None:
    """Not even documents that are read from there are lost."""
    partial = tmp_path / "s.safetensors.partial"
    partial.mkdir()
    (partial / "a.txt").write_text("words")
    (partial / "rows").write_text("mine")
    store = encode_documents(read_documents([partial / "a.txt"]), FakeEncoder(), tmp_path / "s.safetensors")
    assert store.ids == ["a.txt"]
    assert names_in(partial) == {"a.txt", "rows"}
    assert (partial / "rows").read_text() == "mine"


def test_documents_that_another_run_left_unfinished_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode_documents(DOCUMENTS, FakeEncoder(stop_after=9, batch_size=2), tmp_path / "s")
    encode_documents([Document("other", "Something else.")], FakeEncoder(), tmp_path / "s")
    assert names_in(tmp_path) == {"s", "s.chunks.jsonl.gz"}
