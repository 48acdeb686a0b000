from __future__ import annotations

import gzip
import os
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


TEXTS = [f"The state of the union is strong{mark * count}" for count in range(1, 30) for mark in (",", ".", " union")]


@pytest.mark.filterwarnings("default")  # of the library
def test_batches_by_tokens_give_the_vectors_of_the_library(model_folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(model_folder), device="cpu").encode(TEXTS)
    for limits in ({}, {"batch_size": 3}, {"batch_tokens": 40}):
        encoder = SentenceEncoder(str(model_folder), "auto" if not limits else "cpu", **limits)
        np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_tokens(encoder.tokenize(TEXTS[:4])), expected[:4], atol=1e-5)
    assert len(encoder.encode([])) == 0
    assert encoder.precision == "float32"
    for limits, message in (({"batch_size": 0}, "batch_size"), ({"batch_tokens": 0.5}, "batch_tokens")):
        with pytest.raises(ValueError, match=f"SentenceEncoder: {message}: expected a whole number"):
            SentenceEncoder(str(model_folder), **limits)


@pytest.mark.filterwarnings("default")  # of the library
def test_a_model_with_a_prompt_or_a_width_of_its_own_encodes_as_the_library_does(model_folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(model_folder), device="cpu", prompts={"p": "union "}, default_prompt_name="p", truncate_dim=8
    )
    encoder = SentenceEncoder(str(model_folder))
    encoder._model, encoder._is_plain = model, False
    np.testing.assert_allclose(encoder.encode(TEXTS), model.encode(TEXTS), atol=1e-5)
    assert encoder.encode(TEXTS).shape == (len(TEXTS), 8)


def cosines(ours: Any, theirs: Any) -> Any:
    return (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)


@pytest.mark.filterwarnings("default")  # of the library
def test_bfloat16_is_near_float32_and_said_to_be_slow_where_it_is(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = SentenceEncoder(str(model_folder))
    monkeypatch.setattr("lvm_fast._util.device.multiplies_bfloat16", lambda device: False)
    with pytest.warns(UserWarning, match="precision = 'bfloat16': this device has no bfloat16 products of its own"):
        encoder = SentenceEncoder(str(model_folder), precision="bfloat16")
    rows = encoder.encode(TEXTS)
    assert rows.dtype == np.float32
    assert 0.999 < cosines(rows, exact.encode(TEXTS)).min() < 0.9999999
    np.testing.assert_array_equal(encoder.in_float32().encode(TEXTS), exact.encode(TEXTS))


@pytest.mark.filterwarnings("default")  # of the libraries
def test_int8_is_near_float32_though_a_few_inputs_are_large(model_folder: Path) -> None:
    """One column a thousand times as large as the others costs them their digits, unless it is evened out."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(model_folder), device="cpu")
    layer = model[0].auto_model.encoder.layer[0]
    with torch.no_grad():
        layer.intermediate.dense.bias[3] = 1000.0
        layer.intermediate.dense.weight *= 20.0
        layer.output.dense.weight *= 20.0
        layer.output.dense.weight[:, 3] = 0.0
    model.save(str(model_folder))
    exact = SentenceEncoder(str(model_folder)).encode(TEXTS)
    encoder = SentenceEncoder(str(model_folder), precision="int8")
    assert encoder.precision == "int8"
    assert 0.999 < cosines(encoder.encode(TEXTS), exact).min() < 0.9999999
    np.testing.assert_array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS))
    assert encoder.in_float32().precision == "float32"


@pytest.mark.filterwarnings("default")  # of the libraries
def test_an_even_layer_is_the_layer() -> None:
    pytest.importorskip("torch")
    import torch

    from lvm_fast.data.encoding.int8_transformer import EvenLinear

    torch.manual_seed(0)
    linear = torch.nn.Linear(6, 4)
    x = torch.randn(3, 5, 6) * torch.tensor([1.0, 50.0, 0.1, 1.0, 1.0, 1.0])
    x[0, 0] = 0
    even = EvenLinear(linear, torch.tensor([1.0, 7.0, 0.3, 1.0, 1.0, 2.0]))
    torch.testing.assert_close(even(x), linear(x), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("default")  # of the libraries
def test_the_command_line_checks_a_precision_and_writes_what_it_found(tmp_path: Path, model_folder: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    sentence = "The state of the union is strong. Is the union of the state strong, or is it the state?"
    words = sentence.split()
    for number in range(3):
        rng = np.random.default_rng(number)
        (tmp_path / f"{number}.txt").write_text(" ".join(rng.choice(words, 900)))
    texts = [str(tmp_path / f"{number}.txt") for number in range(3)]
    output = tmp_path / "s.safetensors"
    command = ["encode", *texts[:2], "--encoder", str(model_folder), "--device", "cpu", "--output", str(output)]
    assert main([*command, "--precision", "int8"]) == 0
    record = ChainStore.open(output).metadata["precision"]
    assert (record["name"], record["chunks"] > 60) == ("int8", True)
    assert record["mean_cosine"] > 0.999
    assert main(["encode", *texts, "--append", str(output), "--device", "cpu"]) == 0
    grown = ChainStore.open(output)
    assert (len(grown), grown.metadata["precision"]) == (3, record)


def test_a_precision_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    with pytest.raises(ValueError, match="unknown precision 'int9'; did you mean 'int8'"):
        SentenceEncoder("x", precision="int9")
    monkeypatch.setattr("lvm_fast._util.device.choose_device", lambda name: __import__("torch").device("cuda"))
    with pytest.raises(ValueError, match="precision = 'int8' on cuda; expected bfloat16 there"):
        SentenceEncoder("x", precision="int8")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"encoding in int8: onnx(runtime)? is missing; .*lvm_fast\[int8\]"):
        SentenceEncoder("x", precision="int8")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the library
def test_the_command_of_two_processes_writes_the_store_of_one(tmp_path: Path, model_folder: Path) -> None:
    words = ["the", "state", "of", "the", "union", "is", "strong"]
    lines = [" ".join(np.random.default_rng(number).choice(words, 400)) for number in range(6)]
    (tmp_path / "in").mkdir()
    for number, line in enumerate(lines):
        (tmp_path / "in" / f"{number}.txt").write_text(line)
    command = ["-m", "lvm_fast", "encode", "in", "--encoder", str(model_folder), "--device", "cpu", "--batch-size", "8"]
    alone = [sys.executable, *command, "--output", "one.safetensors"]
    pair = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "LVM_FAST_NUM_THREADS": "1"}
    for words in (alone, [*pair, *command, "--output", "two.safetensors"]):
        done = subprocess.run(words, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("chains=6") == 1
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
