"""`lvm-fast evaluate`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.cli import main

from .conftest import drifting_store

FILES = ["report.json", "report.md", "report.png"]


def evaluated(folder: Path, *arguments: str | Path) -> dict:
    assert main(["evaluate", *map(str, arguments), "--output-dir", str(folder), "--bootstrap", "50"]) == 0
    written = sorted(path.name for path in folder.iterdir())
    assert [name.replace(written[0].removesuffix(".json"), "report") for name in written] == FILES
    return json.loads((folder / written[0]).read_text())


def test_a_run_is_scored_on_its_own_validation_chains(trained_run, tmp_path, capsys):
    report = evaluated(tmp_path, trained_run)
    history = json.loads((trained_run / "training_history.json").read_text())
    assert 100 * report["hits"]["hit@5"] == pytest.approx(history["best_hit5"])
    assert report["pool"] == history["pool"]
    assert report["data"]["split"]["seed"] == 5
    assert (report["context_length"], report["stride"]) == (6, 2)
    assert report["curve"][-1]["pool"] == 600  # with the training part's chunks
    printed = capsys.readouterr().out
    document = (tmp_path / "report.md").read_text()
    assert f"Data: {trained_run.parent / 'chains.safetensors'}.\n" in document
    assert "".join(printed.split()).startswith("".join(document.splitlines()[2].strip("*").split()))  # the verdict
    assert re.search(rf"Pool of {report['pool']}; .*\n\n\|.*Hit@1 \|.*Hit@5 \|", printed)
    assert all(len(line) <= 100 for line in printed.split("Written")[0].splitlines())
    assert str(tmp_path / "report.png") in printed


def test_a_checkpoint_in_a_run_is_the_run(trained_run, tmp_path):
    by_folder = evaluated(tmp_path / "folder", trained_run)
    by_file = evaluated(tmp_path / "file", trained_run / "best_val_hit5.pt")
    assert by_folder == by_file


def test_the_report_lies_beside_the_model_unless_told_otherwise(trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "run")
    assert main(["evaluate", str(tmp_path / "run"), "--bootstrap", "50"]) == 0
    assert all((tmp_path / "run" / name).exists() for name in FILES)


def test_options_win_over_the_run(trained_run, tmp_path):
    report = evaluated(
        *(tmp_path, trained_run, "--context-length", "9", "--stride", "3", "--val-fraction", "0.5", "--seed", "6"),
        "--allow-leaks",
    )
    assert (report["context_length"], report["stride"], report["seed"]) == (9, 3, 6)
    assert report["chains"] == 10


@pytest.mark.parametrize(("pool", "size"), [("store", 600), ("333", 333), ("7", 7)])
def test_pools(trained_run, tmp_path, pool, size):
    assert evaluated(tmp_path, trained_run, "--pool", pool)["pool"] == size


def test_another_pool_leaves_the_report_of_the_targets_alone(trained_run, tmp_path):
    evaluated(tmp_path, trained_run)
    before = (tmp_path / "report.json").read_bytes()
    assert main(["evaluate", str(trained_run), "--output-dir", str(tmp_path), "--bootstrap", "5", "--pool", "50"]) == 0
    assert (tmp_path / "report.json").read_bytes() == before
    assert json.loads((tmp_path / "report-pool-50.json").read_text())["pool"] == 50
    assert "(report-pool-50.png)" in (tmp_path / "report-pool-50.md").read_text()


def test_larger_pools_name_the_training_part(trained_run, tmp_path):
    report = evaluated(tmp_path, trained_run, "--pool", "store")
    assert report["pool_words"] == "every chunk of the store and of the training part"


def test_all_chains(trained_run, tmp_path):
    report = evaluated(tmp_path, trained_run, "--split", "all", "--allow-leaks")
    assert report["chains"] == 20
    assert "only if the model never saw them" in (tmp_path / "report-all.md").read_text()


def test_all_chains_of_a_file_to_prepare_first(trained_run, tmp_path, capsys):
    (tmp_path / "rows.npy").touch()
    assert main(["evaluate", str(trained_run), "--split", "all", "--data", str(tmp_path / "rows.npy")]) == 2
    assert "rows.npy' is no chain store; make one of it with `lvm-fast prepare`" in capsys.readouterr().err


def test_a_saved_model_needs_data(trained_run, tmp_path, capsys):
    saved = tmp_path / "saved"
    lf.load_model(trained_run).save_pretrained(saved)
    assert main(["evaluate", str(saved)]) == 2
    assert "--data" in capsys.readouterr().err
    report = evaluated(tmp_path / "report", saved, "--data", trained_run.parent / "chains.safetensors")
    assert (report["context_length"], report["data"]["split"]["seed"]) == (100, 42)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere.safetensors"], "no chain store at 'nowhere.safetensors'"),
        (["--pool", "100000"], "pool = 100,000"),
        (["--context-length", "0"], "error: --context-length = 0; expected int, at least 1"),
        (["--stride", "0"], "error: --stride = 0; expected int or nothing, at least 1"),
        (["--val-fraction", "1"], "error: --val-fraction = 1.0; expected float, above 0 and below 1"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(trained_run, tmp_path, capsys, arguments, message):
    assert main(["evaluate", str(trained_run), "--output-dir", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lvm-fast: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_pool_that_is_none_is_a_usage_error(trained_run, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", str(trained_run), "--pool", "banana"])
    assert "argument --pool: 'banana'; expected targets, store or a number" in capsys.readouterr().err


def test_data_of_another_dimension_is_one_line(trained_run, tmp_path, capsys):
    vectors = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    lf.ChainStore.write(tmp_path / "flat.safetensors", vectors, [0, 10, 20, 30, 40])
    assert main(["evaluate", str(trained_run), "--data", str(tmp_path / "flat.safetensors")]) == 2
    assert "the store has 3 dimensions; expected 12" in capsys.readouterr().err


def test_an_output_folder_that_is_a_file_is_one_line(trained_run, tmp_path, capsys):
    (tmp_path / "taken").write_text("precious")
    assert main(["evaluate", str(trained_run), "--output-dir", str(tmp_path / "taken"), "--bootstrap", "5"]) == 2
    assert "taken" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "precious"


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"epochs": 3'])
def test_a_damaged_history_is_named(trained_run, tmp_path, capsys, damage):
    shutil.copytree(trained_run, tmp_path / "run")
    (tmp_path / "run" / "training_history.json").write_text(damage)
    assert main(["evaluate", str(tmp_path / "run")]) == 2
    assert "training_history.json is no training history" in capsys.readouterr().err
    assert not (tmp_path / "run" / "report.json").exists()


def run_copy(trained_run, place):
    shutil.copytree(trained_run, place / "run")
    return place / "run"


def reports(folder):
    return sorted(path.stem for path in folder.glob("*.json") if path.stem not in ("training_history",))


def evaluate_into(run, *words):
    assert main(["evaluate", str(run), "--bootstrap", "5", *map(str, words)]) == 0


def test_what_training_has_seen_is_refused_and_with_leave_told_everywhere(trained_run, tmp_path, capsys):
    run = run_copy(trained_run, tmp_path)
    assert main(["evaluate", str(run), "--seed", "7"]) == 2
    error = capsys.readouterr().err
    said = (
        r"its training \(data '.*chains.safetensors', seed 5, val_fraction 0.3\) saw \d+\.\d% of the chunks to predict"
    )
    assert re.search(rf"^lvm-fast: error: evaluate: {said}; expected chains that its training held out, or", error)
    assert error.count("\n") == 1
    assert reports(run) == []
    evaluate_into(run, "--seed", "7", "--allow-leaks")
    assert re.search(rf"^lvm-fast: warning: evaluate: {said}$", capsys.readouterr().err, re.MULTILINE)
    assert reports(run) == ["report-seed-7"]
    note = json.loads((run / "report-seed-7.json").read_text())["notes"][0]
    assert re.fullmatch(f"I{said[1:]}\\.", note)
    assert f"- **{note}**\n" in (run / "report-seed-7.md").read_text()


def test_an_honest_report_has_no_word_of_leaks(trained_run, tmp_path):
    run = run_copy(trained_run, tmp_path)
    evaluate_into(run)
    assert not any("saw" in note for note in json.loads((run / "report.json").read_text())["notes"])


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--data", "other.safetensors"], "report-other"),
        (["--data", "other.safetensors", "--split", "all"], "report-other-all"),
        (["--split", "all"], "report-all"),
        (["--pool", "50"], "report-pool-50"),
        (["--include-read"], "report-with-read"),
        (["--pool", "50", "--include-read"], "report-pool-50-with-read"),
        (["--context-length", "4", "--stride", "3"], "report-context-4-stride-3"),
        (["--seed", "7", "--val-fraction", "0.2", "--pool", "store"], "report-val-0.2-seed-7-pool-store"),
    ],
)
def test_a_run_s_own_report_is_replaced_by_no_other_question(trained_run, tmp_path, monkeypatch, words, name):
    monkeypatch.chdir(tmp_path)
    drifting_store([30] * 12, seed=9).save("other.safetensors")
    run = run_copy(trained_run, tmp_path)
    evaluate_into(run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    evaluate_into(run, *words, "--allow-leaks")
    assert {file: (run / file).read_bytes() for file in before} == before
    assert reports(run) == ["report", name]
    evaluate_into(run, *words, "--allow-leaks")  # the same question again
    assert reports(run) == ["report", name]


def test_data_of_one_name_and_another_content_gets_a_report_of_its_own(trained_run, tmp_path):
    run = run_copy(trained_run, tmp_path)
    digests = []
    for folder, seed in (("a", 9), ("b", 10), ("a", 9)):
        (tmp_path / folder).mkdir(exist_ok=True)
        store = drifting_store([30] * 12, seed=seed)
        store.save(tmp_path / folder / "other.safetensors")
        digests.append(store.fingerprint())
        evaluate_into(run, "--data", tmp_path / folder / "other.safetensors")
    assert reports(run) == ["report-other", f"report-other-run-{digests[1][:8]}"]
    assert json.loads((run / "report-other.json").read_text())["data"]["digest"] == digests[0]


def test_another_checkpoint_of_a_run_gets_a_report_of_its_own(trained_run, tmp_path):
    run = run_copy(trained_run, tmp_path)
    shutil.copy(run / "best_val_hit5.pt", run / "early.pt")
    evaluate_into(run / "early.pt")
    evaluate_into(run)
    assert reports(run) == ["report", "report-early"]


def test_reports_of_several_runs_in_one_folder_do_not_replace_each_other(trained_run, tmp_path):
    for name in ("a", "b", "a"):
        if not (tmp_path / name).exists():
            shutil.copytree(trained_run, tmp_path / name)
        evaluate_into(tmp_path / name, "--output-dir", tmp_path / "out")
    assert reports(tmp_path / "out") == ["report", "report-b"]
    models = [
        json.loads((tmp_path / "out" / f"{name}.json").read_text())["data"]["model"] for name in ("report", "report-b")
    ]
    assert models == [str(tmp_path / "a"), str(tmp_path / "b")]


def test_a_saved_model_s_reports_do_not_replace_each_other(trained_run, tmp_path):
    lf.load_model(trained_run).save_pretrained(tmp_path / "saved")
    drifting_store([30] * 12, seed=9).save(tmp_path / "other.safetensors")
    for data in (trained_run.parent / "chains.safetensors", tmp_path / "other.safetensors"):
        evaluate_into(tmp_path / "saved", "--data", data)
    assert reports(tmp_path / "saved") == ["config", "report", "report-other"]


def test_the_score_is_printed_before_it_is_saved(trained_run, tmp_path, monkeypatch, capsys):
    def refuse(path, text):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("lvm_fast.evaluation.write_files.atomic_write_text", refuse)
    for command, said in (("evaluate", "Hit@5"), ("compare", "(the best without training), run ")):
        monkeypatch.chdir(tmp_path)
        assert main([command, str(trained_run), "--bootstrap", "5"]) == 2
        printed = capsys.readouterr()
        assert said in printed.out
        assert "Permission denied" in printed.err
        assert "Written" not in printed.out


def test_a_run_is_scored_from_every_folder(trained_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(trained_run.parent)
    recipe = lf.Recipe.from_yaml(trained_run / "recipe.yaml", data="chains.safetensors")
    recipe.output_dir, recipe.epochs = str(tmp_path / "relative"), 1
    lf.train(recipe)
    monkeypatch.chdir(tmp_path)
    evaluate_into("relative")
    assert main(["evaluate", "relative", "--seed", "7"]) == 2
    assert "saw" in capsys.readouterr().err


def test_few_questions_are_warned_of_and_noted(trained_run, tmp_path, capsys):
    run = run_copy(trained_run, tmp_path)
    evaluate_into(run, "--pool", "4")
    error, report = capsys.readouterr().err, json.loads((run / "report-pool-4.json").read_text())
    notes = [
        f"Only {report['queries']} questions: a single answer moves a Hit@K by {100 / report['queries']:.0f} points.",
        "In a pool of 4 every prediction reaches Hit@5 and Hit@10: that says nothing.",
        f"Only {report['chains']} chains: read the intervals as rough, they tend to be too narrow.",
    ]
    assert report["notes"] == notes[:2]
    document = (run / "report-pool-4.md").read_text()
    for note in notes:
        assert f"lvm-fast: warning: evaluate: {note}\n" in error
        assert f"- **{note}**\n" in document


def test_without_a_stride_few_chains_are_asked_more(trained_run, tmp_path):
    lf.load_model(trained_run).save_pretrained(tmp_path / "saved")
    words = ["--data", str(trained_run.parent / "chains.safetensors"), "--context-length", "20", "--allow-leaks"]
    report = evaluated(tmp_path / "report", tmp_path / "saved", *words)
    assert report["stride"] == 2  # half the context would ask 6
    assert report["queries"] > 20


def test_a_page_to_look_at_is_written_where_it_is_asked_for(trained_run, tmp_path, capsys):
    assert evaluated(tmp_path / "plain", trained_run)["queries"] > 0
    page = tmp_path / "page.html"
    words = ["evaluate", str(trained_run), "--output-dir", str(tmp_path / "out"), "--bootstrap", "50"]
    assert main([*words, "--html", str(page)]) == 0
    assert capsys.readouterr().out.rstrip().endswith(f", {page}")
    assert page.read_text().count("<svg") == 3  # one of them the training's
    assert '"questions":[{' in page.read_text()
    assert main([*words, "--html", str(tmp_path / "nowhere" / "page.html")]) == 2
    assert "nowhere" in capsys.readouterr().err
    data = trained_run.parent / "chains.safetensors"
    before = data.read_bytes()
    assert main([*words, "--html", str(data)]) == 2
    assert "is an input too" in capsys.readouterr().err
    assert data.read_bytes() == before
