"""No command writes over what it reads, whatever that is called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.cli import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    lf.create_model("gru", input_dim=8, hidden_dim=6, num_layers=1).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("command", "name", "kind"),
    [
        *(("evaluate", "report", kind) for kind in ("md", "png")),
        *(("compare", "comparison", kind) for kind in ("json", "md", "png")),
    ],
)
@pytest.mark.parametrize("link", [False, True])
def test_a_report_is_not_written_over_the_data(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, name: str, kind: str, link: bool
) -> None:
    rows = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    report = tmp_path / f"{name}.{kind}"
    data = tmp_path / "mine.safetensors" if link else report
    lf.ChainStore.write(data, rows, [0, 20, 40, 60])
    if link:
        report.symlink_to(data)
    before = data.read_bytes()
    words = [command, str(model), "--data", str(data), "--output-dir", str(tmp_path), "--split", "all"]
    assert main(words + ["--overwrite"] * (command == "compare")) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"lvm-fast: error: {command}: {name} = '{report}' is an input too")
    assert data.read_bytes() == before


@pytest.mark.parametrize("pool", ["targets", "20"])
@pytest.mark.parametrize("link", [False, True])
def test_a_report_takes_another_name_where_its_numbers_would_replace_the_data(
    model: Path, tmp_path: Path, pool: str, link: bool
) -> None:
    rows = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    report = tmp_path / "report.json"
    data = tmp_path / "mine.safetensors" if link else report
    lf.ChainStore.write(data, rows, [0, 20, 40, 60])
    if link:
        report.symlink_to(data)
    before = data.read_bytes()
    words = ["evaluate", str(model), "--data", str(data), "--output-dir", str(tmp_path), "--split", "all"]
    assert main([*words, "--pool", pool]) == 0
    assert data.read_bytes() == before
    assert len(list(tmp_path.glob("report-*.md"))) == 1
    assert not (tmp_path / "report.md").exists()


def test_a_run_does_not_begin_in_a_folder_that_holds_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So it cannot write over its data, its recipe or its warm start."""
    rows = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    lf.ChainStore.write(tmp_path / "best_val_hit5.pt", rows, [0, 20, 40, 60])
    before = (tmp_path / "best_val_hit5.pt").read_bytes()
    words = ["train", "--data", str(tmp_path / "best_val_hit5.pt"), "--output-dir", str(tmp_path)]
    assert main(words) == 2
    assert "is not empty" in capsys.readouterr().err
    assert (tmp_path / "best_val_hit5.pt").read_bytes() == before
