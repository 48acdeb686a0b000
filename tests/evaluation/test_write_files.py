"""Findings on disk: numbers first, and whatever fails in drawing costs the picture alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_reports import HISTORY, make_report

from lvm_fast.evaluation import plot_style
from lvm_fast.evaluation.write_files import save_documents

PNG = b"\x89PNG"


def save(folder, draw, words=lambda picture: f"# Words\n\n{picture}\n"):
    return [path.name for path in save_documents(folder, "report", {"hits": 1}, words, draw)]


def test_numbers_and_words_are_there_before_the_picture_is_begun(tmp_path):
    def draw(path):
        assert json.loads((tmp_path / "report.json").read_text()) == {"hits": 1}
        assert "# Words" in (tmp_path / "report.md").read_text()
        path.write_bytes(PNG)
        return True

    assert save(tmp_path, draw) == ["report.json", "report.md", "report.png"]
    assert (tmp_path / "report.md").read_text() == "# Words\n\nreport.png\n"


@pytest.mark.parametrize(
    "error", [TypeError("no\n canvas"), OSError(28, "full"), RuntimeError("TeX"), ImportError("old")]
)
def test_a_failed_drawing_is_a_warning_and_no_old_picture_stays(tmp_path, error):
    (tmp_path / "report.png").write_bytes(PNG)

    def fail(path):
        raise error

    with pytest.warns(UserWarning, match=rf"^no picture .*report.png: {type(error).__name__}: "):
        assert save(tmp_path, fail) == ["report.json", "report.md"]
    assert "\nNo picture: " in (tmp_path / "report.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.md"]


def test_an_interrupt_while_drawing_leaves_numbers_and_words(tmp_path):
    def interrupt(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.md"]


def test_a_name_that_is_no_utf_8_is_written_with_escapes(tmp_path):
    save(tmp_path, lambda path: False, lambda picture: "data: a\udc80.safetensors\n")
    assert (tmp_path / "report.md").read_text() == "data: a\\udc80.safetensors\n"


@pytest.mark.parametrize("name", ["$x_$", r"\frac{1}{", "a_b^c & 50% #1", "{}", "東京", "a\nb", "$" * 40])
def test_names_are_text_never_tex(tmp_path, name):
    report = make_report(model_type=name, data={"name": name}, notes=[f"Its training ({name}) saw it."])
    assert [path.suffix for path in report.save(tmp_path, HISTORY)] == [".json", ".md", ".png"]
    assert (tmp_path / "report.png").read_bytes().startswith(PNG)


DRAW = "import sys; from made_reports import *; make_report().save(sys.argv[1], HISTORY)"


def test_a_picture_looks_the_same_whatever_matplotlib_is_told(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: True\nfont.family: serif\naxes.facecolor: red\nsavefig.facecolor: green\nsavefig.dpi: 10\n"
        "lines.linestyle: :\naxes.prop_cycle: cycler('color', ['r'])\nbackend: module://nonsense\n"
    )
    told = [{"MPLBACKEND": name} for name in ("module://matplotlib_inline.backend_inline", "garbage", "TkAgg")]
    pictures = set()
    for environment in ({}, {"MATPLOTLIBRC": str(tmp_path)}, *told):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", DRAW, str(tmp_path / "out")],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **environment},
            timeout=300,
        )
        assert (done.returncode, done.stderr) == (0, "")
        pictures.add((tmp_path / "out" / "report.png").read_bytes())
    assert len(pictures) == 1


def test_the_caller_s_settings_and_environment_are_put_back(tmp_path, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.setenv("MPLBACKEND", "svg")
    before = dict(matplotlib.rcParams)
    make_report().save(tmp_path, HISTORY)
    assert dict(matplotlib.rcParams) == before
    assert os.environ["MPLBACKEND"] == "svg"


def test_a_broken_matplotlib_is_a_warning(tmp_path, monkeypatch):
    package = tmp_path / "path" / "matplotlib"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise TypeError('numpy 2')")
    monkeypatch.syspath_prepend(package.parent)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.warns(UserWarning, match="matplotlib is installed, but does not work here: TypeError: numpy 2"):
        written = make_report().save(tmp_path / "out", HISTORY)
    assert [path.suffix for path in written] == [".json", ".md"]


def test_notes_stand_in_the_picture(tmp_path, monkeypatch):
    texts = []
    real = plot_style.write_notes
    monkeypatch.setattr("lvm_fast.evaluation.report_plot.write_notes", lambda *a: texts.extend(a[2]) or real(*a))
    make_report(notes=["Its training saw 96.0% of the chunks to predict."]).save(tmp_path, HISTORY)
    assert texts == ["Its training saw 96.0% of the chunks to predict."]
