"""Whole small runs: what they learn, what they leave, how they stop, and how they go on."""

from __future__ import annotations

import copy
import errno
import json
import logging
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from lvm_fast.cli import main
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.windows import Windows
from lvm_fast.evaluation.evaluate import evaluate
from lvm_fast.evaluation.yardstick import CLOSED_FORMS
from lvm_fast.models.pretrained import load_model
from lvm_fast.models.saving import recipe_digest
from lvm_fast.training.fit import train
from lvm_fast.training.learner import Learner
from lvm_fast.training.load_data import load_data
from lvm_fast.training.recipe import Recipe

TIMES = ("seconds", "vectors_per_second")
NEGATIVES = {  # all that is kept from step to step, and from epoch to epoch
    "infonce_batch": "effective",
    "alpha_infonce": 1.0,
    "infonce_queue": 50,
    "infonce_candidates": 20,
    "enable_soft_negatives": True,
    "soft_negative_cosine_range": [-0.5, 0.9],
    "negatives": "prediction",
    "negatives_refresh": 3,
    "negatives_limit": 3,
}


def without_times(history):
    return [{key: value for key, value in row.items() if key not in TIMES} for row in history]


def stop_at(monkeypatch, number, error):
    """Make the `number`-th optimiser step raise instead."""
    real, calls = Learner.step, []

    def step(self, *given):
        calls.append(None)
        if len(calls) == number:
            raise error
        return real(self, *given)

    monkeypatch.setattr(Learner, "step", step)


def test_a_run_learns_the_law_of_its_world(recipe):
    result = train(recipe(epochs=12, lr=1e-2, accumulation_steps=1, patience=12, pool="store"))
    last = result.history[-1]
    assert last["hit1"] > result.untrained["hit1"] + 50
    assert last["hit1"] > result.baselines["whitened_recency"]["hit1"] + 50
    assert result.history[-1]["train_loss"] < 0.7 * result.history[0]["train_loss"]


def test_a_run_leaves_its_files_and_its_words(recipe, capsys):
    result = train(recipe())
    folder = result.output_dir
    assert sorted(path.name for path in folder.iterdir()) == [
        "best_val_hit5.pt",
        "last.pt",
        "metrics.jsonl",
        "recipe.yaml",
        "train.log",
        "training_history.json",
    ]
    log = (folder / "train.log").read_text()
    assert capsys.readouterr().out == log
    number = r"\d+\.\d\d"
    epoch = rf"^epoch 2/3 loss=\d\.\d{{4}} Hit@1={number} Hit@5={number} Hit@10={number} pool=\d+ "
    assert re.search(epoch + rf"\w+_Hit@5={number} lr=\S+ vectors/s=\d+$", log, re.MULTILINE)
    for name in (*CLOSED_FORMS, "untrained"):
        assert re.search(
            rf"^{name} Hit@1={number} Hit@5={number} Hit@10={number} pool={result.pool}$", log, re.MULTILINE
        )
    last = log.splitlines()[-1]
    best = f"best_hit5={result.best_hit5:.2f} pool={result.pool} epoch={result.best_epoch}"
    assert last == f"TRAINING COMPLETE {best} steps={result.steps}"

    history = json.loads((folder / "training_history.json").read_text())
    assert history["epochs"] == result.history
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert history["best_hit5"] == result.best_hit5 == max(row["hit5"] for row in result.history)
    assert history["best_epoch"] == result.best_epoch
    assert history["pool"] == result.pool == result.history[0]["pool"]
    assert history["baselines"] == result.baselines
    assert history["untrained"] == result.untrained

    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "step"] == list(range(1, result.steps + 1))
    assert [row["hit5"] for row in rows if row["kind"] == "epoch"] == [row["hit5"] for row in result.history]
    assert Recipe.from_yaml(folder / "recipe.yaml").to_dict() == yaml.safe_load((folder / "recipe.yaml").read_text())


