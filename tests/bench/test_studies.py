"""The studies in bench/studies start from any folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STUDIES = Path(__file__).parents[2] / "bench" / "studies"


@pytest.mark.parametrize(
    "study",
    sorted(path.name for path in STUDIES.glob("*.py") if "def main" in path.read_text(encoding="utf-8")),
)
def test_a_study_shows_its_help_from_any_folder(study: str, tmp_path: Path) -> None:
    command = [sys.executable, str(STUDIES / study), "--help"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: {study} ")
    assert f"python bench/studies/{study} " in result.stdout
