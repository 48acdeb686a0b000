from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.documents import Document
from lvm_fast.data.encode import encode_documents
from lvm_fast.data.encoding.precision_gate import check_precision, hit_share, next_chunk_hits, sample_runs


class Coarse:
    """Vectors drawn from a hash of the text, with noise of a given size unless in float32."""

    name, max_tokens, precision = "coarse", None, "int8"

    def __init__(self, noise: float, asked: list[str] | None = None) -> None:
        self.noise = noise
        self.asked: list[str] = [] if asked is None else asked

    def in_float32(self) -> Coarse:
        exact = Coarse(0, self.asked)
        exact.precision = "float32"
        return exact

    def encode(self, texts: list[str]) -> Any:
        self.asked += [self.precision] * len(texts)
        generators = [np.random.default_rng(list(hashlib.sha256(text.encode()).digest())) for text in texts]
        rows = np.stack([np.concatenate([rng.standard_normal((2, 64))]) for rng in generators])
        return rows[:, 0] + self.noise * rows[:, 1]

    def count_tokens(self, words: list[str]) -> list[int]:
        return [1] * len(words)


CHUNKS = [[f"chunk {chain} {place}" for place in range(100)] for chain in range(40)]
DOCUMENTS = [Document(f"d{chain}", chunks=tuple(texts)) for chain, texts in enumerate(CHUNKS[:6])]


def test_the_sample_is_512_chunks_in_runs_spread_over_the_documents() -> None:
    runs = sample_runs(CHUNKS)
    assert sum(map(len, runs)) == 512
    assert all(2 <= len(run) <= 32 for run in runs)
    assert len({run[0].split()[1] for run in runs}) > 10
    short = sample_runs([[f"{chain} {place}" for place in range(5)] for chain in range(300)])
    assert 500 < sum(map(len, short)) <= 512
    assert sample_runs([["a"], ["b", "c"]]) == [["b", "c"]]
    assert sample_runs([["a"], ["b"]]) == [["a"], ["b"]]


def test_hits_are_those_of_the_next_chunk_among_what_is_not_read() -> None:
    angles = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert next_chunk_hits(rows, [10]) == 1.0  # the next one is always the nearest not read, or nearly
    far = np.concatenate([rows[:1], np.tile([[0.9, 0.1]], (6, 1)), rows[-1:]]).astype(np.float32)
    # with 1 chunk read: of 0 and of 7, five equal chunks are no nearer than the first; row 7 is beaten by 5 others
    questions = next_chunk_hits(far, [1, 6, 1])
    assert questions == 1.0
    assert next_chunk_hits(far[[0, 7, 1, 2, 3, 4, 5, 6]], [2, 1, 1, 1, 1, 1, 1]) == 0.0
    assert next_chunk_hits(rows, [1] * 10) == 1.0


def test_hits_are_the_mean_over_all_pools_of_128() -> None:
    assert [hit_share(better, 127) for better in (0, 4, 5, 127)] == [1.0, 1.0, 0.0, 0.0]
    assert [hit_share(better, 3) for better in (0, 3)] == [1.0, 1.0]
    assert hit_share(6, 128) == pytest.approx(0.0)
    assert hit_share(5, 128) == pytest.approx(5 / 128)  # one of the five is left out
    rng = np.random.default_rng(0)
    draws = [np.count_nonzero(rng.choice(500, 127, replace=False) < 20) < 5 for _ in range(4000)]
    assert hit_share(20, 500) == pytest.approx(np.mean(draws), abs=0.03)


def test_a_precision_that_is_fine_enough_passes_and_tells_its_figures() -> None:
    encoder = Coarse(0.02)
    record = check_precision(CHUNKS, encoder)
    assert record["name"] == "int8"
    assert record["chunks"] == 512
    assert record["mean_cosine"] == pytest.approx(1 / np.sqrt(1 + 0.02**2), abs=1e-4)
    assert record["hit@5_float32"] - record["hit@5"] <= 0.003
    assert encoder.asked == ["int8"] * 512 + ["float32"] * 512


def test_a_precision_that_is_too_coarse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'int8' is too coarse for coarse: on 512 chunks the mean cosine .* 0\.95"):
        check_precision(CHUNKS, Coarse(0.3))


def test_what_was_found_stands_in_the_store_and_is_not_asked_again(tmp_path: Path) -> None:
    encoder = Coarse(0.02)
    store = encode_documents(DOCUMENTS[:5], encoder, tmp_path / "s.safetensors")
    assert store.metadata["precision"] == check_precision(CHUNKS[:5], Coarse(0.02))
    encoder.asked.clear()
    grown = encode_documents(DOCUMENTS, encoder, tmp_path / "s.safetensors", append=True)
    assert encoder.asked == ["int8"] * 100
    assert grown.metadata["precision"] == store.metadata["precision"]


def test_a_check_that_was_passed_before_a_kill_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Coarse(0.02)
    monkeypatch.setattr("lvm_fast.data.encode.encode_texts", stop)
    with pytest.raises(KeyboardInterrupt):
        encode_documents(DOCUMENTS, encoder, tmp_path / "s")
    monkeypatch.undo()
    encoder.asked.clear()
    encode_documents(DOCUMENTS, encoder, tmp_path / "s")
    assert encoder.asked == ["int8"] * 600


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


def test_nothing_is_written_where_the_precision_is_too_coarse(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too coarse"):
        encode_documents(DOCUMENTS, Coarse(0.3), tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_vectors_of_one_precision_are_not_taken_for_another(tmp_path: Path) -> None:
    encode_documents(DOCUMENTS[:2], Coarse(0.02), tmp_path / "s")
    with pytest.raises(ValueError, match="precision = 'float32'; expected 'int8', as in the store that grows"):
        encode_documents(DOCUMENTS, Coarse(0).in_float32(), tmp_path / "s", append=True)
    assert "precision" not in encode_documents(DOCUMENTS[:2], Coarse(0).in_float32(), tmp_path / "t").metadata
    assert len(ChainStore.open(tmp_path / "s")) == 2
