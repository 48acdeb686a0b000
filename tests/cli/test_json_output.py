"""Every command that prints results prints them as JSON on request, and nothing else on standard output."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast import cli
from lvm_fast.cli._json_output import print_json


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    np.save("v.npy", np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32))
    return tmp_path


def said(capsys: Any, *words: str) -> tuple[Any, str]:
    capsys.readouterr()
    assert cli.main([*words, "--json"]) == 0
    printed = capsys.readouterr()
    return json.loads(printed.out), printed.err


def test_a_report_and_a_comparison(place: Path, capsys: Any) -> None:
    report, words = said(capsys, "evaluate", "run")
    assert report == json.loads((place / "run" / "report.json").read_text())
    assert "Written: " in words
    comparison, _ = said(capsys, "compare", "run", "--output-dir", "c")
    assert comparison["runs"][0]["figures"]["scores"]["hit@5"] == report["hits"]["hit@5"]


def test_a_training(place: Path, capsys: Any) -> None:
    small = ["--model", "hidden_dim=4", "num_layers=1", "memory_slots=2", "--context-length", "6", "--device", "cpu"]
    words = ["train", "--data", "chains.safetensors", *small, "--epochs", "1", "--accumulation-steps", "1"]
    result, log = said(capsys, *words, "--output-dir", "new")
    assert "TRAINING COMPLETE" in log
    history = json.loads((place / "new" / "training_history.json").read_text())
    assert (result["best_hit5"], result["history"]) == (history["best_hit5"], history["epochs"])
    assert Path(result["checkpoint"]).is_file()
    assert said(capsys, *words, "--print-config")[0]["model"] == {"hidden_dim": 4, "num_layers": 1, "memory_slots": 2}


def test_files_that_were_written(place: Path, capsys: Any) -> None:
    made, _ = said(capsys, "prepare", "v.npy", "--output", "v.safetensors")
    size = Path("v.safetensors").stat().st_size
    assert (made["chains"], made["rows"], made["dim"], made["bytes"]) == (1, 40, 8, size)
    mined, _ = said(capsys, "mine", "--data", "chains.safetensors", "--output", "m.safetensors", "--low", "0.5")
    assert mined["chunks"] == 480
    assert mined["negatives"] == pytest.approx(480 * mined["mean"])


def test_a_package_and_its_verification(place: Path, capsys: Any) -> None:
    pytest.importorskip("coremltools")
    made, _ = said(capsys, "export", "run", "--output", "run/m.mlpackage", "--contexts", "4")
    assert made["functions"] == ["predict_4", "step"]
    verified, words = said(capsys, "verify", "run/m.mlpackage")
    assert verified["passed"]
    assert [check["name"] for check in verified["functions"]] == made["functions"]
    assert "equal" in words
    assert cli.main(["verify", "run/m.mlpackage", "--json", "figures.json"]) == 0
    assert "equal" in capsys.readouterr().out
    assert json.loads(Path("figures.json").read_text()) == verified


def test_an_installation(capsys: Any) -> None:
    assert said(capsys, "info")[0].keys() > {"lvm_fast", "python", "simd", "threads", "models"}


def test_what_json_has_no_word_for_is_null(capsys: Any) -> None:
    print_json({"a": [np.float32(0.5), float("nan")], "b": (float("inf"), "é")})
    assert json.loads(capsys.readouterr().out) == {"a": [0.5, None], "b": [None, "é"]}


def test_an_encoding(place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Encoder:
        max_tokens = None

        def __init__(self, name: str, *_: Any, **options: Any) -> None:
            self.name = name

        def encode(self, texts: list[str]) -> Any:
            return np.random.default_rng(len(texts)).standard_normal((len(texts), 8))

        def count_tokens(self, words: list[str]) -> list[int]:
            return [1] * len(words)

    monkeypatch.setattr("lvm_fast.data.sentence_encoder.SentenceEncoder", Encoder)
    Path("a.txt").write_text("Some words make a sentence. " * 30)
    made, _ = said(capsys, "encode", "a.txt", "--output", "e.safetensors", "--encoder", "fake")
    assert (made["output"], made["texts"]) == ("e.safetensors", "e.chunks.jsonl.gz")
    assert made["rows"] == len(lf.ChainStore.open("e.safetensors").vectors) > 3


def test_every_command_that_ends_takes_json() -> None:
    parser = cli.build_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    without = [name for name, command in commands.choices.items() if "--json" not in command.format_help()]
    assert without == ["explore"]
