"""Flags mean the same in every command: texts and files, encoders, the home folder, what a run knows itself."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast import cli
from lvm_fast.cli._options import read_text


class FakeEncoder:
    """A vector for each text, drawn from its hash; a token a word."""

    max_tokens = None
    asked: list[str] = []  # noqa: RUF012

    def __init__(self, name, device="cpu", batch_size=None, precision="float32"):
        self.name = name
        FakeEncoder.asked = []

    def encode(self, texts):
        FakeEncoder.asked += texts
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") for text in texts]
        return np.stack([np.random.default_rng(seed).standard_normal(8) for seed in seeds])

    def count_tokens(self, words):
        return [1] * len(words)


@pytest.fixture
def place(finished, tmp_path, monkeypatch):
    """A run, its data, and a file of text; the home folder too."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / "doc.txt").write_text("Words of a file that says little.")
    monkeypatch.setattr("lvm_fast.data.sentence_encoder.SentenceEncoder", FakeEncoder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


ASKING = {"search": ["search", "--data", "chains.safetensors"], "predict": ["predict", "run"]}


@pytest.mark.parametrize("command", ASKING)
@pytest.mark.parametrize(
    ("given", "encoded"),
    [
        ("Words of my own.", "Words of my own."),
        ("@doc.txt", "Words of a file that says little."),
        ("@~/doc.txt", "Words of a file that says little."),
        ("@@handle said so", "@handle said so"),
        ("@lines.jsonl", "Given. As chunks."),
    ],
)
def test_a_text_is_words_or_the_file_after_an_at(place, capsys, command, given, encoded):
    Path("lines.jsonl").write_text('{"id": "a", "chunks": ["Given.", "As chunks."]}\n')
    assert cli.main([*ASKING[command], "--text", given]) == 0
    assert " ".join(FakeEncoder.asked) == encoded


@pytest.mark.parametrize("command", ASKING)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("doc.txt", "--text 'doc.txt' is the name of a file; --text @doc.txt reads it"),
        ("@none.txt", "No such file or directory: 'none.txt'"),
        ("@blank.txt", "blank.txt: holds no text"),
        ("@two.jsonl", "--text: two.jsonl holds 2 documents; expected one"),
        ("@~nobody-at-all/x", "there is no home folder ~nobody-at-all"),
        ("", "--text: expected words, got an empty text"),
        ("@@", None),
    ],
)
def test_a_text_that_cannot_be_meant_is_one_line(place, capsys, command, given, message):
    Path("blank.txt").write_text(" \n")
    Path("two.jsonl").write_text('{"id": "a", "text": "x"}\n{"id": "b", "text": "y"}\n')
    assert cli.main([*ASKING[command], "--text", given]) == (0 if message is None else 2)
    assert (message or "") in capsys.readouterr().err


def test_a_very_long_text_is_no_file_name():
    assert read_text("word " * 10_000, "search").text == "word " * 10_000
    assert read_text("a\0b", "search").text == "a\0b"


@pytest.mark.parametrize("flag", ["--encoder", "--model"])
def test_the_encoder_is_called_alike_everywhere(place, capsys, flag):
    assert cli.main([*ASKING["search"], "--text", "w", flag, "mine"]) == 0
    assert cli.main([*ASKING["predict"], "--text", "w", "--encoder", "mine"]) == 0
    assert cli.main(["encode", "doc.txt", "--output", "e.safetensors", flag, "mine"]) == 0
    assert lf.ChainStore.open("e.safetensors").metadata["encoder"] == "mine"
    assert cli.main([*ASKING["search"], "--chunk", "1", flag, "mine"]) == 2
    assert "search: --encoder encodes a --text; there is none" in capsys.readouterr().err


