from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvm_fast.cli import main
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.sentence_encoder import SentenceEncoder

WORDS = ["the", "state", "of", "union", "is", "strong", ".", ",", "un", "##ion", "##s"]


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A sentence-transformers model of two small random layers, saved on disk."""
    library = pytest.importorskip("sentence_transformers")
    import torch
    from sentence_transformers import models
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=5 + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    word_model = models.Transformer(str(folder), max_seq_length=64)
    library.SentenceTransformer(modules=[word_model, models.Pooling(32)], device="cpu").save(str(tmp_path / "model"))
    return tmp_path / "model"


@pytest.mark.filterwarnings("default")  # of the library
def test_a_real_model_encodes_text_from_the_command_line(
    tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "speech.txt").write_text("The state of the union is strong. " * 20)
    output = tmp_path / "s.safetensors"
    options = ["--encoder", str(model_folder), "--output", str(output), "--dtype", "float32", "--device", "cpu"]
    assert main(["encode", str(tmp_path / "speech.txt"), *options]) == 0
    store = ChainStore.open(output)
    assert store.ids == ["speech.txt"]
    assert f"rows={len(store.vectors)} dim=32" in capsys.readouterr().out
    np.testing.assert_allclose(np.linalg.norm(store.vectors[:], axis=1), 1, rtol=1e-5)
    encoder = SentenceEncoder(str(model_folder))
    assert encoder.max_tokens == 64
    assert encoder.count_tokens(["union", "unions", "strong."]) == [1, 2, 2]
    assert encoder.count_tokens([]) == []
    first = np.asarray(encoder.encode(["The state of the union is strong. " * 2]))[0]
    np.testing.assert_allclose(store.vectors[0], first / np.linalg.norm(first), atol=1e-5)
    before = output.read_bytes()
    assert main(["encode", str(tmp_path / "speech.txt"), *options]) == 2
    assert "s.safetensors' exists already; pass overwrite=True (--overwrite) to replace it" in capsys.readouterr().err
    assert main(["encode", str(tmp_path / "speech.txt"), *options, "--overwrite"]) == 0
    assert output.read_bytes() == before
    capsys.readouterr()
    assert main(["encode", str(tmp_path / "speech.txt"), *options, "--overwrite", "--chunk-tokens", "60"]) == 2
    assert "chunk_tokens = 60" in capsys.readouterr().err
    assert output.read_bytes() == before


@pytest.mark.filterwarnings("default")  # of the library
def test_a_static_model_without_a_length_limit_works_too(tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    tokenizers = pytest.importorskip("tokenizers")
    from sentence_transformers.models import StaticEmbedding

    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({word: at for at, word in enumerate(["[UNK]", *WORDS])}, unk_token="[UNK]")
    )
    static = StaticEmbedding(tokenizer, embedding_dim=16)
    library.SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "model"))
    encoder = SentenceEncoder(str(tmp_path / "model"))
    assert encoder.max_tokens is None
    assert encoder.count_tokens(["union", "unions"]) == [1, 2]
    assert encoder.count_tokens([]) == []
    assert np.asarray(encoder.encode(["strong", "union"])).shape == (2, 16)


@pytest.mark.filterwarnings("default")  # of the library
def test_a_model_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sentence_transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "a.txt").write_text("words")
    arguments = ["encode", str(tmp_path / "a.txt"), "--output", str(tmp_path / "s.safetensors"), "--device", "cpu"]
    assert main([*arguments, "--encoder", str(tmp_path / "no-model")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("lvm-fast: error: SentenceEncoder: model '")
    assert "cannot be loaded" in error
    assert {item.name for item in tmp_path.iterdir()} == {"a.txt"}


@pytest.mark.filterwarnings("default")  # of the library
@pytest.mark.parametrize("answer", ["none", "not found"])
def test_a_hub_without_an_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    library = pytest.importorskip("sentence_transformers")
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def refuse(name: str, local_files_only: bool = False, **_: Any) -> None:
        asked.append("cache" if local_files_only else "hub")
        raise OSError("not there")

    def silent(self: Any, name: str, **_: Any) -> None:
        asked.append("answer")
        if answer == "none":
            raise OSError("Name or service not known")

    monkeypatch.setattr(library, "SentenceTransformer", refuse)
    monkeypatch.setattr(hub.HfApi, "model_info", silent)
    expected = {"none": "the hub gives no answer: Name or service not known", "not found": "not there"}
    with pytest.raises(ValueError, match=f"model 'some/model' cannot be loaded: .*{expected[answer]}$"):
        SentenceEncoder("some/model")
    assert asked == ["cache", "answer"] + ["hub"] * (answer == "not found")


@pytest.mark.filterwarnings("default")  # of the library
def test_nothing_but_errors_reaches_a_standard_error_that_is_no_terminal(tmp_path: Path, model_folder: Path) -> None:
    (tmp_path / "speech.txt").write_text("The state of the union is strong. " * 20)
    command = [
        sys.executable,
        "-m",
        "lvm_fast",
        "encode",
        "speech.txt",
        "--encoder",
        str(model_folder),
        "--device",
        "cpu",
    ]
    result = subprocess.run([*command, "--output", "s.safetensors"], cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_files_without_text_are_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("words")
    (tmp_path / "texts" / "b.txt").write_text("")
    assert (
        main(["encode", str(tmp_path / "texts"), "--output", str(tmp_path / "s.safetensors"), "--device", "cpu"]) == 2
    )
    warning, error = capsys.readouterr().err.splitlines()
    assert warning == f"lvm-fast: warning: {tmp_path}/texts: read 1 file, left out 1 without text (b.txt)"
    assert "pip install" in error


def test_without_the_extra_the_error_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    (tmp_path / "a.txt").write_text("words")
    assert (
        main(["encode", str(tmp_path / "a.txt"), "--output", str(tmp_path / "s.safetensors"), "--device", "cpu"]) == 2
    )
    assert "pip install 'lvm_fast[encode]'" in capsys.readouterr().err


def test_bad_input_is_told_before_a_model_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "blank.txt").write_text("\n")
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "mine.chunks.jsonl.gz").write_bytes(gzip.compress(b'{"id": "a", "chunks": ["words"]}'))
    (tmp_path / "old.safetensors").write_bytes(b"old")
    (tmp_path / "half.jsonl").write_text('{"id": "a", "text": "half \\ud83d"}')
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9s")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name, output, options, message in (
        ("blank.txt", "s.safetensors", [], "blank.txt: holds no text"),
        ("missing.txt", "s.safetensors", [], "missing.txt"),
        ("a.txt", "s.safetensors", ["--device", "tpu"], "device = 'tpu'"),
        ("a.txt", "no/s.safetensors", [], f"'{tmp_path}/no/s.safetensors'"),
        ("a.txt", "a.txt", [], "a.txt' is an input too"),
        ("mine.chunks.jsonl.gz", "mine.safetensors", [], "mine.chunks.jsonl.gz' is an input too"),
        ("mine.chunks.jsonl.gz", "mine.safetensors", ["--overwrite"], "mine.chunks.jsonl.gz' is an input too"),
        ("a.txt", "old.safetensors", [], "old.safetensors' exists already; pass overwrite=True (--overwrite)"),
        ("half.jsonl", "s.safetensors", [], "half.jsonl: line 1: no valid JSON in UTF-8: a text holds half of a surr"),
        ("latin.txt", "s.safetensors", [], "latin.txt: not UTF-8 text (invalid continuation byte at byte 3)"),
        ("a.txt", "model/model.safetensors", ["--model", f"{tmp_path}/model", "--overwrite"], "is an input too"),
        ("a.txt", "s", [], "s'; expected a name ending in .safetensors"),
    ):
        assert main(["encode", str(tmp_path / name), "--output", str(tmp_path / output), *options]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
