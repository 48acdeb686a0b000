from __future__ import annotations

import json
import re
import sys

import pytest
from made_reports import HISTORY, make_report

from lvm_fast.evaluation.evaluate import evaluate
from lvm_fast.evaluation.figures import CLOSED_FORMS, CurvePoint
from lvm_fast.evaluation.report_markdown import display_name, headline, summary, verdict
from lvm_fast.evaluation.report_plot import _label_ends
from lvm_fast.evaluation.spread_labels import spread


@pytest.mark.parametrize(
    ("difference", "half", "says", "detail"),
    [
        (0.05, 0.02, "The model beats copy-last (the best without training).", "ahead by 5.0 points [3.0, 7.0]."),
        (-0.05, 0.02, "The model loses to copy-last (the best without training).", "behind by 5.0 points [3.0, 7.0]."),
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
    report.baselines.update(older=copied, untrained=copied)
    report.intervals["model - older"] = {"hit@5": (-0.2, -0.1)}
    report.intervals["model - untrained"] = {"hit@5": (-0.1, 0.1)}
    best = "copy-last (the best without training)"
    assert headline(report) == f"The model loses to older, cannot be told apart from untrained and beats {best}."


@pytest.mark.parametrize(
    ("hits", "mrr", "best"),
    [
        ({"copy_last": 0.3, "recency_mean": 0.2, "whitened_recency": 0.4}, {}, "whitened_recency"),
        ({"copy_last": 0.3, "recency_mean": 0.35, "centred_recency": 0.34}, {}, "recency_mean"),
        ({"copy_last": 0.3, "centred_recency": 0.3}, {"copy_last": 0.2, "centred_recency": 0.25}, "centred_recency"),
        ({"copy_last": 0.3, "untrained": 0.9}, {}, "copy_last"),
    ],
)
def test_the_yardstick_is_the_best_closed_form_alone(hits, mrr, best):
    copied = make_report().baselines["copy_last"]
    baselines = {name: {**copied, "hit@5": hit, "mrr": mrr.get(name, 0.2)} for name, hit in hits.items()}
    apart = {f"model - {name}": dict.fromkeys(copied, (0.01, 0.02)) for name in hits}
    report = make_report(baselines=baselines, intervals={**make_report().intervals, **apart})
    assert report.yardstick == report.to_dict()["yardstick"] == best
    said = verdict(report)
    assert f"beats {display_name(best)} (the best without training)" in said
    weaker = [display_name(name) for name in hits if name in CLOSED_FORMS and name != best]
    assert not any(name in said for name in weaker)


def test_the_document_leads_with_the_verdict():
    lines = make_report(-0.05).to_markdown().splitlines()
    assert lines[0].startswith("# ")
    assert lines[2].startswith("**The model loses to copy-last")


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
    assert "On a single chain, which proves nothing, the model beats copy-last (the best without training)." in text
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
    assert "**not met** with 45.0% in a pool of 1,149. It is met in pools of up to about 230." in text
    met = make_report(0.4)
    assert met.production_targets["hit@5"] == {"target": 0.55, "reached": 0.7, "met": True, "pool": 1149}
    assert met.production_targets["hit@10"]["met"]
    text = met.to_markdown()
    assert (
        "Hit@10 of at least 70%: **met** with 80.0% in a pool of 1,149. It is met in pools of up to about 1,149."
        in text
    )
    low = make_report(curve=[CurvePoint(10, {"model": 0.2}, {}, {"hit@5": 0.2, "hit@10": 0.3})])
    assert low.to_markdown().count("It is met in no pool.") == 2


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
    split = "the validation part of a split by chain (10%, seed 7; 52 near-duplicates of the other part dropped)"
    assert split in make_report().to_markdown()
    assert "only if the model never saw them" in make_report(data={"split": "odd"}).to_markdown()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            {"name": "a.safetensors", "source": "120 addresses", "encoder": "mpnet"},
            "a.safetensors (120 addresses); encoder: mpnet",
        ),
        ({"name": None, "source": "120 addresses"}, "120 addresses"),
        ({"name": "a.safetensors"}, "a.safetensors"),
    ],
)
def test_it_says_what_was_scored(data, said):
    assert f"\n\nData: {said}.\n\n" in make_report(data=data).to_markdown()