def test_the_checkpoint_is_the_best_epoch_and_the_result_holds_it(recipe):
    result = train(recipe(epochs=4))
    checkpoint = torch.load(result.checkpoint, weights_only=True)
    assert sorted(checkpoint) == [
        *("args", "baselines", "config", "epoch", "model_state_dict", "model_type", "val_results"),
    ]
    assert checkpoint["epoch"] == result.best_epoch
    assert checkpoint["baselines"] == result.model.metrics["baselines"] == result.baselines
    assert result.model.recipe_digest == recipe_digest(checkpoint["args"])
    best = result.history[result.best_epoch - 1]
    assert checkpoint["val_results"] == {key: best[key] for key in ("hit1", "hit5", "hit10", "pool", "train_loss")}
    assert checkpoint["args"]["batch_size"] == 8
    assert checkpoint["config"] == result.model.config
    assert result.model.metrics["hit5"] == result.best_hit5
    assert not result.model.training
    for name, tensor in load_model(result.output_dir).state_dict().items():
        assert torch.equal(tensor, result.model.state_dict()[name])
    report = evaluate(result.model, result.validation, context_length=8, bootstrap=10, curve=False)
    assert 100 * report.hits["hit@5"] == pytest.approx(result.best_hit5)
    assert report.pool == result.pool
    assert 100 * report.baselines["recency_mean"]["hit@5"] == pytest.approx(result.baselines["recency_mean"]["hit5"])


