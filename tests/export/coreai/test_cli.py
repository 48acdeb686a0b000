"""`lvm-fast export --format coreai` and `lvm-fast verify m.aimodel`."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvm_fast.cli import main
from lvm_fast.models.base import LatentVectorModel

pytest.importorskip("coreai_torch")


@pytest.fixture
def saved(small: LatentVectorModel, tmp_path: Path) -> Path:
    small.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_goes_out_and_is_proven(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asset = saved / "m.aimodel"
    words = ["export", str(saved), "--format", "coreai", "--output", str(asset), "--contexts", "3", "--flexible", "9"]
    assert main(words) == 0
    assert "m.aimodel: predict_3, predict, step; float16" in capsys.readouterr().out
    assert main(["verify", str(asset)]) == 0
    assert capsys.readouterr().out.count("equal") == 3
    (asset / "more").write_text("")
    assert main(["verify", str(asset)]) == 1
    assert "CHANGED: it holds more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--output", "m.mlpackage"], "export_coreai: path is 'm.mlpackage'; expected a name ending in .aimodel"),
        (["--output", "m.aimodel", "--target", "ios17"], "--target is used with --format coreml only"),
        (["--output", "m.aimodel", "--contexts", "3", "--precision", "half"], "precision"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(saved), "--format", "coreai", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_device_runs_packages_only(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "m.aimodel", "--device"]) == 2
    assert "--device runs Core ML packages only" in capsys.readouterr().err
