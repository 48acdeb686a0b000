"""Results show themselves in one short line, and as a table in a notebook."""

from __future__ import annotations

import re

import numpy as np
import torch
from made_reports import make_report

import lvm_fast as lf
from lvm_fast.evaluation.compare import compare
from lvm_fast.evaluation.evaluate_router import evaluate_router

from .conftest import DIM


def test_a_report():
    report = make_report(model_type="<gru>")
    assert repr(report) == ("Report(<gru>: Hit@5 35.0%, copy_last 30.0%; pool 1,149, 1,149 queries of 20 chains)")
    shown = report._repr_html_()
    assert "<strong>The model beats copy-last (the best without training).</strong>" in shown
    assert "<tr><td>model</td><td>15.0</td><td>35.0 [33.0, 37.0]</td><td>45.0</td><td>25.0</td></tr>" in shown
    assert re.search(r"<tr><td>chance</td><td>0\.1</td><td>0\.4</td>", shown)


def test_a_comparison_and_a_routers_report(store):
    torch.manual_seed(0)
    one, other = (lf.create_model("gru", input_dim=DIM, hidden_dim=width, num_layers=1).eval() for width in (4, 6))
    comparison = compare({"one": one, "<b>other": other}, store, 8, timed=1, bootstrap=50)
    hits = [100 * entry.figures.scores["hit@5"] for entry in comparison.entries]
    pool = comparison.report.pool
    assert repr(comparison) == f"Comparison(Hit@5: one {hits[0]:.1f}%, <b>other {hits[1]:.1f}%; pool {pool})"
    shown = comparison._repr_html_()
    assert "<td>&lt;b&gt;other</td>" in shown
    assert "<td>copy-last</td>" in shown
    assert "2 models, compared with one" in shown
    report = evaluate_router(lf.Router({4: one, 8: other}), store, bootstrap=50, timed=1)
    assert repr(report).startswith("RouterReport(router: Hit@5 ")
    assert len(repr(report)) < 150


def test_a_training_and_a_stream(tmp_path):
    sizes = {"hidden_dim": 4, "num_layers": 1, "memory_slots": 2}
    store = lf.ChainStore(np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32), np.arange(0, 201, 20))
    recipe = lf.Recipe(data=store, context_length=6, epochs=1, device="cpu", model=sizes, output_dir=tmp_path / "run")
    result = lf.train(recipe)
    assert repr(result) == (
        f"TrainResult(memory_gru: Hit@5 {result.best_hit5:.1f}% in epoch {result.best_epoch} of 1, pool {result.pool}; "
        f"{result.checkpoint})"
    )
    shown = result._repr_html_()
    assert f"<td>epoch 1</td><td>{result.history[0]['hit1']:.1f}</td>" in shown
    assert f"<td>copy_last</td><td>{result.baselines['copy_last']['hit1']:.1f}</td>" in shown
    stream = result.model.stream(weights="int8")
    stream.push(store.vectors[0])
    stream.push(store.vectors[1])
    assert repr(stream) == "Stream(memory_gru: 1 x 8, int8 weights, 2 vectors read)"
    stream.reset()
    assert repr(stream).endswith("0 vectors read)")
