"""Beginning with the weights of an earlier training: what is taken over, and what is refused."""

from __future__ import annotations

import dataclasses
import re
import shutil

import pytest
import torch
from literal_models import SMALL

from lvm_fast.cli import main
from lvm_fast.models.pretrained import load_model
from lvm_fast.models.registry import create_model
from lvm_fast.training.fit import train
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


@pytest.fixture
def saved(tmp_path):
    """saved(name, **sizes): the folder of a small model for 16 dimensions that nobody has trained."""

    def save(name, **sizes):
        torch.manual_seed(3)
        create_model(name, **{**SMALL[name], "input_dim": 16, **sizes}).save_pretrained(tmp_path / "saved")
        return tmp_path / "saved"

    return save


@pytest.mark.parametrize(("before", "now"), [(8, 20), (20, 8)])
def test_a_transformer_s_positions_may_be_more_or_fewer_than_they_were(recipe, saved, before, now):
    start = saved("transformer", max_positions=before)
    asked = recipe(model_type="transformer", warm_start=start, model={"max_positions": now}, context_length=8)
    result = train(dataclasses.replace(asked, epochs=1, lr=1e-9))
    assert result.model.max_context == now
    earlier, own = load_model(start).state_dict(), result.model.state_dict()
    assert own["pos_encoder.pe"].shape[1] == now
    for name in earlier.keys() - {"pos_encoder.pe"}:
        torch.testing.assert_close(own[name], earlier[name], rtol=0, atol=1e-6)


def test_the_sizes_of_the_warm_start_are_those_that_are_checked_first(recipe, saved, tmp_path):
    start = saved("transformer", hidden_dim=12, num_heads=4, max_positions=150)
    asked = recipe(model_type="transformer", warm_start=start, model={"num_heads": 6}, context_length=140)
    asked.data = tmp_path / "nowhere.safetensors"
    with pytest.raises(FileNotFoundError, match=r"nowhere\.safetensors"):  # all is well until here
        train(asked)
    longer = dataclasses.replace(asked, context_length=151)
    with pytest.raises(ValueError, match="a context of 151 vectors; expected at most 150, the model's positions"):
        train(longer)
    with pytest.raises(ValueError, match="hidden_dim = 12; expected a multiple of num_heads = 5"):
        train(dataclasses.replace(asked, model={"num_heads": 5}))


def test_another_number_of_experts_names_the_tensors(recipe, saved):
    start = saved("specialist_gru", num_experts=4, domains=["law", "art", "sea", "war"])
    asked = recipe(model_type="specialist_gru", warm_start=start, model={"num_experts": 8})
    with pytest.raises(ValueError, match=re.escape("of other shapes: gate.weight (4, ") + r"\d+\), expected \(8, "):
        train(asked)
    model, _ = initial_model(dataclasses.replace(asked, model={"num_experts": 4}), 16)
    assert model.route_names == ["law", "art", "sea", "war"]
    with pytest.raises(ValueError, match=r"domains = \['a'\]; expected 8 different names"):
        train(dataclasses.replace(asked, model={"num_experts": 8, "domains": ["a"]}))


@pytest.mark.parametrize("name", ["input_dim", "d_model"])
def test_the_width_may_be_given_by_either_name(recipe, phase1, name):
    model, _ = initial_model(recipe(warm_start=phase1.output_dir, model={name: 16}), 16)
    assert model.config == phase1.model.config
    with pytest.raises(ValueError, match="the model is to read 24 dimensions; expected 16, as the data has"):
        train(recipe(warm_start=phase1.output_dir, model={name: 24}))


def test_another_width_of_data_names_the_tensors(recipe, phase1):
    with pytest.raises(ValueError, match=re.escape("memory.memory (4, 16), expected (4, 24)")):
        initial_model(recipe(warm_start=phase1.output_dir, model={"memory_slots": 4}), 24)


def test_another_model_type_is_refused(recipe, phase1, monkeypatch):
    monkeypatch.setattr("lvm_fast.training.warm_start.load_single_model", lambda path: renamed(load_model(path)))
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
