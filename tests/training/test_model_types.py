"""Every model type through the whole way: train, evaluate, load, on the command line too."""

from __future__ import annotations

import numpy as np
import pytest
from literal_models import SMALL

import lvm_fast as lf
from lvm_fast.cli import main
from lvm_fast.evaluation.evaluate import evaluate
from lvm_fast.training.fit import train


@pytest.fixture(params=list(SMALL))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("objective", ["last_position", "all_positions"])
def test_it_learns_the_law_of_a_small_world(name, objective, recipe):
    asked = recipe(
        model_type=name, model=SMALL[name], objective=objective, epochs=3, patience=3, lr=2e-2, accumulation_steps=1
    )
    result = train(asked)
    assert result.model.model_type == name
    assert result.history[-1]["train_loss"] < 0.9 * result.history[0]["train_loss"]
    assert result.history[-1]["hit1"] > result.untrained["hit1"] + 20
    report = evaluate(result.model, result.validation, context_length=8, bootstrap=20, curve=False)
    assert report.model_type == name
    again = lf.load_model(result.output_dir)
    context = np.asarray(result.validation.vectors[:8], np.float32)[None]
    np.testing.assert_array_equal(again.predict(context), result.model.predict(context))


def test_it_trains_in_bfloat16_and_goes_on_after_a_stop(name, recipe):
    settings = {"model_type": name, "model": SMALL[name], "objective": "all_positions", "precision": "bfloat16"}
    train(recipe(**settings, epochs=1))
    resumed = train(recipe(**settings, epochs=2, resume=True))
    assert [row["epoch"] for row in resumed.history] == [1, 2]
    assert np.isfinite(resumed.history[-1]["train_loss"])


@pytest.fixture(scope="module")
def part_of_the_sample(tmp_path_factory) -> str:
    sample, path = lf.sample(), tmp_path_factory.mktemp("data") / "part.safetensors"
    offsets = np.asarray(sample.offsets[:13])
    lf.ChainStore(np.asarray(sample.vectors[: offsets[-1]], np.float32), offsets).save(path)
    return str(path)


def test_the_commands_train_and_evaluate_it_on_real_chains(name, part_of_the_sample, tmp_path, capsys):
    run = tmp_path / "run"
    sizes = [f"{key}={value}" for key, value in SMALL[name].items() if key != "input_dim"]
    quick = ["--context-length", "12", "--stride", "20", "--epochs", "1", "--device", "cpu", "--no-tensorboard"]
    words = ["--data", part_of_the_sample, "--model-type", name, "--model", *sizes, *quick, "--output-dir", str(run)]
    assert main(["train", *words]) == 0
    assert f"model: {name}, " in (run / "train.log").read_text()
    assert main(["evaluate", str(run), "--bootstrap", "20", "--device", "cpu"]) == 0
    assert name in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["last_position", "all_positions"])
def test_the_reference_sizes_train_on_the_bundled_sample(name, objective, recipe):
    settings = {"context_length": 20, "stride": 400, "val_stride": 100, "batch_size": 16, "epochs": 1}
    result = train(recipe(data="sample", model_type=name, model={}, objective=objective, **settings))
    assert np.isfinite(result.history[0]["train_loss"])
