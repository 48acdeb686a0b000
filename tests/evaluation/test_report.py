from __future__ import annotations

import json
import re
import sys

import pytest

from lvm_fast.evaluation.evaluate import evaluate
from lvm_fast.evaluation.plot import _spread
from lvm_fast.evaluation.report import CurvePoint, Report
from lvm_fast.evaluation.words import headline, verdict


def make_report(difference=0.05, half=0.02, chains=20, **changes) -> Report:
    """A report whose model is `difference` better than copy-last, with intervals of +- half."""
    copied = {"hit@1": 0.1, "hit@5": 0.3, "hit@10": 0.4, "mrr": 0.2, "mean_cosine": 0.4, "direction_margin": -0.6}
    model = {metric: value + difference for metric, value in copied.items()}

    def around(values):
        return {m: None if chains < 2 else (v - half, v + half) for m, v in values.items()}

    apart = around(dict.fromkeys(copied, difference))
    points = [
        CurvePoint(pool, {"model": h, "copy_last": h / 2, "chance": 5 / pool}, around({"model": h, "copy_last": h / 2}))
        for pool, h in ((10, 0.9), (230, 0.56), (1149, model["hit@5"]), (5000, 0.1))
    ]
    fields = {
        "model_type": "memory_gru",
        "data": {"split": {"part": "val", "seed": 7, "fraction": 0.1}, "near_duplicates_dropped": 52},
        "context_length": 100,
        "median_context": 90,
        "stride": 50,
        "pool": 1149,
        "pool_words": "the targets of the queries themselves",
        "pool_holds_current": 0.0,
        "queries": 1149,
        "chains": chains,
        "hits": {metric: model[metric] for metric in ("hit@1", "hit@5", "hit@10")},
        "mrr": model["mrr"],
        "mean_cosine": model["mean_cosine"],
        "direction_margin": model["direction_margin"],
        "baselines": {"copy_last": copied, "chance": {"hit@1": 0.001, "hit@5": 0.004, "hit@10": 0.009, "mrr": 0.007}},
        "intervals": {"model": around(model), "copy_last": around(copied), "model - copy_last": apart},
        "curve": points,
        "bootstrap": 1000,
        "seed": 42,
    }
    return Report(**{**fields, **changes})


HISTORY = [{"epoch": i, "hit5": 10.0 * i, "train_loss": 2.0 / i, "pool": 1149} for i in (1, 2, 3)]


@pytest.mark.parametrize(
    ("difference", "half", "says", "detail"),
    [
        (0.05, 0.02, "The model beats copy-last.", "ahead by 5.0 points [3.0, 7.0]."),
        (-0.05, 0.02, "The model loses to copy-last.", "behind by 5.0 points [3.0, 7.0]."),
        (0.01, 0.02, "The model cannot be told apart", "ahead by 1.0 points [-1.0, 3.0], not distinguishable."),
        (-0.01, 0.02, "The model cannot be told apart", "behind by 1.0 points [-1.0, 3.0], not distinguishable."),
        (0.0, 0.0, "The model cannot be told apart", "level with it [0.0, 0.0]."),
    ],
)
def test_the_verdict_is_plain(difference, half, says, detail):
    report = make_report(difference, half)
    assert headline(report).startswith(says)
    assert verdict(report).endswith(detail)
    figure = 100 * report.hits["hit@5"]
    assert f"Hit@5 {figure:.1f}% [{figure - 100 * half:.1f}, {figure + 100 * half:.1f}] in a pool of 1,149" in verdict(
        report
    )


def test_the_headline_leads_with_the_defeats():
    report = make_report(0.05)
    copied = report.baselines["copy_last"]
    report.baselines.update(recency_mean=copied, untrained=copied)
    report.intervals["model - recency_mean"] = {"hit@5": (-0.2, -0.1)}
    report.intervals["model - untrained"] = {"hit@5": (-0.1, 0.1)}
    expected = "The model loses to recency mean, cannot be told apart from untrained and beats copy-last."
    assert headline(report) == expected


def test_the_document_leads_with_the_verdict():
    lines = make_report(-0.05).to_markdown().splitlines()
    assert lines[0].startswith("# ")
    assert lines[2].startswith("**The model loses to copy-last.")


