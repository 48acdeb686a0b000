"""A store grows by what is new or has changed, and by nothing else."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.documents import Document
from lvm_fast.data.encode import encode_documents
from lvm_fast.data.source import chunks_path


class Encoder:
    name, max_tokens = "fake", None

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: list[str]) -> Any:
        self.asked += texts
        seeds = [list(hashlib.sha256(text.encode()).digest()) for text in texts]
        return np.stack([np.random.default_rng(seed).standard_normal(8) for seed in seeds])

    def count_tokens(self, words: list[str]) -> list[int]:
        return [1] * len(words)


def doc(name: str, *chunks: str) -> Document:
    return Document(name, chunks=chunks)


OLD = [doc("a", "one", "two"), doc("b", "three", "one"), doc("c", "four")]


@pytest.fixture(params=["float32", "float16", "bfloat16", "int8"])
def output(request: Any, tmp_path: Path) -> Path:
    encode_documents(OLD, Encoder(), tmp_path / "s.safetensors", dtype=request.param, source="old")
    return tmp_path / "s.safetensors"


def grow(output: Path, documents: list[Document], **options: Any) -> tuple[ChainStore, list[str], list[str]]:
    encoder, said = Encoder(), list[str]()
    store = encode_documents(documents, encoder, output, append=True, say=said.append, **options)
    return store, encoder.asked, said


def assert_same_as_fresh(output: Path, documents: list[Document]) -> None:
    """The store holds, byte for byte, what encoding all documents at once gives."""
    store, fresh = ChainStore.open(output), output.with_name("fresh.safetensors")
    dtype, source = store.vectors.dtype_name, store.metadata["source"]
    encode_documents(documents, Encoder(), fresh, dtype=dtype, source=source)
    assert fresh.read_bytes() == output.read_bytes()
    assert chunks_path(fresh).read_bytes() == chunks_path(output).read_bytes()


def test_only_what_is_new_or_changed_is_encoded(output: Path) -> None:
    new = [doc("b", "three", "five", "one"), doc("d", "four", "six")]
    store, asked, said = grow(output, new, source="new")
    assert store.ids == ["a", "b", "c", "d"]
    assert asked == ["five", "six"]
    assert said == ["1 chains added, 1 changed, 2 kept, 0 removed"]
    assert store.metadata["source"] == "old, new"
    assert_same_as_fresh(output, [OLD[0], new[0], OLD[2], new[1]])


def test_what_is_gone_is_removed_only_when_asked(output: Path) -> None:
    store, asked, said = grow(output, [OLD[2], doc("d", "two")], prune=True)
    assert (store.ids, asked) == (["c", "d"], [])
    assert said == ["1 chains added, 0 changed, 1 kept, 2 removed"]
    assert_same_as_fresh(output, [OLD[2], doc("d", "two")])


def test_nothing_new_writes_nothing(output: Path) -> None:
    before = {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in output.parent.iterdir()}
    store, asked, said = grow(output, OLD[1:])
    assert (len(store), asked, said) == (3, [], ["0 chains added, 0 changed, 3 kept, 0 removed"])
    assert {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in output.parent.iterdir()} == before


def test_rows_that_stay_are_those_of_before_not_equal_ones(tmp_path: Path) -> None:
    """Another version of an encoder may give other vectors: what is kept is kept."""
    output = tmp_path / "s.safetensors"
    encode_documents(OLD, Encoder(), output, dtype="float32")
    changed = ChainStore.open(output)
    rows = changed.vectors[:]
    rows[3] = -rows[3]  # "one" in b, now unlike "one" in a
    changed = ChainStore(rows.copy(), changed.offsets, changed.ids, changed.metadata, origins=["a", "a", "c"])
    changed.save(output)
    store, asked, _ = grow(output, [doc("e", "one", "new")])
    assert asked == ["new"]
    np.testing.assert_array_equal(store.vectors[:5], rows)
    np.testing.assert_array_equal(store.vectors[5], rows[0])
    assert store.origins == ["a", "a", "c", "e"]


def test_a_store_grows_as_it_was_encoded(tmp_path: Path) -> None:
    output = tmp_path / "s.safetensors"
    text = " ".join(f"w{place}" for place in range(30))
    encode_documents([Document("t", text)], Encoder(), output, chunk_tokens=5)
    store, _, _ = grow(output, [Document("u", text.upper())])
    assert store.lengths.tolist() == [6, 6]
    for options, message in (
        ({"chunk_tokens": 20}, "chunk_tokens = 20; expected 5, as in the store that grows"),
        ({"dtype": "int8"}, "dtype = 'int8'; expected 'float16'"),
        ({"overwrite": True}, "append and overwrite"),
    ):
        with pytest.raises(ValueError, match=message):
            grow(output, [Document("v", text)], **options)
    other = Encoder()
    other.name = "other"
    with pytest.raises(ValueError, match="encoder = 'other'; expected 'fake'"):
        encode_documents([Document("v", text)], other, output, append=True)
    with pytest.raises(ValueError, match="prune: expected append"):
        encode_documents([Document("v", text)], Encoder(), output, prune=True, overwrite=True)


def test_texts_that_are_not_the_store_s_are_refused(tmp_path: Path) -> None:
    output = tmp_path / "s.safetensors"
    encode_documents(OLD, Encoder(), output)
    other = tmp_path / "other.safetensors"
    encode_documents([doc("a", "one", "2"), *OLD[1:]], Encoder(), other)
    shutil.copy(chunks_path(other), chunks_path(output))
    with pytest.raises(ValueError, match=r"s\.chunks\.jsonl\.gz: not the texts of .*s\.safetensors"):
        grow(output, OLD)
    chunks_path(output).unlink()
    with pytest.raises(FileNotFoundError, match=r"s\.chunks\.jsonl\.gz"):
        grow(output, OLD)
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors"):
        grow(tmp_path / "missing.safetensors", OLD)
