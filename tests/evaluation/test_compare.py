"""Comparing models: one set of queries, one pool, differences in pairs; and the command, which looks for leaks."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml

import lvm_fast as lf
from lvm_fast.cli import main
from lvm_fast.evaluation.compare import Contender, compare
from lvm_fast.evaluation.compare_markdown import comparison_headline, comparison_summary
from lvm_fast.evaluation.report_markdown import spoken
from lvm_fast.models.memory_gru import MemoryGRU

from .conftest import DIM, drifting_store

SIZES = {"input_dim": DIM, "hidden_dim": 8, "num_layers": 1, "memory_slots": 4}


def untrained(seed: int, **changes: int):
    torch.manual_seed(seed)
    return lf.create_model("memory_gru", **{**SIZES, **changes}).eval()


class CopyLast(MemoryGRU):
    def forward(self, context, lengths=None):
        return torch.zeros(context.shape[0], context.shape[2])


@pytest.fixture
def contenders():
    models = [untrained(1), untrained(2), CopyLast(**SIZES)]
    return [Contender(name, model) for name, model in zip(("one", "model", "copied"), models, strict=True)]


def test_all_answer_the_same_queries_in_the_same_pool(contenders, store):
    found = compare(contenders, store, 10, stride=3, bootstrap=60, timed=2)
    first = lf.evaluate(contenders[0].model, store, 10, stride=3, bootstrap=60)
    for contender, entry in zip(contenders, found.entries, strict=True):
        alone = lf.evaluate(contender.model, store, 10, stride=3, bootstrap=60, rivals={"one": contenders[0].model})
        assert entry.name == contender.name
        assert entry.figures.scores == alone.scores["model"]
        assert entry.figures.intervals == alone.intervals["model"]
        if entry.name == "one":
            assert entry.figures.differences == entry.figures.difference_intervals == {}
            continue
        for metric, ends in entry.figures.difference_intervals.items():
            assert ends == pytest.approx(alone.intervals["model - one"][metric])
            difference = alone.scores["model"][metric] - first.scores["model"][metric]
            assert entry.figures.differences[metric] == pytest.approx(difference)
    assert found.against == "one"
    assert (found.report.pool, found.report.queries) == (first.pool, first.queries)
    assert found.baselines["copy_last"].scores == first.baselines["copy_last"]
    assert found.baselines["copy_last"].differences == pytest.approx(found.entries[2].figures.differences)
    assert found.baselines["chance"].differences == {}


def test_the_reference_can_be_chosen(contenders, store):
    given = compare(contenders, store, 10, against="copied", stride=3, bootstrap=60, timed=2)
    usual = compare(contenders, store, 10, stride=3, bootstrap=60, timed=2)
    assert [entry.name for entry in given.entries] == ["one", "model", "copied"]
    there, back = usual.entries[2].figures, given.entries[0].figures
    for metric, difference in there.differences.items():
        assert back.differences[metric] == pytest.approx(-difference)
        low, high = there.difference_intervals[metric]
        assert back.difference_intervals[metric] == pytest.approx((-high, -low))


def test_each_sees_no_more_than_it_was_trained_on(store):
    router = lf.Router({4: untrained(1), 8: untrained(2)})
    contenders = [Contender("short", untrained(1), 4), Contender("long", untrained(1), 30), Contender("router", router)]
    found = compare(contenders, store, stride=3, bootstrap=20, timed=2)
    assert found.report.context_length == 30
    assert [entry.context_length for entry in found.entries] == [4, 30, 8]
    windows = lf.Windows(store, 30, 3)
    cut = lf.Windows(store, 4, 3)
    alone = lf.evaluate(untrained(1), cut, bootstrap=20, curve=False)
    np.testing.assert_array_equal(cut.targets, windows.targets)
    assert found.entries[0].figures.scores == alone.scores["model"]


def test_costs_are_told(store):
    contenders = [
        Contender("quick", untrained(1), training_seconds=90, package_bytes=1_500_000),
        Contender("slow", untrained(2, hidden_dim=16), training_seconds=30_000, note="it slept"),
        Contender("other", untrained(3), training_seconds=600),
    ]
    found = compare(contenders, store, 10, bootstrap=20, timed=3)
    costs = comparison_summary(found).split("Times are")[1]
    assert re.search(r"quick \| memory_gru \| +[\d,]+ \| +10 \| +90 s \| +[\d.]+ ms \| +[\d.]+ ms \| +1.5 MB \|", costs)
    assert " 8.3 h |" in costs
    assert " 10 min |" in costs
    assert found.entries[1].parameters == sum(p.numel() for p in contenders[1].model.parameters())
    assert all(entry.latency.contexts == 3 and entry.latency.median_ms > 0 for entry in found.entries)
    assert "- **slow**: it slept." in found.to_markdown()


def test_the_documents_hold_everything(contenders, store, tmp_path):
    found = compare(contenders, store, 10, stride=3, bootstrap=60, timed=2, data_name="chains")
    written = found.save(tmp_path)
    assert [path.name for path in written] == ["comparison.json", "comparison.md", "comparison.png"]
    numbers = json.loads(written[0].read_text())
    assert (numbers["against"], numbers["pool"], numbers["data"]["name"]) == ("one", found.report.pool, "chains")
    assert [run["name"] for run in numbers["runs"]] == ["one", "model", "copied"]
    assert numbers["runs"][1]["figures"]["scores"]["hit@5"] == found.entries[1].figures.scores["hit@5"]
    assert numbers["runs"][1]["latency"]["median_ms"] > 0
    closed_forms = {"copy_last", "recency_mean", "centred_recency", "whitened_recency"}
    assert numbers["baselines"].keys() == {*closed_forms, "chance"}
    assert numbers["yardstick"] in closed_forms
    assert not any("contender" in text for text in (written[0].read_text(), written[1].read_text()))
    document = written[1].read_text()
    assert comparison_headline(found) in document
    assert "![Hit@5 of every run, and its distance from one](comparison.png)" in document
    assert document.count("| whitened recency |") == 3  # scores, differences, the other way
    assert f"## Minus {spoken(found.report.yardstick)}, the best without training" in document
    assert "-0.0 " not in document
    assert written[2].read_bytes().startswith(b"\x89PNG")


def test_the_headline_sorts_by_what_the_intervals_say(store):
    contenders = [Contender(name, CopyLast(**SIZES)) for name in ("first", "same", "again")]
    backwards = CopyLast(**SIZES)
    backwards.forward = lambda context, lengths=None: -3.0 * context[torch.arange(len(context)), lengths - 1]
    backwards.predict = contenders[0].model.predict
    found = compare([*contenders, Contender("back", backwards)], store, 10, stride=3, bootstrap=60, timed=2)
    said = comparison_headline(found)
    assert said == (
        "Against copy-last (the best without training), first, same and again cannot be told apart; back is worse. "
        "Against first, same and again cannot be told apart; back is worse."
    )


def test_one_chain_proves_nothing(contenders, one_chain):
    found = compare(contenders[:2], one_chain, 10, bootstrap=20, timed=2)
    assert "on a single chain, which proves nothing" in comparison_headline(found)
    assert found.entries[1].figures.difference_intervals["hit@5"] is None
    found.to_markdown()


def test_without_matplotlib_the_document_says_what_brings_it(contenders, store, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    written = compare(contenders[:1], store, 10, bootstrap=20, timed=1).save(tmp_path)
    assert [path.name for path in written] == ["comparison.json", "comparison.md"]
    assert "No picture: matplotlib is missing" in written[1].read_text()


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda c: [], {}, "contenders are called nothing; expected at least one"),
        (lambda c: [c[0], c[0]], {}, "contenders are called one, one; expected at least one, no name twice"),
        (lambda c: c, {"against": "on"}, "against: unknown contender 'on'; did you mean 'one'"),
        (lambda c: [c[0], Contender("wide", untrained(1, input_dim=8))], {}, "wide reads 8 dimensions; expected 12"),
    ],
)
def test_contenders_that_do_not_fit_are_refused(contenders, store, make, options, message):
    with pytest.raises(ValueError, match=f"^compare: {message}"):
        compare(make(contenders), store, 10, **options)


@pytest.fixture
def runs(trained_run, tmp_path):
    """Three runs of one split, the last with a package."""
    for name in ("a", "b", "c"):
        shutil.copytree(trained_run, tmp_path / "runs" / name)
    package = tmp_path / "runs" / "c" / "m.mlpackage" / "Data"
    package.mkdir(parents=True)
    (package / "weights.bin").write_bytes(b"x" * 2_500_000)
    return tmp_path / "runs"


def compared(place, *words) -> dict:
    assert main(["compare", *map(str, words), "--output-dir", str(place), "--bootstrap", "30"]) == 0
    assert sorted(path.name for path in place.iterdir()) == ["comparison.json", "comparison.md", "comparison.png"]
    return json.loads((place / "comparison.json").read_text())


def test_the_command_compares_whatever_holds_a_model(runs, tmp_path, capsys):
    model = lf.load_model(runs / "a")
    model.save_pretrained(tmp_path / "saved")
    lf.Router({3: model, 6: model}).save_pretrained(tmp_path / "router")
    places = [runs / "a", runs / "c" / "best_val_hit5.pt", tmp_path / "saved", tmp_path / "router"]
    numbers = compared(tmp_path / "out", *places)
    said = capsys.readouterr()
    history = json.loads((runs / "a" / "training_history.json").read_text())
    assert [run["name"] for run in numbers["runs"]] == ["a", "c", "saved", "router"]
    assert 100 * numbers["runs"][0]["figures"]["scores"]["hit@5"] == pytest.approx(history["best_hit5"])
    assert numbers["runs"][0]["training_seconds"] == pytest.approx(sum(row["seconds"] for row in history["epochs"]))
    assert [run["package_bytes"] for run in numbers["runs"]] == [None, 2_500_000, None, None]
    assert [run["context_length"] for run in numbers["runs"]] == [6, 6, 6, 6]
    assert numbers["pool"] == history["pool"]
    assert all(run["figures"]["scores"] == numbers["runs"][0]["figures"]["scores"] for run in numbers["runs"][1:3])
    for name in ("saved", "router"):
        note = f"compare: {name}: whether its training saw the chunks to predict is not known"
        assert f"lvm-fast: warning: {note}" in said.err
    assert [bool(run["note"]) for run in numbers["runs"]] == [False, False, True, True]
    assert said.out.startswith("Against ")
    assert "(the best without training), " in said.out
    assert "Against a, " in said.out


def test_runs_of_other_context_lengths_keep_theirs(runs, tmp_path):
    path = runs / "b" / "recipe.yaml"
    path.write_text(path.read_text().replace("context_length: 6", "context_length: 9"))
    numbers = compared(tmp_path / "out", *sorted(runs.iterdir()))
    assert [run["context_length"] for run in numbers["runs"]] == [6, 9, 6]
    assert (numbers["context_length"], numbers["stride"]) == (9, 2)
    numbers = compared(tmp_path / "given", *sorted(runs.iterdir()), "--context-length", "4")
    assert [run["context_length"] for run in numbers["runs"]] == [4, 4, 4]


def test_the_reference_may_be_another_run(runs, tmp_path):
    numbers = compared(tmp_path / "out", runs / "a", runs / "b", "--against", runs / "c", "--pool", "50")
    assert (numbers["against"], numbers["pool"]) == ("c", 50)
    assert [run["name"] for run in numbers["runs"]] == ["a", "b", "c"]


def test_like_names_are_told_apart_by_their_paths(runs, tmp_path):
    shutil.copytree(runs / "a", tmp_path / "more" / "a")
    numbers = compared(tmp_path / "out", "runs/a", "more/a", "runs/a/")
    assert [run["name"] for run in numbers["runs"]] == ["runs/a", "more/a"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """What is written beside nothing in particular goes with the test."""
    monkeypatch.chdir(tmp_path)


def change_recipe(run, **changes):
    path = run / "recipe.yaml"
    changes = {"data_digest": None, **changes} if "data" in changes else changes
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))


def refused(capsys, *words) -> str:
    assert main(["compare", *map(str, words)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("lvm-fast: error: ")
    return error


def test_a_run_of_another_split_has_seen_the_answers(runs, tmp_path, capsys):
    change_recipe(runs / "b", seed=6)
    error = refused(capsys, runs / "a", runs / "b")
    assert re.search(r"compare: b: its training \(data '.*', seed 6, val_fraction 0.3\) saw (\d+\.\d)% of the", error)
    assert "expected runs of one split by chain, or --allow-leaks" in error
    assert not (tmp_path / "comparison").exists()
    numbers = compared(tmp_path / "out", runs / "a", runs / "b", "--allow-leaks")
    assert "saw" in numbers["runs"][1]["note"]


def test_the_share_that_was_seen_is_counted(runs, trained_run, tmp_path):
    change_recipe(runs / "b", seed=6)
    numbers = compared(tmp_path / "out", runs / "a", runs / "b", "--allow-leaks")
    chains = lf.ChainStore.open(trained_run.parent / "chains.safetensors")
    held_out = lf.split_chains(chains, 0.3, 5)[1]
    trained = set(lf.split_chains(chains, 0.3, 6)[0].ids)
    asked = lf.Windows(held_out, 6, 2).chains
    share = np.mean([held_out.ids[chain] in trained for chain in asked])
    assert 0 < share < 1
    assert f"saw {share:.1%} of the chunks" in numbers["runs"][1]["note"]


def test_copies_of_the_data_are_seen_through(runs, trained_run, tmp_path, capsys):
    chains = lf.ChainStore.open(trained_run.parent / "chains.safetensors")
    chains.save(tmp_path / "copy.safetensors", dtype="int8")
    change_recipe(runs / "b", data=str(tmp_path / "copy.safetensors"))
    compared(tmp_path / "out", runs / "a", runs / "b")  # the same split of the same chains
    change_recipe(runs / "b", data=str(tmp_path / "copy.safetensors"), val_fraction=0.1)
    assert re.search(r"b: its training \(data '.*copy\.safetensors'.* saw \d", refused(capsys, runs / "a", runs / "b"))
    drifting_store([30] * 20, seed=99).save(tmp_path / "other.safetensors")
    change_recipe(runs / "b", data=str(tmp_path / "other.safetensors"))
    assert compared(tmp_path / "apart", runs / "a", runs / "b")["runs"][1]["note"] is None
    change_recipe(runs / "b", data=str(tmp_path / "gone.safetensors"))
    assert "not known" in compared(tmp_path / "gone", runs / "a", runs / "b")["runs"][1]["note"]


def test_flags_that_move_the_split_expose_every_run(runs, capsys):
    assert "compare: a: its training" in refused(capsys, runs / "a", runs / "b", "--seed", "6")
    assert "compare: a: its training" in refused(capsys, runs / "a", runs / "b", "--split", "all")


@pytest.fixture
def warm_runs(runs, tmp_path):
    """Three phases, each begun with the one before; only the first has another split than the rest."""
    recipe = lf.Recipe.from_yaml(runs / "a" / "recipe.yaml")
    starts = {"phase1": None, "phase2": tmp_path / "phase1", "phase3": tmp_path / "phase2" / "best_val_hit5.pt"}
    for name, start in starts.items():
        seed = 6 if start is None else 5
        lf.train(dataclasses.replace(recipe, epochs=1, seed=seed, warm_start=start, output_dir=str(tmp_path / name)))
    return tmp_path


@pytest.mark.parametrize("phase", ["phase2", "phase3"])
def test_a_warm_start_may_have_seen_the_answers(runs, warm_runs, capsys, phase):
    error = refused(capsys, runs / "a", warm_runs / phase)
    start = re.escape(repr(str(warm_runs / "phase1")))
    said = rf"{phase}: the training of its warm start {start} \(data '.*', seed 6, .*\) saw (\d+\.\d)% of the"
    assert re.search(said, error)
    assert "compare: phase1: its training" in refused(capsys, runs / "a", warm_runs / "phase1")
    note = compared(warm_runs / "out", runs / "a", warm_runs / phase, "--allow-leaks")["runs"][1]["note"]
    assert re.search(said, f"{phase}: {note}")


def test_a_warm_start_that_is_gone_is_not_known(runs, warm_runs, capsys):
    shutil.rmtree(warm_runs / "phase1")
    note = compared(warm_runs / "out", runs / "a", warm_runs / "phase3")["runs"][1]["note"]
    assert note.startswith(f"whether the training of its warm start {str(warm_runs / 'phase1')!r} saw the chunks")
    change_recipe(warm_runs / "phase2", warm_start=str(warm_runs / "phase3"))  # one that has replaced the first
    note = compared(warm_runs / "again", runs / "a", warm_runs / "phase3")["runs"][1]["note"]
    assert note.startswith(f"whether the training of its warm start {str(warm_runs / 'phase2' / 'best_val_hit5.pt')!r}")


def test_the_recipe_of_a_lone_checkpoint_is_in_it(runs, warm_runs, capsys):
    shutil.copy(warm_runs / "phase1" / "best_val_hit5.pt", warm_runs / "first.pt")
    change_recipe(warm_runs / "phase2", warm_start=str(warm_runs / "first.pt"))
    assert "seed 6" in refused(capsys, runs / "a", warm_runs / "phase2")


def test_evaluate_tells_what_a_warm_start_saw(warm_runs, capsys):
    for phase, count in {"phase1": 0, "phase2": 1, "phase3": 1}.items():
        words = ["evaluate", str(warm_runs / phase), "--bootstrap", "5"]
        assert main(words) == 0
        said = r"evaluate: the training of its warm start .* saw \d+\.\d% of the chunks to predict"
        assert len(re.findall(f"^lvm-fast: warning: {said}$", capsys.readouterr().err, re.MULTILINE)) == count
        notes = json.loads((warm_runs / phase / "report.json").read_text())["notes"]
        assert len([note for note in notes if note.startswith("The training of its warm start ")]) == count


def test_what_is_no_run_is_named(runs, tmp_path, capsys):
    (runs / "empty").mkdir()
    assert "empty is empty; expected a training run" in refused(capsys, *sorted(runs.iterdir()))
    (runs / "empty" / "recipe.yaml").write_text("data: sample\n")
    assert "has no best_val_hit5.pt: it has not finished an epoch" in refused(capsys, *sorted(runs.iterdir()))
    assert "nowhere" in refused(capsys, runs / "a", "nowhere")
    lf.create_model("memory_gru", **{**SIZES, "input_dim": 8}).save_pretrained(tmp_path / "wide")
    assert "wide reads 8 dimensions; expected 12" in refused(capsys, runs / "a", tmp_path / "wide")
    assert "wide is no training run, so --data has to say" in refused(capsys, tmp_path / "wide", runs / "a")
    assert not (tmp_path / "comparison").exists()


def test_a_model_without_a_recipe_sees_what_it_can_read(store):
    narrow = untrained(1)
    narrow.max_context = 5
    found = compare([Contender("narrow", narrow), Contender("wide", untrained(1), 12)], store, bootstrap=20, timed=2)
    assert [entry.context_length for entry in found.entries] == [5, 12]


def test_a_comparison_replaces_no_other_one(runs, tmp_path, capsys):
    words = ["compare", str(runs / "a"), "--bootstrap", "5"]
    for _ in range(2):
        assert main(words) == 0
    assert [(tmp_path / name / "comparison.json").exists() for name in ("comparison", "comparison-2")] == [True, True]
    assert main([*words, "--output-dir", "mine"]) == 0
    before = (tmp_path / "mine" / "comparison.json").read_bytes()
    assert "mine holds a comparison; choose another folder, or --overwrite" in refused(
        capsys, runs / "a", "--output-dir", "mine"
    )
    assert (tmp_path / "mine" / "comparison.json").read_bytes() == before
    assert main(["compare", str(runs / "b"), "--bootstrap", "5", "--output-dir", "mine", "--overwrite"]) == 0
    assert json.loads((tmp_path / "mine" / "comparison.json").read_text())["against"] == "b"


def test_what_was_seen_stands_in_the_picture(runs, tmp_path, monkeypatch):
    from lvm_fast.evaluation import compare_plot

    lines = []
    real = compare_plot.write_notes
    monkeypatch.setattr(compare_plot, "write_notes", lambda *a: lines.extend(a[2]) or real(*a))
    change_recipe(runs / "b", seed=6)
    compared(tmp_path / "out", runs / "a", runs / "b", "--allow-leaks")
    assert " ".join(lines).startswith("b: its training (data ")
    assert " of the chunks to predict. Only " in " ".join(lines)


def test_numpy_s_scalars_end_as_plain_json(store, tmp_path):
    contender = Contender("one", untrained(1), np.int64(4), np.float32(90), np.int64(1_500_000))
    found = compare(
        [contender], store, np.int64(10), np.int64(20), stride=np.int32(3), bootstrap=np.int64(5), timed=np.int8(1)
    )
    written = found.save(tmp_path)
    (run,) = json.loads(written[0].read_text())["runs"]
    assert (run["context_length"], run["training_seconds"], run["package_bytes"]) == (4, 90.0, 1_500_000)
    with pytest.raises(ValueError, match=r"^compare: one: expected a whole number of at least 1, got 2\.5"):
        compare([Contender("one", untrained(1), 2.5)], store, 10)