def test_hits_never_appear_without_their_pool():
    """Every section with a hit figure names the pool, the table of the curve in its first column."""
    sections = re.split(r"^#+ .*$", make_report().to_markdown(), flags=re.MULTILINE)
    with_figures = [text for text in sections if re.search(r"\d\.\d(%| \[)", text)]
    assert len(with_figures) == 5
    for text in with_figures:
        assert "1,149" in text
        assert "pool" in text.lower()


def test_one_chain_is_no_proof():
    text = make_report(chains=1).to_markdown()
    assert "On a single chain, which proves nothing, the model beats copy-last." in text
    assert "No intervals" in text
    assert not re.search(r"\d \[", text)


def test_few_chains_are_rough():
    assert "Only 6 chains" in make_report(chains=6).to_markdown()
    assert "Only" not in make_report(chains=10).to_markdown()


def test_production_targets_name_their_pool():
    text = make_report().to_markdown()
    assert (
        "Hit@5 of at least 55%: **not met** with 35.0% in a pool of 1,149. It is met in pools of up to about 230."
        in text
    )
    met = make_report(0.4)
    assert met.production_targets["hit@5"] == {"target": 0.55, "reached": 0.7, "met": True, "pool": 1149}
    assert met.production_targets["hit@10"]["met"]
    assert "Hit@10 of at least 70%: **met** with 80.0% in a pool of 1,149." in met.to_markdown()


def test_a_pool_that_chance_masters_means_nothing():
    small = make_report(
        0.4,
        pool=6,
        baselines={**make_report().baselines, "chance": dict.fromkeys(["hit@1", "hit@5", "hit@10", "mrr"], 0.9)},
    )
    assert small.to_markdown().count("too small to mean anything") == 2


def test_direction_is_put_in_words():
    assert "looks back more than ahead" in make_report().to_markdown()
    assert "closer to the next chunk than to the current" in make_report(0.9).to_markdown()


def test_it_says_where_the_chains_come_from():
    split = "the val part of a split by chain (10%, seed 7; 52 near-duplicates of the other part dropped)"
    assert split in make_report().to_markdown()
    assert "only if the model never saw them" in make_report(data={"split": "odd"}).to_markdown()


def test_a_pool_with_the_current_chunk_says_so():
    assert "copy-last cannot get Hit@1" in make_report(pool_holds_current=1.0).to_markdown()
    for share in (0.0, None):
        assert "cannot get Hit@1" not in make_report(pool_holds_current=share).to_markdown()


def test_json_keeps_everything(store, momentum, tmp_path):
    report = evaluate(momentum, store, context_length=10, bootstrap=50)
    report.save(tmp_path)
    read = json.loads((tmp_path / "report.json").read_text())
    assert read == report.to_dict()
    assert read["hits"] == report.hits
    assert read["baselines"] == report.baselines
    assert tuple(read["intervals"]["model - copy_last"]["hit@5"]) == report.intervals["model - copy_last"]["hit@5"]
    assert [point["pool"] for point in read["curve"]] == [point.pool for point in report.curve]


CURVE = make_report().curve


@pytest.mark.parametrize("history", [None, [], HISTORY, HISTORY[:1]])
@pytest.mark.parametrize("changes", [{}, {"curve": []}, {"curve": CURVE[:1]}, {"hits": {"hit@1": 0.1}}])
def test_every_shape_of_report_gets_its_files(tmp_path, history, changes):
    folder = tmp_path / "new" / "folder"
    drawn = bool(history) or len(changes.get("curve", CURVE)) > 1
    expected = ["report.json", "report.md"] + ["report.png"] * drawn
    assert [path.name for path in make_report(**changes).save(folder, history)] == expected
    assert sorted(path.name for path in folder.iterdir()) == expected
    assert ("(report.png)" in (folder / "report.md").read_text()) == drawn
    if drawn:
        assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_report_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    written = make_report().save(tmp_path)
    assert [path.name for path in written] == ["report.json", "report.md"]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["report.json", "report.md"]
    text = (tmp_path / "report.md").read_text()
    assert "pip install 'lvm_fast[plot]'" in text
    assert "report.png" not in text


def test_labels_are_pushed_apart_in_their_order():
    assert _spread([5.0, 1.0, 1.5, 30.0], gap=2.0) == [5.0, 1.0, 3.0, 30.0]
    assert _spread([2.0, 1.0, 1.5], gap=2.0) == [5.0, 1.0, 3.0]