def test_the_encoder_s_former_name_is_not_shown(capsys):
    for command in ("encode", "search"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        shown = capsys.readouterr().out
        assert "--encoder" in shown
        assert "--model" not in shown
        with pytest.raises(SystemExit):
            cli.main([command, "--nonsense", "x"])
        assert "--model" not in capsys.readouterr().err


def test_predict_looks_in_the_run_s_own_data(place, capsys):
    np.save("v.npy", np.ones((3, 8), np.float32))
    shown = []
    for words in ([], ["--data", "chains.safetensors"]):
        assert cli.main(["predict", "run", "--vectors", "v.npy", "--json", *words]) == 0
        shown.append(json.loads(capsys.readouterr().out))
    assert shown[0] == shown[1]
    assert len(shown[0][0]) == 10
    lf.load_model("run").save_pretrained("saved")
    assert cli.main(["predict", "saved", "--vectors", "v.npy"]) == 2
    assert "predict: saved is no training run, so --data has to say which chain store" in capsys.readouterr().err


def test_verify_takes_the_model_beside_the_package_and_the_run_s_own_data(place, capsys, monkeypatch):
    pytest.importorskip("coremltools")
    assert cli.main(["export", "run", "--output", "run/m.mlpackage", "--contexts", "4", "--no-streaming"]) == 0
    seen = []
    real = lf.verify_coreml
    monkeypatch.setattr("lvm_fast.export.verify.verify_coreml", lambda *a, **k: seen.append(a[2]) or real(*a, **k))
    assert cli.main(["verify", "run/m.mlpackage"]) == 0
    np.testing.assert_array_equal(seen[0], lf.ChainStore.open("chains.safetensors").vectors[:])
    Path("run/m.mlpackage").rename("m.mlpackage")
    assert cli.main(["verify", "m.mlpackage"]) == 2
    assert "there is no model beside m.mlpackage; say with --checkpoint where it is" in capsys.readouterr().err
    assert cli.main(["verify", "m.mlpackage", "--checkpoint", "run/best_val_hit5.pt"]) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "~/run", "--bootstrap", "5", "--output-dir", "~/out"],
        ["evaluate", "run", "--bootstrap", "5", "--data", "~/chains.safetensors", "--output-dir=~/out"],
        ["compare", "~/run", "run", "--bootstrap", "5", "--output-dir", "~/out"],
        ["search", "--data", "~/chains.safetensors", "--chunk", "1"],
        ["predict", "~/run", "--text", "@~/doc.txt"],
        ["mine", "--data", "~/chains.safetensors", "--output", "~/out.safetensors"],
        ["prepare", "~/v.npy", "--output", "~/out.safetensors"],
        ["train", "--print-config", "--recipe", "~/recipe.yaml"],
    ],
)
def test_a_tilde_is_the_home_folder_in_every_command(place, capsys, monkeypatch, words):
    np.save("v.npy", np.ones((3, 8), np.float32))
    Path("recipe.yaml").write_text("data: ~/chains.safetensors\noutput_dir: ~/new\n")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    words = [word if not re.fullmatch("run", word) else str(place / "run") for word in words]
    assert cli.main(words) == 0
    said = capsys.readouterr()
    assert not list(Path().iterdir())
    if words[0] == "train":
        assert f"data: {place}/chains.safetensors\n" in said.out
        assert f"output_dir: {place}/new\n" in said.out
    if words[0] in ("evaluate", "compare"):
        assert (place / "out").is_dir()


def test_a_home_folder_that_is_none_is_one_line(place, capsys):
    assert cli.main(["evaluate", "~nobody-at-all/run"]) == 2
    assert "model = '~nobody-at-all/run': there is no home folder" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main(["search", "--data", "~nobody-at-all/x", "--chunk", "1"])
    assert "there is no home folder ~nobody-at-all" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("train", ["--precision float32|bfloat16", "--pool targets|store|N", "--infonce-batch micro|effective|bank"]),
        ("train", ["--objective last_position|all_positions", "--model-type memory_gru|lstm|gru|transformer|"]),
        ("train", ["--negatives target|prediction|PATH", "--domains clusters|metadata|PATH", "--data sample|PATH"]),
        ("train", ["--device auto|cpu|cuda|mps"]),
        ("predict", ["--weights float32|bfloat16|int8", "--device auto|cpu|mps|cuda", "--text TEXT|@FILE"]),
        ("search", ["--text TEXT|@FILE", "--data PATH|sample"]),
        (
            "evaluate",
            ["--split {val,all}", "--pool targets|store|N", "--data PATH|sample", "--device auto|cpu|mps|cuda"],
        ),
    ],
)
def test_help_shows_the_choices(capsys, command, shown):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert [words for words in shown if words not in text] == []


def test_sizes_may_come_in_several_flags_but_each_once(capsys):
    words = ["train", "--print-config", "--model", "hidden_dim=8", "--model", "dropout=1e-1", "num_layers=010"]
    assert cli.main(words) == 0
    assert "model:\n  hidden_dim: 8\n  dropout: 0.1\n  num_layers: 10\n" in capsys.readouterr().out
    for more in (["--model", "hidden_dim=9"], ["hidden_dim=8"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main([*words, *more])
        assert "argument --model: 'hidden_dim' is given twice" in capsys.readouterr().err
    for word in ("hidden_dim=", "=3", "hidden_dim", "hidden_dim=["):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["train", "--model", word])
        error = capsys.readouterr().err
        assert f"argument --model: {word!r}" in error
        assert error.count("\n") == 1


def test_what_training_goes_on_from_is_no_model_and_says_what_is(place, capsys):
    assert cli.main(["evaluate", "run/last.pt"]) == 2
    assert "last.pt: the state that a training goes on from, no model; use best_val_hit5.pt" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"use best_val_hit5\.pt beside it"):
        lf.load_model("run/last.pt")


def test_a_single_command_is_parsed_without_the_others():
    parser = cli.build_parser(["info"])
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    assert list(commands.choices) == ["info"]


def test_export_compares_no_answers_that_training_has_seen(place, capsys):
    pytest.importorskip("coremltools")
    assert cli.main(["export", "run", "--compare", "--seed", "7"]) == 2
    error = capsys.readouterr().err
    assert re.search(r"^lvm-fast: error: export: its training \(.*\) saw .*, or --allow-leaks$", error)
    assert cli.main(["export", "run", "--output", "m.mlpackage", "--allow-leaks"]) == 2
    assert "--allow-leaks is used with --compare only" in capsys.readouterr().err
