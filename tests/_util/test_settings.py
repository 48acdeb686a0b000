"""The values of settings: numpy's scalars, texts that stand for numbers, and paths."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from train_command import printed

from lvm_fast.cli import main
from lvm_fast.models.registry import create_model
from lvm_fast.training.recipe import Recipe


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"seed": np.int64(1), "batch_size": np.uint8(3)}, {"seed": 1, "batch_size": 3}),
        ({"context_length": np.int32(4), "val_stride": np.array(2)}, {"context_length": 4, "val_stride": 2}),
        ({"lr": np.float32(0.5), "temperature": np.float64(0.25)}, {"lr": 0.5, "temperature": 0.25}),
        ({"pool": np.int64(7)}, {"pool": 7}),
        (
            {"cross_chains": np.bool_(True), "tensorboard": np.bool_(False)},
            {"cross_chains": True, "tensorboard": False},
        ),
        (
            {"model": {"hidden_dim": np.int64(8), "dropout": np.float32(0.5)}},
            {"model": {"hidden_dim": 8, "dropout": 0.5}},
        ),
        (
            {"soft_negative_cosine_range": [np.float64(0.5), np.float32(0.75)]},
            {"soft_negative_cosine_range": [0.5, 0.75]},
        ),
        ({"soft_negative_cosine_range": (np.float16(0.5), 1)}, {"soft_negative_cosine_range": [0.5, 1.0]}),
        ({"model_type": np.str_("gru"), "device": np.str_("cpu")}, {"model_type": "gru", "device": "cpu"}),
    ],
)
def test_numpy_s_scalars_become_plain(settings, expected, tmp_path):
    recipe = Recipe(**settings)
    assert recipe.to_dict().items() >= expected.items()
    for name, value in expected.items():
        values = getattr(recipe, name)
        assert type(values) is type(value)
        if isinstance(value, dict):
            assert [type(size) for size in values.values()] == [type(size) for size in value.values()]
    (tmp_path / "run.yaml").write_text(recipe.to_yaml())
    assert Recipe.from_yaml(tmp_path / "run.yaml") == recipe


@pytest.mark.parametrize(
    "settings",
    [{"epochs": np.float64(3)}, {"epochs": np.bool_(True)}, {"lr": np.float32("nan")}, {"compile": np.int64(1)}],
)
def test_numpy_s_scalars_of_another_kind_are_refused(settings):
    with pytest.raises(ValueError, match=f"^Recipe: {next(iter(settings))} = "):
        Recipe(**settings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: {dropout: 1e-1}", {"model": {"dropout": 0.1}}),
        ("model: {dropout: \"1.5e-1\", hidden_dim: '8'}", {"model": {"dropout": 0.15, "hidden_dim": 8}}),
        ("epochs: 010", {"epochs": 10}),
        ("epochs: '010'", {"epochs": 10}),
        ("lr: 1e-3", {"lr": 0.001}),
        ('lr: "1e-3"', {"lr": 0.001}),
        ("stride: 0x10", {"stride": 16}),
        ("stride: null", {"stride": None}),
        ("soft_negative_cosine_range: [5e-1, '0.75']", {"soft_negative_cosine_range": [0.5, 0.75]}),
        ("output_dir: '010'", {"output_dir": "010"}),
        ("output_dir: 1:30", {"output_dir": "1:30"}),
    ],
)
def test_a_number_means_the_same_in_a_file_quoted_or_not_and_in_a_flag(tmp_path, text, expected):
    (tmp_path / "run.yaml").write_text(text)
    settings = Recipe.from_yaml(tmp_path / "run.yaml").to_dict()
    assert {name: settings[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 1:30", "epochs = '1:30'; expected int, at least 1"),
        ("epochs: 1_000", "epochs = '1_000'; expected int, at least 1"),
        ("epochs: 1e3", "epochs = 1000.0; expected int, at least 1"),
        ("epochs: true", "epochs = True; expected int, at least 1"),
        ('epochs: "1.5"', "epochs = 1.5; expected int, at least 1"),
        ("lr: true", "lr = True; expected float, above 0"),
        ("lr: .inf", "lr = inf; expected float, above 0"),
        ("lr: 1,5", "lr = '1,5'; expected float, above 0"),
        ("compile: yes", "compile = 'yes'; expected bool"),
        ('compile: "true"', "compile = 'true'; expected bool"),
        ("output_dir: 010", "output_dir = 10; expected str or nothing"),
        ("lr: 1\nepochs: 3\nlr: 2", "run.yaml: not a YAML file: line 3, column 1: the key 'lr' stands twice"),
        ("model: {hidden_dim: 8, hidden_dim: 9}", "the key 'hidden_dim' stands twice"),
        ("model: {hidden_dim: 1:30}", "hidden_dim = '1:30'"),
        (f"seed: {2**64}", f"seed = {2**64}; expected at most {2**64 - 1}"),
        (f"seed: '{'9' * 5000}'", "seed: a whole number of 5,000 digits is too large"),
    ],
)
def test_what_is_no_number_is_none_anywhere(tmp_path, text, message):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        create_from(tmp_path / "run.yaml")


def create_from(path):
    recipe = Recipe.from_yaml(path)
    create_model(recipe.model_type, **recipe.model)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--epochs", "010"], {"epochs": 10}),
        (["--lr", "1e-1"], {"lr": 0.1}),
        (["--model", "dropout=1e-1", "hidden_dim='010'"], {"model": {"dropout": 0.1, "hidden_dim": 10}}),
    ],
)
def test_flags_are_read_as_a_file_is(capsys, words, expected):
    assert printed(capsys, *words).items() >= expected.items()


@pytest.mark.parametrize("value", ["1:30", "1_000", "1e3", "true", "1.5", "٣", " 3"])
def test_flags_refuse_what_a_file_refuses(capsys, value):
    assert main(["train", "--print-config", "--epochs", value]) == 2
    assert "--epochs = " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["data", "validation_data", "warm_start", "output_dir", "negatives", "domains"])
def test_a_tilde_in_a_path_is_the_home_folder(monkeypatch, tmp_path, name):
    monkeypatch.setenv("HOME", "/home/me")
    value = "~/a.jsonl"
    settings = {"enable_hard_negatives": True} if name == "negatives" else {}
    assert getattr(Recipe(**settings, **{name: value}), name) == "/home/me/a.jsonl"
    assert getattr(Recipe(**settings, **{name: Path(value)}), name) == "/home/me/a.jsonl"
    (tmp_path / "run.yaml").write_text(f"{name}: {value}\n" + "".join(f"{key}: true\n" for key in settings))
    assert getattr(Recipe.from_yaml(tmp_path / "run.yaml"), name) == "/home/me/a.jsonl"
    with pytest.raises(ValueError, match=f"{name} = '~nobody-at-all/a.jsonl': there is no home folder"):
        Recipe(**settings, **{name: "~nobody-at-all/a.jsonl"})


def test_absolute_paths_lead_to_the_same_files(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = {"warm_start": "w", "negatives": "n.jsonl", "domains": "d.csv", "enable_hard_negatives": True}
    located = Recipe(data="a.safetensors", validation_data="/b.safetensors", output_dir="out", **settings)
    found = located.with_absolute_paths()
    assert (found.data, found.validation_data) == (str(tmp_path / "a.safetensors"), "/b.safetensors")
    assert [found.warm_start, found.negatives, found.domains] == [str(tmp_path / n) for n in ("w", "n.jsonl", "d.csv")]
    assert found.output_dir == "out"
    names = Recipe(data="sample", negatives="prediction", domains="clusters", enable_hard_negatives=True)
    assert names.with_absolute_paths() == names


def test_other_data_is_not_held_to_the_digest_of_a_recipe_s_own(tmp_path):
    (tmp_path / "run.yaml").write_text(Recipe(data="a.safetensors", data_digest="abc").to_yaml())
    assert Recipe.from_yaml(tmp_path / "run.yaml", epochs=3).data_digest == "abc"
    assert Recipe.from_yaml(tmp_path / "run.yaml", data="b.safetensors").data_digest is None
    assert Recipe.from_yaml(tmp_path / "run.yaml", data="b", data_digest="d").data_digest == "d"
