"""Optional packages that are there and broken: what can do without them does, what cannot is one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

BROKEN = ("tensorboard", "matplotlib", "coremltools", "sentence_transformers")
TINY = ("--epochs", "1", "--context-length", "6", "--device", "cpu", "--model", "hidden_dim=6", "num_layers=1")


@pytest.fixture
def place(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    for name in BROKEN:
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "__init__.py").write_text("raise TypeError('built for\\n another numpy')")
    (tmp_path / "doc.txt").write_text("Some words.")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["info"], 0, ""),
        (
            ["train", "--data", "chains.safetensors", "--output-dir", "new", *TINY],
            0,
            "warning: no TensorBoard events: TypeError: built for another numpy",
        ),
        (
            ["evaluate", "run", "--bootstrap", "5"],
            0,
            "warning: no picture run/report.png: ImportError: matplotlib is inst",
        ),
        (
            ["compare", "run", "--bootstrap", "5"],
            0,
            "warning: no picture comparison/comparison.png: ImportError: matplotlib",
        ),
        (
            ["export", "run", "--output", "m.mlpackage"],
            2,
            "lvm-fast: error: Core ML export needs coremltools 9 (built for",
        ),
        (["demo"], 2, "lvm-fast: error: Core ML export needs coremltools 9 (built for another numpy)"),
        (
            ["encode", "doc.txt", "--output", "d.safetensors"],
            2,
            "lvm-fast: error: encoding text: sentence_transformers is installed, but does not work here: Type",
        ),
        (
            ["search", "--data", "sample", "--text", "words"],
            2,
            "lvm-fast: error: encoding text: sentence_transformers is",
        ),
        (
            ["predict", "run", "--text", "words", "--encoder", "x"],
            2,
            "lvm-fast: error: encoding text: sentence_transfor",
        ),
    ],
)
def test_broken_packages(place, words, code, said):
    done = subprocess.run(
        [sys.executable, "-m", "lvm_fast", *words],
        capture_output=True,
        text=True,
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(place / "broken")},
        timeout=600,
    )
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if code == 2:
        assert done.stderr.count("\n") == 1
