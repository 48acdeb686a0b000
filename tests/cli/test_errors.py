"""What goes wrong on the command line: a mistake is one line and exit code 2, a bug says where to report it."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import zlib

import pytest
import torch

from lvm_fast import cli
from lvm_fast.cli._errors import mistake_in_words, printable

HUGE = "9" * 400


def fail_with(monkeypatch, error):
    def fail(args):
        raise error

    monkeypatch.setattr("lvm_fast.cli.info.run", fail)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\n  two"), "one two"),
        (FileNotFoundError(2, "No such file", "x"), "[Errno 2] No such file: 'x'"),
        (ImportError("no extra"), "no extra"),
        (MemoryError(), "out of memory"),
        (MemoryError("Unable to allocate 9 TiB"), "out of memory; Unable to allocate 9 TiB"),
        (OverflowError("int too large to convert to float"), "int too large to convert to float"),
        (RecursionError("maximum depth"), "the input is nested too deeply (maximum depth)"),
        (EOFError(), "EOFError"),
        (zlib.error("invalid block"), "invalid block"),
        (torch.OutOfMemoryError("CUDA out of memory."), "CUDA out of memory."),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "DefaultCPUAllocator: can't allocate"),
        (RuntimeError("MPS backend out of memory"), "MPS backend out of memory"),
        (torch.distributed.DistStoreError("no peer"), "no peer"),
        (ValueError("\x1b[31mred\udc80"), r"\x1b[31mred\udc80"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(monkeypatch, capsys, error, line):
    fail_with(monkeypatch, error)
    assert cli.main(["info"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"lvm-fast: error: {line}")
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize(
    "error", [TypeError("oops"), KeyError("key"), AttributeError("x"), AssertionError(), RuntimeError("shapes differ")]
)
def test_a_bug_prints_its_traceback_and_where_to_report_it(monkeypatch, capsys, error):
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: {})
    fail_with(monkeypatch, error)
    assert cli.main(["info"]) == 70
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2].startswith(type(error).__name__)
    assert lines[-1].startswith("lvm-fast: this is a bug in lvm_fast ")
    assert lines[-1].endswith("what `lvm-fast info` prints, to whoever gave you lvm_fast")


def test_bugs_go_to_the_address_of_the_installed_package(monkeypatch, capsys):
    class Metadata:
        def get_all(self, name):
            return ["Homepage, https://home.example", "Issues, https://issues.example"]

    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: Metadata())
    fail_with(monkeypatch, TypeError())
    assert cli.main(["info"]) == 70
    assert capsys.readouterr().err.endswith(", at https://issues.example\n")


def test_an_interrupt_while_the_command_line_is_read_is_one_too(monkeypatch, capsys):
    def interrupt(words):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_parse", interrupt)
    assert cli.main(["info"]) == 130
    assert capsys.readouterr().err == "lvm-fast: interrupted\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--model", "hidden_dim=400000"], "a memory_gru with hidden_dim = 400000 takes 61,50"),
        (["train", "--model", "hidden_dim=2000000000"], "sizes too large for any machine"),
        (["train", "--model", "num_layers=1000000"], "num_layers = 1000000; expected at most 4096"),
        (["train", "--model", "memory_slots=1000000000000"], "memory_slots = 1000000000000 takes 11,28"),
        (["train", "--model", f"hidden_dim={HUGE}"], f"--model: hidden_dim = {HUGE}; expected at most "),
        (["train", "--model", "hidden_dim=1e400"], "--model: hidden_dim = inf; expected at most "),
        (["train", "--seed", "18446744073709551616"], "--seed = 18446744073709551616; expected at most "),
        (["train", "--seed", "9" * 5000], "--seed: a whole number of 5,000 digits is too large"),
        (["train", "--lr", "1e999"], "--lr = inf; expected float, above 0"),
        (["train", "--epochs", HUGE], f"--epochs = {HUGE}; expected at most "),
        (["train", "--context-length", HUGE], f"--context-length = {HUGE}; expected at most "),
        (["train", "--soft-negative-cosine-range", HUGE, "1"], "expected two cosines from -1 to 1"),
        (
            ["evaluate", "run", "--bootstrap", "1000000000000"],
            "bootstrap = 1000000000000: expected a whole number from",
        ),
        (["evaluate", "run", "--bootstrap", HUGE], f"bootstrap = {HUGE}: expected a whole number from 1 to 100000"),
        (["evaluate", "run", "--seed", "18446744073709551616"], "--seed = 18446744073709551616; expected at most "),
        (["evaluate", "run", "--stride", HUGE], f"--stride = {HUGE}; expected at most "),
        (["evaluate", "run", "--pool", HUGE], "expected 1 to "),
        (["evaluate", "run", "--batch-size", "0"], "batch_size"),
        (["compare", "run", "--bootstrap", HUGE], f"bootstrap = {HUGE}: expected a whole number from 1 to 100000"),
        (["compare", "run", "--context-length", HUGE], f"--context-length = {HUGE}; expected at most "),
        (["search", "--data", "sample", "--chunk", HUGE], f"--chunk {HUGE}: expected a row from 0 to"),
        (["demo", "--epochs", HUGE], f"epochs = {HUGE}; expected at most "),
    ],
)
def test_absurd_numbers_are_found_before_anything_is_taken_or_made(
    finished, tmp_path, monkeypatch, capsys, words, message
):
    (tmp_path / "run").symlink_to(finished / "run")
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert len(error) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("words", [["evaluate", "run", "--seed", "9" * 5000], ["train", "--model", "a=["]])
def test_what_the_command_line_cannot_read_is_one_line(capsys, words):
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_source_folder_without_its_core_says_so(monkeypatch, capsys):
    fail_with(monkeypatch, ModuleNotFoundError("No module named 'lvm_fast._core'", name="lvm_fast._core"))
    assert cli.main(["info"]) == 2
    assert "which has no compiled core; start Python in another folder" in capsys.readouterr().err


def test_a_wrong_instruction_set_is_a_mistake(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lvm_fast", "info"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"LVM_FAST_SIMD": "mmx", "PATH": "/usr/bin"},
        timeout=300,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("lvm-fast: error: LVM_FAST_SIMD: expected")
    assert done.stderr.count("\n") == 1


def test_escapes_cannot_command_a_terminal():
    assert printable("a é\x07\x1b[0m\n") == "a é\\x07\\x1b[0m\\n"
    assert mistake_in_words(TypeError()) is None
