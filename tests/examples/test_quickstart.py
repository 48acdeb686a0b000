"""The notebook runs from top to bottom, and shows what it promises."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


def test_the_notebook_is_kept_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in cells] == [[]] * len(cells)
    for cell in cells:
        compile(cell.source, "cell", "exec")


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("coremltools")
    notebook = nbformat.read(shutil.copy(NOTEBOOK, tmp_path), as_version=4)
    nbclient.NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    tables = [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert [re.search(r"<strong>(.*?)</strong>", table)[1].split(":")[0].split(",")[0] for table in tables][:2] == [
        "120 chains",
        "recency_residual",
    ]
    assert "<strong>The model " in tables[2]
    words = "".join(output.get("text", "") for output in outputs)
    assert "Three of " in words
    assert len(re.findall(r"^0\.\d{3}  \S.*\n       \d{4}_\w+, chunk \d+$", words, re.MULTILINE)) == 3
    assert "predict_32" in words
    assert "Look at the questions" in (tmp_path / "quickstart.html").read_text()
    assert (tmp_path / "quickstart.mlpackage").is_dir()
