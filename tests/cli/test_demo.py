"""The demo's walk on a tiny model: every artefact is there and can be used."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.cli import main
from lvm_fast.cli.demo import recipe, reference, walk


def test_the_walk_leaves_a_checkpoint_a_report_and_a_package(tmp_path, capsys):
    pytest.importorskip("coremltools")
    pytest.importorskip("matplotlib")
    folder = tmp_path / "demo"
    tiny = replace(
        recipe(folder, epochs=1, device="cpu"),
        model={"hidden_dim": 8, "key_dim": 4},
        context_length=10,
        stride=60,
        val_stride=40,
        tensorboard=False,
    )
    beside = replace(
        reference(tiny), model={"hidden_dim": 8, "num_layers": 1, "memory_slots": 4}, stride=300, tensorboard=False
    )
    told, verification = walk(tiny, (10,), beside)
    assert verification.passed

    shown = capsys.readouterr().out
    assert "TRAINING COMPLETE" in shown
    assert "optimiser steps" in shown
    said = shown.split("TRAINING COMPLETE")[-1].splitlines()[1:]
    assert all(len(line) <= 100 for line in said if str(folder) not in line)
    history = json.loads((folder / "training_history.json").read_text())
    report = json.loads((folder / "report.json").read_text())
    assert told.to_dict() == report
    assert history["epochs"][0]["step"] > 5
    assert {"copy_last", "whitened_recency", "chance", "memory_gru"} <= report["baselines"].keys()
    assert report["pool"] == history["pool"]
    assert report["hits"]["hit@5"] == pytest.approx(history["best_hit5"] / 100, abs=1e-9)
    assert report["hits"]["hit@5"] > report["baselines"]["copy_last"]["hit@5"]
    assert f"pool of {report['pool']}" in (folder / "report.md").read_text()
    assert "Data: the bundled sample (120 State of the Union addresses" in (folder / "report.md").read_text()
    page = (folder / "report.html").read_text()
    assert "Look at the questions" in page
    assert re.search(r'"chunks":\[\[0,\d+,"\w', page)  # the texts of the sample
    assert re.search(r"Three of \d+ questions, of which the model finds \d+ among its first 5:", shown)
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")

    model = lf.load_model(folder / "best_val_hit5.pt")
    assert np.linalg.norm(model.predict(lf.sample().vectors[:10][None])) == pytest.approx(1, abs=1e-5)
    assert re.findall(r"^(\w+) +equal ", shown, re.MULTILINE) == ["predict_10", "step"]
    assert lf.verify_coreml(folder / "recency_residual.mlpackage", model).passed

    assert walk(replace(tiny, epochs=2, resume=True), (10,), replace(beside, epochs=2, resume=True))[1].passed
    assert len(json.loads((folder / "training_history.json").read_text())["epochs"]) == 2


def test_a_second_demo_in_the_same_folder_says_how_to_go_on(tmp_path, capsys):
    pytest.importorskip("coremltools")
    (tmp_path / "recipe.yaml").write_text("epochs: 2")
    assert main(["demo", "--output-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "is not empty; choose another, or continue the run in it with resume=True (--resume)" in error
