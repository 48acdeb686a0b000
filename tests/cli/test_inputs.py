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


@pytest.mark.parametrize("kind", ["json", "md", "png"])
@pytest.mark.parametrize(
    ("command", "name"),
    [("evaluate", "report"), ("compare", "comparison")],
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
    assert main(words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"lvm-fast: error: {command}: {name} = '{report}' is an input too")
    assert data.read_bytes() == before


@pytest.mark.parametrize("name", ["report", "report-pool-20"])
def test_a_report_of_another_pool_has_a_name_of_its_own(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    rows = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    data = tmp_path / f"{name}.json"
    lf.ChainStore.write(data, rows, [0, 20, 40, 60])
    words = [
        "evaluate",
        str(model),
        "--data",
        str(data),
        "--output-dir",
        str(tmp_path),
        "--split",
        "all",
        "--pool",
        "20",
    ]
    assert main(words) == (2 if name == "report-pool-20" else 0)
    assert lf.ChainStore.open(data).ids == ["chain_0", "chain_1", "chain_2"]


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
