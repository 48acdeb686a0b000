"""Beginning with the weights of an earlier training: what is taken over, and what is refused."""

from __future__ import annotations

import re
import shutil

import pytest
import torch

from lvm_fast.cli import main
from lvm_fast.models.pretrained import load_model
from lvm_fast.models.registry import create_model
from lvm_fast.training.trainer import train
from lvm_fast.training.warm_start import initial_model

SIZES = {"hidden_dim": 10, "num_layers": 1, "memory_slots": 4, "dropout": 0.3}


@pytest.fixture
def phase1(recipe, tmp_path):
    """A run of a small model at a short context."""
    return train(recipe(epochs=1, context_length=4, model=dict(SIZES), output_dir=str(tmp_path / "phase1")))


def equal_weights(first, second):
    return all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


@pytest.mark.parametrize("kind", ["run", "checkpoint", "folder"])
def test_weights_and_sizes_come_from_a_run_a_checkpoint_or_a_saved_model(recipe, phase1, tmp_path, kind):
    phase1.model.save_pretrained(tmp_path / "saved")
    places = {"run": phase1.output_dir, "checkpoint": phase1.checkpoint, "folder": tmp_path / "saved"}
    model, words = initial_model(recipe(warm_start=places[kind], model={}), 16)
    assert words == f"warm start: weights of {places[kind]}"
    assert equal_weights(load_model(phase1.checkpoint), model)
    assert model.config == phase1.model.config
    assert model.config["dropout"] == 0.3
    other, _ = initial_model(recipe(warm_start=places[kind], model={"dropout": 0.1}), 16)
    assert other.config == {**model.config, "dropout": 0.1}


def test_a_run_begins_with_them(recipe, phase1):
    result = train(recipe(epochs=1, lr=1e-9, model={}, warm_start=phase1.output_dir))
    weight = result.model.get_parameter("output_proj.0.weight")
    torch.testing.assert_close(weight, phase1.model.get_parameter("output_proj.0.weight"), rtol=0, atol=1e-6)
    assert f"warm start: weights of {phase1.output_dir}\n" in (result.output_dir / "train.log").read_text()


def test_other_shapes_are_named_with_both_sizes(recipe, phase1, tmp_path):
    asked = recipe(warm_start=phase1.output_dir, model={"hidden_dim": 12, "num_layers": 2})
    message = (
        f"train: warm_start = {str(phase1.output_dir)!r} has tensors of other shapes: "
        "gru.weight_ih_l0 (30, 32), expected (36, 32); gru.weight_hh_l0 (30, 10), expected (36, 12); "
        "gru.bias_ih_l0 (30,), expected (36,); gru.bias_hh_l0 (30,), expected (36,); and "
    )
    with pytest.raises(ValueError, match=re.escape(message) + r"\d+ more$"):
        train(asked)
    assert not (tmp_path / "run").exists()
    layers = recipe(warm_start=phase1.output_dir, model={"num_layers": 2})
    with pytest.raises(ValueError, match=re.escape("gru.weight_ih_l1 absent, expected (30, 10)")):
        initial_model(layers, 16)


def test_a_fixed_table_may_be_longer_or_shorter_than_it_was(recipe, phase1, monkeypatch):
    table = torch.sin(torch.arange(20.0))

    def with_table(model, length):
        model.register_buffer("positions", table[:length].clone())
        return model

    earlier = load_model(phase1.checkpoint)
    for before, now in ((8, 20), (20, 8)):
        monkeypatch.setattr(
            "lvm_fast.training.warm_start.load_model", lambda path, n=before: with_table(load_model(path), n)
        )
        monkeypatch.setattr(
            "lvm_fast.training.warm_start.create_model",
            lambda kind, n=now, **sizes: with_table(create_model(kind, **sizes), n),
        )
        model, _ = initial_model(recipe(warm_start=phase1.output_dir, model={}), 16)
        assert torch.equal(model.positions, table[:now])
        assert equal_weights(earlier, model)


def test_another_width_of_data_names_the_tensors(recipe, phase1):
    with pytest.raises(ValueError, match=re.escape("memory.memory (4, 16), expected (4, 24)")):
        initial_model(recipe(warm_start=phase1.output_dir, model={"memory_slots": 4}), 24)


def test_another_model_type_is_refused(recipe, phase1, monkeypatch):
    monkeypatch.setattr("lvm_fast.training.warm_start.load_model", lambda path: renamed(load_model(path)))
    message = r"warm_start = '.*phase1' is a other_gru; expected a memory_gru, the model of this training"
    with pytest.raises(ValueError, match=message):
        initial_model(recipe(warm_start=phase1.output_dir), 16)


def renamed(model):
    model.model_type = "other_gru"
    return model


def test_a_warm_start_that_is_not_there(recipe, tmp_path):
    with pytest.raises(FileNotFoundError, match="no model at"):
        train(recipe(warm_start=tmp_path / "nowhere"))
    assert not (tmp_path / "run").exists()


def test_one_that_held_out_other_chains_is_told(recipe, phase1):
    _, words = initial_model(recipe(warm_start=phase1.output_dir, model={}, seed=7, val_fraction=0.5), 16)
    told = "trained with val_fraction 0.25, seed 42: it may have learned from chains that are held out here"
    assert words.endswith(told)


def test_a_run_goes_on_without_its_warm_start(recipe, phase1):
    settings = {"model": {}, "warm_start": str(phase1.output_dir), "patience": 9}
    first = train(recipe(epochs=1, **settings))
    shutil.rmtree(phase1.output_dir)
    again = train(recipe(epochs=2, **settings, resume=True))
    assert again.history[0] == first.history[0]
    assert len(again.history) == 2
    assert again.model.config == phase1.model.config
    assert (again.output_dir / "train.log").read_text().count("warm start: ") == 1


def test_the_command_goes_from_phase_to_phase(recipe, store, phase1, tmp_path, capsys):
    store.save(tmp_path / "store.safetensors")
    flags = ["--data", str(tmp_path / "store.safetensors"), "--epochs", "1", "--device", "cpu", "--no-tensorboard"]
    command = ["train", "--recipe", "phase2", *flags, "--val-fraction", "0.25", "--output-dir", str(tmp_path / "run")]
    assert main([*command, "--warm-start", str(phase1.output_dir)]) == 0
    shown = capsys.readouterr().out
    assert f"warm start: weights of {phase1.output_dir}, trained with data" in shown
    assert load_model(tmp_path / "run").config == phase1.model.config
