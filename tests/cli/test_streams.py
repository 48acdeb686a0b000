"""Output that nobody reads, that is closed, that is full, or that lacks letters: every command is quiet about it."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lvm_fast import cli
from lvm_fast.cli._streams import Output, standard_streams

COMMANDS = {
    "info": (),
    "train": (
        *("--data", "chains.safetensors", "--output-dir", "new", "--epochs", "1", "--context-length", "6"),
        *("--device", "cpu", "--model", "hidden_dim=6", "num_layers=1", "memory_slots=4"),
    ),
    "evaluate": ("run", "--bootstrap", "5"),
    "compare": ("run", "--bootstrap", "5"),
    "predict": ("run", "--vectors", "v.npy"),
    "search": ("--data", "chains.safetensors", "--chunk", "3"),
    "mine": ("--data", "chains.safetensors", "--output", "mined.safetensors"),
    "topk": ("v.npy", "chains.safetensors", "--output", "run.npz"),
    "prepare": ("v.npy", "--output", "prepared.safetensors"),
    "encode": ("doc.txt", "--output", "encoded.safetensors"),
}
LEFT = {  # what a command is there for, besides what it prints
    "train": "new/best_val_hit5.pt",
    "evaluate": "run/report.json",
    "compare": "comparison/comparison.json",
    "mine": "mined.safetensors",
    "topk": "run.npz",
    "prepare": "prepared.safetensors",
    "encode": "encoded.safetensors",
}


@pytest.fixture
def place(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32))
    (tmp_path / "doc.txt").write_text("Some words are here. And others follow them.", encoding="utf-8")
    monkeypatch.setattr("lvm_fast.data.sentence_encoder.SentenceEncoder", FakeEncoder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class FakeEncoder:
    max_tokens = None

    def __init__(self, name, *_, **__):
        self.name = name

    def encode(self, texts):
        return np.eye(8, dtype=np.float32)[: len(texts)]

    def count_tokens(self, words):
        return [1] * len(words)


class Bare:
    """A stream that can only write; what some programs put in the place of standard error."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Broken(io.StringIO):
    """A stream whose other end fails."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("stream", [None, Bare(), Broken(errno.EPIPE)], ids=["closed", "bare", "broken"])
def test_whatever_standard_error_is_the_work_is_done(place, monkeypatch, capsys, command, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    assert cli.main([command, *COMMANDS[command]]) == 0
    assert sys.stderr is stream
    assert command not in LEFT or Path(LEFT[command]).exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistake_is_an_exit_code_even_where_nothing_can_be_told(place, monkeypatch, command):
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(f"lvm_fast.cli.{command}.run", lambda args: int("no number"))
    assert cli.main([command, *COMMANDS[command]]) == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_a_pipe_that_breaks_is_exit_code_141_and_the_files_are_there(place, monkeypatch, capsys, command):
    monkeypatch.setattr(sys, "stdout", Broken(errno.EPIPE))
    assert cli.main([command, *COMMANDS[command]]) == 141
    assert not any(line.startswith("lvm-fast: error") for line in capsys.readouterr().err.splitlines())
    assert command not in LEFT or Path(LEFT[command]).exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_behind_standard_output_is_told_and_the_files_are_there(place, monkeypatch, capsys, command):
    monkeypatch.setattr(sys, "stdout", Broken(errno.ENOSPC))
    assert cli.main([command, *COMMANDS[command]]) == 2
    assert capsys.readouterr().err.endswith("lvm-fast: error: standard output: No space left on device\n")
    assert command not in LEFT or Path(LEFT[command]).exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_letters_that_the_output_lacks_become_escapes(place, monkeypatch, command):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert cli.main([command, *COMMANDS[command]]) == 0
    text = raw.getvalue().decode("ascii")
    assert text
    if command in ("predict", "search"):
        assert r"dokument \xe9 " in text


def test_export_and_verify_work_without_standard_streams(place, monkeypatch):
    pytest.importorskip("coremltools")
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdout", Broken(errno.EPIPE))
    assert cli.main(["export", "run", "--output", "run/m.mlpackage", "--contexts", "4", "--no-streaming"]) == 141
    assert cli.main(["verify", "run/m.mlpackage"]) == 141


@pytest.mark.parametrize(("encoding", "written"), [("ascii", r"dokument \u00e9 0"), ("utf-8", "dokument é 0")])
def test_json_is_json_in_every_encoding(place, monkeypatch, encoding, written):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert cli.main(["search", "--data", "chains.safetensors", "--chunk", "3", "--json"]) == 0
    assert written in raw.getvalue().decode(encoding)
    assert json.loads(raw.getvalue().decode(encoding))[0][0]["chain"].startswith("dokument é ")


def test_what_cannot_be_encoded_at_all_is_escaped():
    raw = io.BytesIO()
    output = Output(io.TextIOWrapper(raw, encoding="utf-8"))
    output.write("a\udc80b")
    output.flush()
    assert raw.getvalue() == rb"a\udc80b"


def test_streams_are_put_back(monkeypatch):
    before = sys.stdin, sys.stdout, sys.stderr
    monkeypatch.setattr(sys, "stdin", None)
    with standard_streams():
        assert sys.stdin.read() == ""
        assert sys.stdout is not before[1]
    assert sys.stdin is None
    assert (sys.stdout, sys.stderr) == before[1:]


def shell(line, place):
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; lvm() {{ {sys.executable} -m lvm_fast "$@"; }}; {line}'],
        capture_output=True,
        text=True,
        cwd=place,
        timeout=600,
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("lvm info | true", 141),
        ("lvm search --data chains.safetensors --vectors v.npy -k 400 --json | head -1", 141),
        ("lvm --help | true", 0),
        ("lvm evaluate nowhere 2>&-", 2),
        ("lvm info >&- 2>&- <&-", 0),
        ("lvm train --nonsense 2>&-", 2),
    ],
)
def test_real_pipes_and_closed_descriptors_are_quiet(place, line, code):
    done = shell(line, place)
    assert (done.returncode, done.stderr) == (code, "")


def test_no_file_takes_the_number_of_a_closed_standard_error(place):
    script = """
import os, sys
from lvm_fast.cli._streams import standard_streams
with standard_streams(), open("kept.txt", "w") as file:
    os.write(2, b"chatter of a library")
    file.write("mine")
"""
    done = subprocess.run(["bash", "-c", f'{sys.executable} -c "$0" 2>&-', script], cwd=place, timeout=600)
    assert done.returncode == 0
    assert (place / "kept.txt").read_text() == "mine"