def test_the_same_seed_gives_the_same_run_and_another_seed_another(recipe, tmp_path):
    first, second, third = (
        train(recipe(output_dir=str(tmp_path / name), seed=seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert without_times(first.history) == without_times(second.history)
    assert without_times(first.history) != without_times(third.history)


@pytest.mark.parametrize("negatives", [{}, NEGATIVES], ids=["plain", "negatives"])
def test_a_continued_run_equals_an_uninterrupted_one_bit_for_bit(recipe, tmp_path, monkeypatch, negatives):
    settings = {
        **negatives,
        "epochs": 4,
        "patience": 9,
        "model": {"hidden_dim": 12, "num_layers": 2, "memory_slots": 8, "dropout": 0.3},
    }
    whole = train(recipe(**settings, output_dir=str(tmp_path / "whole")))
    steps_an_epoch = whole.steps // 4
    with monkeypatch.context() as patch:
        stop_at(patch, 2 * steps_an_epoch + 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train(recipe(**settings))
    log = (tmp_path / "run" / "train.log").read_text()
    assert "INTERRUPTED in epoch 3; to go on after epoch 2, resume" in log
    torch.rand(100)  # other random numbers were drawn meanwhile
    again = train(recipe(**settings, resume=True))

    assert without_times(again.history) == without_times(whole.history)
    states = [torch.load(folder / "last.pt", weights_only=True) for folder in (whole.output_dir, again.output_dir)]
    assert_equal_states(*(state["model_state_dict"] for state in states))
    assert_equal_states(*(state["random_state"] for state in states))
    for first, second in zip(*(state["optimizer_state_dict"]["state"].values() for state in states), strict=True):
        assert_equal_states(first, second)
    assert flat(states[0]["negatives_state"]) == flat(states[1]["negatives_state"])
    assert bool(flat(states[0]["negatives_state"])) == bool(negatives)
    rows = [json.loads(line) for line in (again.output_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "step"] == list(range(1, whole.steps + 1))
    assert "resumed after epoch 2" in (again.output_dir / "train.log").read_text()


def flat(state):
    """Plain numbers, by name."""
    parts = {name: value for source in state.values() for name, value in source.items()}
    return {name: value.tolist() if isinstance(value, torch.Tensor) else value for name, value in parts.items()}


def assert_equal_states(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_that_never_finished_an_epoch_starts_over(recipe, tmp_path, monkeypatch):
    whole = train(recipe(epochs=1, output_dir=str(tmp_path / "whole")))
    with monkeypatch.context() as patch:
        stop_at(patch, 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train(recipe(epochs=1))
    again = train(recipe(epochs=1, resume=True))
    assert without_times(again.history) == without_times(whole.history)


def test_a_run_may_go_on_with_recomputed_layers_to_the_same_result(recipe, tmp_path):
    model = {"hidden_dim": 12, "num_layers": 2, "memory_slots": 8, "dropout": 0.2}
    train(recipe(model=model, epochs=1))
    again = train(recipe(model=model, epochs=2, resume=True, recompute=True))
    whole = train(recipe(model=model, epochs=2, output_dir=str(tmp_path / "whole")))
    assert without_times(again.history)[0] == without_times(whole.history)[0]
    assert again.history[1]["train_loss"] == pytest.approx(whole.history[1]["train_loss"], rel=1e-3)


def test_a_finished_run_resumes_to_its_own_result(recipe):
    first = train(recipe(epochs=2))
    again = train(recipe(epochs=2, resume=True))
    assert again.history == first.history
    assert (again.best_hit5, again.steps) == (first.best_hit5, first.steps)


def test_it_stops_when_patience_runs_out(recipe):
    result = train(recipe(epochs=9, patience=2, min_improvement=1.0))  # no gain is large enough after the first epoch
    assert result.best_epoch == 1
    assert len(result.history) == 3
    assert torch.load(result.checkpoint, weights_only=True)["epoch"] == 1  # not overwritten by later epochs


def test_every_epoch_takes_all_windows_once_in_an_order_of_its_own(recipe, monkeypatch):
    real, groups = Learner.step, []

    def spy(self, windows, group, lr):
        groups.append(group)
        return real(self, windows, group, lr)

    monkeypatch.setattr(Learner, "step", spy)
    train(recipe(epochs=2))
    first, second = np.split(np.concatenate(groups), 2)
    np.testing.assert_array_equal(np.sort(first), np.arange(len(first)))
    np.testing.assert_array_equal(np.sort(second), np.arange(len(first)))
    assert not np.array_equal(first, second)
    assert [len(group) for group in groups[:2]] == [16, 16]


def test_resume_with_other_settings_is_refused_and_changes_nothing(recipe):
    first = train(recipe(epochs=1))
    before = {path.name: path.read_bytes() for path in first.output_dir.iterdir()}
    with pytest.raises(ValueError, match=r"last.pt: cannot resume with other settings: lr was 0.003, is 0.1"):
        train(recipe(epochs=1, resume=True, lr=0.1))
    assert {path.name: path.read_bytes() for path in first.output_dir.iterdir()} == before
    longer = train(recipe(epochs=2, resume=True))
    assert longer.history[0] == first.history[0]
    assert len(longer.history) == 2


def test_the_command_resumes_a_run_by_its_folder_alone(recipe, store, tmp_path, capsys):
    store.save(tmp_path / "store.safetensors")
    folder = train(recipe(epochs=1, data=tmp_path / "store.safetensors")).output_dir
    resume = ["train", "--output-dir", str(folder), "--resume"]
    assert main([*resume, "--epochs", "2"]) == 0
    assert len(json.loads((folder / "training_history.json").read_text())["epochs"]) == 2
    assert main([*resume, "--lr", "0.1"]) == 2
    assert "cannot resume with other settings: lr was 0.003, is 0.1" in capsys.readouterr().err


def test_folders_are_never_mixed_up(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("lvm_fast.training.fit.load_data", None)  # whatever is wrong is found before the data is
    (tmp_path / "run").mkdir()
    with pytest.raises(FileNotFoundError, match=r"run' holds no run to resume \(no recipe.yaml\)"):
        train(recipe(resume=True))
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"run' is not empty; choose another, or .* resume=True \(--resume\)"):
        train(recipe())
    with pytest.raises(ValueError, match="resume needs output_dir"):
        train(recipe(resume=True, output_dir=None))
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        train(recipe(output_dir=str(tmp_path / "file" / "run")))


def test_without_a_folder_each_run_gets_a_new_one(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = recipe(epochs=1, output_dir=None)
    folders = [str(train(asked).output_dir) for _ in range(2)]
    assert folders == ["runs/memory_gru-8", "runs/memory_gru-8-2"]
    assert asked.output_dir is None


def test_a_loss_that_is_not_finite_says_where_and_keeps_the_last_good_state(recipe, monkeypatch):
    settings = {"epochs": 3, "patience": 9}
    good = train(recipe(**settings))
    steps_an_epoch = good.steps // 3
    folder = good.output_dir.with_name("bad")
    stop_at(monkeypatch, steps_an_epoch + 2, ValueError("the loss is nan"))
    with pytest.raises(ValueError, match=rf"train: epoch 2, step {steps_an_epoch + 2} \(lr \S+\): the loss is nan"):
        train(recipe(**settings, output_dir=str(folder)))
    monkeypatch.undo()
    assert load_model(folder).metrics["hit5"] == good.history[0]["hit5"]
    again = train(recipe(**settings, output_dir=str(folder), resume=True))
    assert without_times(again.history) == without_times(good.history)


def test_a_model_that_diverged_in_the_last_step_says_where(recipe, monkeypatch):
    real = Learner.step

    def diverge(self, *given):
        step = real(self, *given)
        self.model.get_parameter("fusion.0.bias").data.fill_(torch.nan)
        return step

    monkeypatch.setattr(Learner, "step", diverge)
    with pytest.raises(ValueError, match=r"train: epoch 1, validation after step 1 \(lr \S+\): .* NaN or infinite"):
        train(recipe(batch_size=1000))


@pytest.mark.parametrize("own", [True, False])
def test_a_run_says_when_its_precision_is_not_the_one_asked_for(recipe, monkeypatch, own):
    monkeypatch.setattr("lvm_fast.training.learner.multiplies_bfloat16", lambda device: own)
    result = train(recipe(epochs=1, precision="bfloat16"))
    line = "precision: float32; this device has no bfloat16 products of its own"
    assert ((result.output_dir / "train.log").read_text().splitlines().count(line)) == (not own)
    assert "precision: bfloat16" in (result.output_dir / "recipe.yaml").read_text()


def test_the_bar_names_the_pool_of_its_hits(recipe, monkeypatch):
    said = []
    monkeypatch.setattr("lvm_fast.training.run_log.RunLog.advance", lambda self, figures: said.append(figures))
    result = train(recipe(epochs=1))
    hit5 = result.untrained["hit5"]
    assert re.fullmatch(rf"loss \d\.\d{{4}}, Hit@5 {hit5:.1f} \(pool {result.pool}\), \d+ vectors/s", said[0])
    assert len(said) == result.steps


def test_what_the_package_logs_meanwhile_is_in_the_log_of_the_run(recipe, monkeypatch, capsys):
    real, package = Learner.step, logging.getLogger("lvm_fast")

    def step(self, *given):
        logging.getLogger("lvm_fast.ops.gru_mps").info("GRU on %s: native", self.device)
        return real(self, *given)

    monkeypatch.setattr(Learner, "step", step)
    before = (package.level, list(package.handlers))
    result = train(recipe(epochs=1))
    assert (package.level, package.handlers) == before
    assert (result.output_dir / "train.log").read_text().splitlines().count("GRU on cpu: native") == result.steps


def test_a_full_disk_keeps_the_checkpoints_before_it(recipe, monkeypatch):
    first = train(recipe(epochs=1))
    before = (first.output_dir / "last.pt").read_bytes()
    whole = torch.save

    def full(state, file):
        if "random_state" in state:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(state, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"No space left.*last\.pt"):
        train(recipe(epochs=2, resume=True))
    assert (first.output_dir / "last.pt").read_bytes() == before
    assert not [path for path in first.output_dir.iterdir() if path.name.startswith(".")]


def test_a_disk_that_fills_up_within_a_checkpoint_is_one_line(recipe, store, tmp_path):
    """A real limit on the size of files, and a checkpoint far larger than torch's buffers."""
    resource = pytest.importorskip("resource")
    store.save(tmp_path / "store.safetensors")
    model = {"hidden_dim": 96, "num_layers": 2, "memory_slots": 512}
    first = train(recipe(epochs=1, data=tmp_path / "store.safetensors", model=model))
    before = {path.name: path.stat().st_mtime_ns for path in first.output_dir.glob("*.pt")}
    size = (first.output_dir / "last.pt").stat().st_size
    assert size > 1_000_000
    result = subprocess.run(
        [sys.executable, "-m", "lvm_fast", "train", "--output-dir", "run", "--resume", "--epochs", "2"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert re.fullmatch(r"lvm-fast: error: .*cannot save: File too large: 'run/\w+\.pt'\n", result.stderr)
    assert {path.name: path.stat().st_mtime_ns for path in first.output_dir.glob("*.pt")}.items() >= before.items()
    assert not list(first.output_dir.glob(".*"))
    assert load_model(first.output_dir).metrics["pool"] == first.pool


def test_a_damaged_state_is_named(recipe):
    first = train(recipe(epochs=1))
    torch.save({"args": recipe(epochs=1).to_dict()}, first.output_dir / "last.pt")
    with pytest.raises(ValueError, match=r"last\.pt: not the state of a training run"):
        train(recipe(epochs=1, resume=True))


@pytest.mark.parametrize("pool", ["store", 11])
def test_other_pools(recipe, pool):
    result = train(recipe(epochs=1, pool=pool))
    assert result.pool == (len(result.validation.vectors) if pool == "store" else 11)


def test_validation_may_be_given(recipe, store):
    picked = [int(store.offsets[4]), int(store.offsets[9])]
    held_out = ChainStore(store.vectors[picked[0] : picked[1]], store.offsets[4:10] - picked[0])
    with pytest.warns(UserWarning, match=r"^train: \d+ of \d+ validation windows share .* flatters every score$"):
        result = train(recipe(epochs=1, validation_data=held_out))
    assert result.validation is held_out


def test_training_windows_may_cross_chains_but_validation_never_does(recipe):
    within, across = load_data(recipe()), load_data(recipe(cross_chains=True))
    assert (across.training.store.chain_of(across.training.starts) != across.training.chains).any()
    assert (within.training.store.chain_of(within.training.starts) == within.training.chains).all()
    np.testing.assert_array_equal(across.validation.starts, within.validation.starts)


@pytest.mark.parametrize("form", ["path", "text"])
def test_a_store_on_disk(recipe, store, tmp_path, form):
    path = tmp_path / "store.safetensors"
    store.save(path)
    assert train(recipe(epochs=1, data=path if form == "path" else str(path))).steps > 0


def bad_store(value):
    vectors = np.ones((40, 16), np.float32)
    vectors[17, 3 if np.isnan(value) else slice(None)] = value
    return ChainStore(vectors, [0, 20, 40])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data": "absent.safetensors"}, FileNotFoundError, "absent.safetensors"),
        (
            {"data": "rows.npy"},
            ValueError,
            "'rows.npy' is no chain store; make one of it with `lvm-fast prepare`",
        ),
        ({"data": 3}, ValueError, "data is a int; expected a ChainStore, its path, or 'sample'"),
        ({"data": bad_store(np.nan)}, ValueError, "ChainStore.check: vectors: row 17"),
        ({"data": bad_store(0.0)}, ValueError, "ChainStore.check: vectors: row 17"),
        ({"model_type": "memory_gur"}, ValueError, "did you mean 'memory_gru'"),
        ({"model": {"hidden": 3}}, ValueError, "unknown memory_gru argument 'hidden'; did you mean 'hidden_dim'"),
        ({"model": {"d_model": 3}}, ValueError, "the model is to read 3 dimensions; the data has 16"),
        ({"device": "tpu"}, ValueError, "device = 'tpu'"),
        ({"min_length": 500}, ValueError, "no window"),
        ({"pool": 100_000}, ValueError, "pool = 100,000; expected 1 to"),
        ({"validation_data": ChainStore(np.ones((9, 5), np.float32), [0, 9])}, ValueError, "5 dimensions; expected 16"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(recipe, tmp_path, changes, error, message):
    with pytest.raises(error, match=re.escape(message)):
        train(recipe(**changes))
    assert not (tmp_path / "run").exists()


def test_a_start_that_fails_leaves_no_folder(recipe, tmp_path, monkeypatch):
    def refuse(self, model):
        raise ValueError("no score")

    monkeypatch.setattr("lvm_fast.training.fit.Validation.score", refuse)
    with pytest.raises(ValueError, match="no score"):
        train(recipe(output_dir=str(tmp_path / "new" / "run")))
    assert not (tmp_path / "new").exists()


def test_the_log_counts_whole_chains(recipe):
    data = load_data(recipe())
    pieces = copy.copy(data.validation.store)
    pieces.origins = ["a"] * len(pieces)
    whole, cut = data.words(), data._replace(validation=Windows(pieces, 8)).words()
    assert f"; validation {len(data.validation)} windows of {len(pieces)} chains" in whole
    assert re.search(r"; validation \d+ windows of 1 chains", cut)


def test_a_recipe_changed_afterwards_is_checked_again(recipe):
    asked = recipe()
    asked.epochs = -1
    with pytest.raises(ValueError, match="epochs = -1"):
        train(asked)


def test_the_caller_keeps_its_recipe_and_store(recipe, store):
    before, vectors = copy.deepcopy(recipe().to_dict()), store.vectors[:].copy()
    asked = recipe()
    train(asked)
    assert asked.to_dict() == before
    np.testing.assert_array_equal(store.vectors[:], vectors)


def test_tensorboard_events_where_it_is_installed(recipe):
    pytest.importorskip("tensorboard")
    folder = train(recipe(epochs=1, tensorboard=True)).output_dir / "tensorboard"
    assert list(folder.glob("events.out.tfevents.*"))
