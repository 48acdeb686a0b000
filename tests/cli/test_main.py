"""The command line as a whole: help, errors in one line with exit code 2, info."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lvm_fast as lf
from lvm_fast import cli
from lvm_fast.cli.info import describe_installation


def run(*arguments: str, cwd=None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lvm_fast", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert f"lvm-fast {command}" in capsys.readouterr().out


def test_help_lists_every_command(tmp_path):
    shown = run("--help", cwd=tmp_path)
    assert shown.returncode == 0
    assert all(command in shown.stdout for command in cli.COMMANDS)


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(flag, capsys):
    with pytest.raises(SystemExit):
        cli.main([flag])
    assert capsys.readouterr().out.strip() == f"lvm-fast {lf.__version__}"


@pytest.mark.parametrize("words", [["info"], ["search", "--data", "sample", "--chunk", "3"], ["train"]])
def test_sources_without_the_core_say_so(words, tmp_path):
    sources = Path(lf.__file__).parent
    shutil.copytree(sources, tmp_path / "lvm_fast", ignore=shutil.ignore_patterns("_core*.so", "_core*.pyd", "general"))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-S", "-m", "lvm_fast", *words]  # -S: an editable install would find its own core
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert done.stderr == (
        f"lvm-fast: error: lvm_fast was found in its source folder ({tmp_path / 'lvm_fast'}), which has no compiled "
        "core; start Python in another folder, or install with `pip install -e .`\n"
    )


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("lvm-fast tra", ["train"]),
        ("lvm-fast e", ["encode", "evaluate", "explore", "export"]),
        ("lvm-fast train --epo", ["--epochs"]),
        ("lvm-fast info --js", ["--json"]),
    ],
)
def test_the_shell_completes_commands_and_flags(typed, offered, tmp_path):
    pytest.importorskip("argcomplete")
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "words")}
    env = {**os.environ, **asked, "COMP_LINE": typed, "COMP_POINT": str(len(typed))}
    done = subprocess.run([sys.executable, "-m", "lvm_fast"], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(word.strip() for word in (tmp_path / "words").read_text().split("\n")) == offered


def test_without_argcomplete_a_command_runs_as_ever(monkeypatch, capsys):
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    with pytest.raises(SystemExit):
        cli.main(["-V"])
    assert capsys.readouterr().out.strip() == f"lvm-fast {lf.__version__}"


def test_bad_input_is_one_line_and_exit_code_2(tmp_path):
    failed = run("evaluate", "nowhere", cwd=tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.startswith("lvm-fast: error: ")
    assert len(failed.stderr.splitlines()) == 1
    assert "nowhere" in failed.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "lvm-fast: error: unknown command 'trian'; did you mean 'train'? There are: demo, "),
        (["fly"], "lvm-fast: error: unknown command 'fly'; there are: demo, "),
        (["train", "--epohcs", "2"], "lvm-fast train: error: unknown flag '--epohcs'; did you mean '--epochs'? There "),
        (["train", "--epohcs=2"], "unknown flag '--epohcs'; did you mean '--epochs'?"),
        (["train", "--xyzzy", "2"], "lvm-fast train: error: unknown flag '--xyzzy'; there are: --help, --recipe, "),
        (["train", "--learning-rate", "2"], "unknown flag '--learning-rate'; did you mean '--lr'? There are: "),
        (["train", "--accumulate", "2"], "unknown flag '--accumulate'; did you mean '--accumulation-steps'? "),
        (["info", "please", "-x"], "lvm-fast info: error: unexpected 'please' '-x'"),
        ([], "lvm-fast: error: "),
    ],
)
def test_unknown_words_get_a_suggestion_and_exit_code_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError, FileNotFoundError, ImportError])
def test_what_commands_raise_becomes_one_line(monkeypatch, capsys, error):
    def fail(args):
        raise error("one\n  two")

    monkeypatch.setattr("lvm_fast.cli.info.run", fail)
    assert cli.main(["info"]) == 2
    assert capsys.readouterr().err == "lvm-fast: error: one two\n"


def test_an_interrupt_is_exit_code_130(monkeypatch, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("lvm_fast.cli.info.run", interrupt)
    assert cli.main(["info"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_info_prints_versions_level_threads_devices_and_models(capsys):
    assert cli.main(["info"]) == 0
    shown = capsys.readouterr().out
    for name, value in describe_installation().items():
        assert name in shown
        assert value in shown
    assert lf.kernels.simd_level() in describe_installation()["simd"]
    assert "cpu" in describe_installation()["devices"]
    assert "memory_gru, lstm, " in describe_installation()["models"]


def test_training_commands_prepare_their_process_before_torch_is_there(tmp_path):
    script = """
import os, sys
from lvm_fast._util.process import prepare_for_training
prepare_for_training()
assert "torch" not in sys.modules
print(os.environ["OMP_WAIT_POLICY"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "PASSIVE"


TOY_COMMAND = """
HELP = "count to a number"


def add_arguments(parser):
    parser.add_argument("number", type=int)


def run(args):
    if args.number < 1:
        raise ValueError(f"count: number = {args.number}; expected at least 1")
    print(*range(1, args.number + 1))
    return 0
"""


def test_a_new_command_is_one_file_and_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "toy_count.py").write_text(TOY_COMMAND)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.COMMANDS.places, "count", "toy_count")
    assert cli.main(["count", "3"]) == 0
    assert capsys.readouterr().out == "1 2 3\n"
    assert cli.main(["count", "0"]) == 2
    assert capsys.readouterr().err == "lvm-fast: error: count: number = 0; expected at least 1\n"
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "count to a number" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["cuont", "3"])
    assert "unknown command 'cuont'; did you mean 'count'" in capsys.readouterr().err
