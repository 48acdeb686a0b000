"""Training on the reference's sequence files: their windows as they are, with a count of what leaks."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import yaml
from literal_models import SMALL

from lvm_fast.cli import main
from lvm_fast.data.leakage import leakage
from lvm_fast.data.windows import GivenWindows
from lvm_fast.evaluation.evaluate import evaluate
from lvm_fast.training.fit import train
from lvm_fast.training.load_data import load_data
from lvm_fast.training.prepare_run import apply_sequence_file

LENGTH, STEP = 12, 6
WARNING = "validation windows share vectors with training windows"


@pytest.fixture
def sequences(store, tmp_path):
    """Windows over the whole array, across its chains, as the reference cuts them: 92 of them."""
    rows = store.vectors[:]
    starts = np.arange(0, len(rows) - LENGTH, STEP)
    contexts = np.stack([rows[at : at + LENGTH] for at in starts])
    np.savez(tmp_path / "w.npz", context_sequences=contexts, target_vectors=rows[starts + LENGTH])
    return tmp_path / "w.npz"


@pytest.fixture
def recipe(recipe):
    """The recipe of the others, without what windows that are given leave no choice of."""
    return lambda **changes: recipe(**{"context_length": LENGTH, "stride": None, **changes})


def quiet(call, *arguments):
    with pytest.warns(UserWarning, match=WARNING):
        return call(*arguments)


def test_windows_train_as_they_are(recipe, sequences):
    with np.load(sequences) as held:
        contexts, targets = held["context_sequences"], held["target_vectors"]
    data = quiet(load_data, recipe(data=sequences, min_coherence=-1.0))
    assert (len(data.training), len(data.validation)) == (69, 23)
    both = [windows.batch(np.arange(len(windows))) for windows in data[:2]]
    rows = np.concatenate([np.concatenate([batch.context, batch.target[:, None]], axis=1) for batch in both])
    expected = np.concatenate([contexts, targets[:, None]], axis=1)
    assert {row.tobytes() for row in rows} == {row.tobytes() for row in expected}
    assert len(rows) == len(expected)


def test_the_split_is_random_by_window_and_by_seed(recipe, sequences):
    seeds = [quiet(load_data, recipe(data=sequences, seed=seed)).validation.targets.tolist() for seed in (1, 1, 2)]
    assert seeds[0] == seeds[1] != seeds[2]


def test_leaking_windows_are_counted(recipe, sequences):
    with pytest.warns(UserWarning, match=WARNING) as caught:
        data = load_data(recipe(data=sequences))
    found = leakage(data.training, data.validation)
    assert 0 < found.leaking <= found.windows == 23
    (said,) = [str(warning.message) for warning in caught]
    assert said.startswith(f"train: {found}, which flatters every score; `lvm-fast prepare` makes chains of windows")


def test_a_run_takes_the_length_of_the_file_and_can_be_evaluated_and_resumed(recipe, sequences, tmp_path):
    result = quiet(train, recipe(data=sequences, epochs=1))
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["context_length"] == LENGTH
    assert isinstance(result.validation, GivenWindows)
    report = evaluate(result.model, result.validation, bootstrap=20)
    assert (report.queries, report.context_length, report.stride, report.chains) == (23, LENGTH, None, 1)
    assert 100 * report.hits["hit@5"] == pytest.approx(result.best_hit5)
    assert "a target every" not in report.to_markdown()
    again = quiet(train, recipe(data=sequences, epochs=2, resume=True))
    assert [row["epoch"] for row in again.history] == [1, 2]


def test_a_sequence_file_may_validate(recipe, store, sequences):
    data = quiet(load_data, recipe(validation_data=sequences))
    assert len(data.validation) == 92
    apart = quiet(load_data, recipe(data=sequences, validation_data=sequences, min_coherence=-1.0))
    assert leakage(*apart[:2]).share == 1
    other = quiet(load_data, recipe(data=sequences, validation_data=store))
    assert other.validation.stride == 2  # half the length would ask too little


def test_the_commands_train_and_evaluate(sequences, tmp_path, capsys):
    settings = ["--epochs", "1", "--model", "hidden_dim=8", "num_layers=1", "memory_slots=4", "--no-tensorboard"]
    settings += ["--accumulation-steps", "1", "--device", "cpu"]
    assert main(["train", "--data", str(sequences), "--output-dir", str(tmp_path / "run"), *settings]) == 0
    said = capsys.readouterr().err
    assert re.search(rf"^lvm-fast: warning: train: \d+ of 9 {WARNING} .*`lvm-fast prepare`", said, re.M)
    assert main(["evaluate", str(tmp_path / "run"), "--bootstrap", "20"]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    history = json.loads((tmp_path / "run" / "training_history.json").read_text())
    assert 100 * report["hits"]["hit@5"] == pytest.approx(history["best_hit5"])
    assert report["queries"] == 9
    every = ["--split", "all", "--output-dir", str(tmp_path / "all"), "--bootstrap", "20", "--pool", "store"]
    assert main(["evaluate", str(tmp_path / "run"), *every, "--allow-leaks"]) == 0
    report = json.loads((tmp_path / "all" / "report-all-pool-store.json").read_text())
    assert (report["queries"], report["pool"]) == (92, 559)
    capsys.readouterr()
    compare = ["compare", str(tmp_path / "run"), "--bootstrap", "20", "--output-dir", str(tmp_path / "compared")]
    assert main([*compare, "--allow-leaks"]) == 0
    leaking, seen = capsys.readouterr().err.splitlines()
    assert re.match(rf"lvm-fast: warning: compare: \d+ of 9 {WARNING}", leaking)
    assert re.match(r"lvm-fast: warning: compare: run: its training \(data .*\) saw \d+\.\d% of the chunks", seen)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "all_positions"}, "objective = 'all_positions' needs whole chains, .* `lvm-fast prepare`"),
        ({"infonce_batch": "bank"}, "infonce_batch = 'bank' needs whole chains"),
        ({"enable_hard_negatives": True}, "enable_hard_negatives needs whole chains"),
        ({"stride": 2}, "stride = 2 does nothing: '.*w.npz' holds windows; leave it out, or make a chain store of it"),
        ({"val_stride": 3}, "val_stride = 3 does nothing"),
        ({"min_length": 8}, "min_length = 8 does nothing"),
        ({"cross_chains": True}, "cross_chains = True does nothing"),
        (
            {"context_length": 13},
            "context_length = 13 does nothing: .* holds windows with 12 vectors of context",
        ),
        ({"val_fraction": 0.001}, "92 windows with val_fraction = 0.001 give 0 for validation"),
        ({"val_fraction": 0.999}, ".* give 92 for validation"),
    ],
)
def test_what_windows_cannot_do_is_said(recipe, sequences, tmp_path, changes, message):
    with pytest.raises(ValueError, match=f"^train: {message}"):
        train(recipe(data=sequences, **changes))
    assert not (tmp_path / "run").exists()


def test_what_does_something_to_the_other_half_may_be_given(recipe, store, sequences):
    apply_sequence_file(recipe(data=sequences, validation_data=store, val_stride=3, min_length=5))
    apply_sequence_file(recipe(data=store, validation_data=sequences, stride=3, min_length=5, context_length=9))
    with pytest.raises(ValueError, match=r"^train: val_stride = 3 does nothing: '.*w.npz' holds windows"):
        apply_sequence_file(recipe(data=store, validation_data=sequences, val_stride=3))


def test_a_context_length_that_nobody_gave_is_the_file_s(recipe, sequences, tmp_path):
    asked = recipe(data=sequences, context_length=100)
    apply_sequence_file(asked)
    assert asked.context_length == LENGTH
    log = quiet(train, recipe(data=sequences, context_length=100, epochs=1)).output_dir / "train.log"
    assert "data: training 67 windows of 12 vectors each of " in log.read_text()


def test_windows_beyond_the_positions_of_a_model_are_refused_by_the_header(recipe, sequences, tmp_path, monkeypatch):
    monkeypatch.setattr("lvm_fast.data.windows.read_sequences", None)
    asked = recipe(data=sequences, model_type="transformer", model={**SMALL["transformer"], "max_positions": 11})
    with pytest.raises(ValueError, match="a context of 12 vectors; expected at most 11, the model's positions"):
        train(asked)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("value", "said"), [(np.nan, "holds NaN or Inf"), (0.0, "is all zeros")])
@pytest.mark.parametrize("place", [3, LENGTH])
def test_a_row_that_is_none_is_named_by_file_and_window(recipe, sequences, place, value, said):
    with np.load(sequences) as held:
        arrays = dict(held)
    shape = {3: "context_sequences", LENGTH: "target_vectors"}[place]
    arrays[shape][(41, 3) if place == 3 else 41] = value
    np.savez(sequences, **arrays, target_indices=np.arange(92)[::-1])
    called = re.escape("context_sequences[41, 3]" if place == 3 else "target_vectors[41]")
    with pytest.raises(ValueError, match=rf"of_sequences: .*w\.npz: {called} {said}"):
        train(recipe(data=sequences))


def test_a_damaged_file_is_one_line(tmp_path, capsys):
    (tmp_path / "w.npz").write_bytes(b"PK")
    assert main(["train", "--data", str(tmp_path / "w.npz"), "--output-dir", str(tmp_path / "run")]) == 2
    assert "w.npz: not an .npz file" in capsys.readouterr().err


def test_what_overlaps_is_noted_in_the_report_of_a_run_and_refused_elsewhere(sequences, tmp_path, capsys):
    settings = ["--epochs", "1", "--model", "hidden_dim=8", "num_layers=1", "memory_slots=4", "--no-tensorboard"]
    run = str(tmp_path / "run")
    assert main(["train", "--data", str(sequences), "--output-dir", run, *settings, "--device", "cpu"]) == 0
    assert main(["evaluate", run, "--bootstrap", "5"]) == 0
    notes = json.loads((tmp_path / "run" / "report.json").read_text())["notes"]
    assert re.match(r"Its training \(data .*w.npz', seed 42, .*\) saw \d+\.\d% of the chunks to predict\.", notes[0])
    for words in (["--split", "all"], ["--seed", "7"]):
        assert main(["evaluate", run, *words]) == 2
        assert "expected chains that its training held out, or --allow-leaks" in capsys.readouterr().err
