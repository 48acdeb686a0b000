"""The whole way on one's own documents runs without a network, and its encoder can be told from noise."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "own_documents.py"
TOPICS = ["river water fish boat", "law court judge case", "bread oven flour salt", "star light orbit moon"]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("own_documents", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Twelve documents of forty sentences, each about a topic of its own."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(12):
        words = [*TOPICS[number % 4].split(), *(f"w{i}" for i in rng.integers(0, 400, 30))]
        sentences = [" ".join(rng.choice(words, 14)).capitalize() + "." for _ in range(40)]
        (folder / f"{number}.txt").write_text(" ".join(sentences))
    return folder


def test_the_whole_way(script: ModuleType, documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("coremltools")
    words = [str(documents), "--output-dir", str(tmp_path / "mine"), "--encoder", "hash", "--epochs", "1"]
    assert script.main([*words, "--context-length", "8"]) == 0
    said = capsys.readouterr().out
    assert "12 documents, " in said
    assert "The model " in said
    assert " goes on: '" in said
    assert said.count("predicted, ") == 3
    run = tmp_path / "mine" / "run"
    last = said[said.index("Three of ") :]
    assert last.count("  read  ") == 3
    assert "Look at the questions" in (run / "report.html").read_text()
    assert (run / "model.mlpackage").is_dir()
    assert json.loads((run / "report.json").read_text())["data"]["encoder"] == "hash"
    assert not (tmp_path / "mine" / "chunks.safetensors.partial").exists()


def test_what_cannot_work_is_said_before_anything_is_written(
    script: ModuleType, documents: Path, tmp_path: Path
) -> None:
    words = ["--encoder", "hash", "--output-dir", str(tmp_path / "mine")]
    with pytest.raises(SystemExit, match="1 document; expected at least 2"):
        script.main([str(documents / "0.txt"), *words])
    assert not (tmp_path / "mine").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "old.txt").write_text("kept")
    with pytest.raises(SystemExit, match="mine is not empty; expected a new folder"):
        script.main([str(documents), *words])
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["old.txt"]


def test_the_encoder_knows_words(script: ModuleType) -> None:
    rows = script.HashEncoder().encode(["the river and the boat", "a boat on the river", "laws of the court", "..."])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    assert cosines[0, 1] > cosines[0, 2] + 0.2
    assert np.isfinite(rows).all()