def test_it_says_no_more_than_it_knows():
    assert "\n\nEncoder: mpnet.\n\n" in make_report(data={"encoder": "mpnet"}).to_markdown()
    assert "Data:" not in make_report(data={"name": None}).to_markdown()


def test_a_report_that_cannot_be_saved_leaves_no_folder(tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lvm_fast.evaluation.write_files.atomic_write_text", full)
    with pytest.raises(OSError, match="No space left"):
        make_report(curve=[]).save(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()


def test_the_summary_fits_a_terminal():
    report = make_report(model_type="a" * 90)
    lines = summary(report).splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert " ".join(lines[: lines.index("")]) == verdict(report)
    assert "Pool of 1,149; hits and MRR in percent, 95% intervals over chains." in lines
    assert [line.split("|")[1].strip() for line in lines[-5:]] == ["", "-" * 9, "model", "copy-last", "chance"]
    assert "35.0 [33.0, 37.0]" in lines[-3]


def test_a_pool_with_the_current_chunk_says_so():
    kept = make_report(pool_holds_current=1.0, exclude_read=False).to_markdown()
    assert "copy-last cannot get Hit@1" in kept
    for share in (0.0, None):
        assert "cannot get Hit@1" not in make_report(pool_holds_current=share, exclude_read=False).to_markdown()
    left_out = make_report(pool_holds_current=1.0).to_markdown()
    assert "cannot get Hit@1" not in left_out
    assert "What a question's chain has said before the target is left out of its candidates." in left_out


@pytest.mark.parametrize("exclude_read", [True, False])
def test_both_ways_are_told_and_the_first_named_the_headline(exclude_read):
    other = {name: {"hit@1": 0.123, "hit@5": 0.234, "hit@10": 0.345, "mrr": 0.2} for name in ("model", "copy_last")}
    report = make_report(exclude_read=exclude_read, other_way=other)
    title = "With read chunks among the candidates" if exclude_read else "With read chunks left out"
    for text in (report.to_markdown(), summary(report)):
        assert title in text
        assert re.search(r"\| copy-last +\| +12\.3 \| +23\.4 \| +34\.5 \| +20\.0 \|", text)
        assert all(len(line) <= 100 for line in summary(report).splitlines())
    said = "headline's figures leave out of" if exclude_read else "headline's figures count what"
    assert said in report.to_markdown()
    assert ("read chunks left out" in verdict(report)) == exclude_read
    assert report.to_dict()["other_way"] == other
    assert report.to_dict()["exclude_read"] is exclude_read


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


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        ([9.0, 3.0, 4.0, 30.0], [9.0, 2.5, 4.5, 30.0]),  # two move apart by as much, the others stay
        ([12.0, 11.0, 11.5], [13.5, 9.5, 11.5]),
        ([10.0, 12.0, 13.0, 15.0], [9.5, 11.5, 13.5, 15.5]),  # moving apart can push on a third
        ([0.2, 0.1], [2.0, 0.0]),  # never below the axes
        ([39.5, 40.0, 1.0], [38.0, 40.0, 1.0]),  # never above them
    ],
)
def test_labels_move_apart_evenly_in_their_order(wanted, places):
    assert spread(wanted, 2.0, 0.0, 40.0) == pytest.approx(places)


def test_the_names_of_close_lines_stand_beside_them():
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    axes.set_ylim(0, 100)
    ends = {"model": 98.0, "copy_last": 97.0, "recency_mean": 96.5, "chance": 0.1}
    _label_ends(axes, ends, dict.fromkeys(ends, "black"))
    names = {text.get_text(): text.xyann[1] for text in axes.texts}
    assert sorted(names, key=names.get) == ["chance", "recency mean", "copy-last", "model"]
    assert names["chance"] > 0
    assert {text.get_text(): text.xy for text in axes.texts}["recency mean"] == (1, 96.5)
    assert 85 < names["recency mean"] < names["model"] < 100
