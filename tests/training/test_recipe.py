"""The recipe: defaults, YAML, flags, and values that do not fit."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
import yaml

from lvm_fast.cli import train as command
from lvm_fast.training.recipe import Recipe, setting_names


def parse(*words):
    parser = argparse.ArgumentParser(prog="lvm-fast train")
    command.add_arguments(parser)
    return parser.parse_args(words)


def printed(capsys, *words):
    assert command.run(parse("--print-config", *words)) == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_the_defaults_are_the_reference_recipe():
    reference = {
        "model_type": "memory_gru",
        "context_length": 100,
        "objective": "last_position",
        "infonce_batch": "micro",
        "epochs": 50,
        "batch_size": 32,
        "accumulation_steps": 8,
        "min_coherence": 0.0,
        "min_length": 7,
        "alpha_infonce": 0.05,
        "temperature": 0.07,
        "lr": 1e-4,
        "weight_decay": 1e-4,
        "clip_norm": 1.0,
        "warmup_epochs": 1.0,
        "lr_floor": 0.1,
        "patience": 3,
        "min_improvement": 1e-4,
        "val_fraction": 0.1,
        "seed": 42,
    }
    assert Recipe().to_dict().items() >= reference.items()


def test_yaml_round_trip_with_overrides(tmp_path):
    recipe = Recipe(data=Path("a.safetensors"), model={"hidden_dim": 64}, lr=1, stride=None, pool=500)
    (tmp_path / "run.yaml").write_text(recipe.to_yaml())
    assert Recipe.from_yaml(tmp_path / "run.yaml") == recipe
    assert recipe.data == "a.safetensors"
    assert isinstance(recipe.lr, float)
    changed = Recipe.from_yaml(tmp_path / "run.yaml", epochs=7, lr="3e-4")
    assert (changed.epochs, changed.lr, changed.model) == (7, 3e-4, {"hidden_dim": 64})


def test_yaml_numbers_that_yaml_takes_for_texts_are_numbers(tmp_path):
    (tmp_path / "run.yaml").write_text("lr: 1e-4\nweight_decay: 0\n")
    recipe = Recipe.from_yaml(tmp_path / "run.yaml")
    assert (recipe.lr, recipe.weight_decay) == (1e-4, 0.0)


def test_an_empty_yaml_is_the_defaults(tmp_path):
    (tmp_path / "run.yaml").write_text("# nothing\n")
    assert Recipe.from_yaml(tmp_path / "run.yaml") == Recipe()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_sise: 3", "run.yaml: unknown recipe key 'batch_sise'; did you mean 'batch_size'"),
        ("learning_rate: 3", "run.yaml: unknown recipe key 'learning_rate'; did you mean 'lr'"),
        ("accum: 3", "run.yaml: unknown recipe key 'accum'; did you mean 'accumulation_steps'"),
        ("epochs: many", "run.yaml: Recipe: epochs = 'many'; expected int, at least 1"),
        ("- a\n- b", "run.yaml: expected a YAML mapping of recipe keys, found a list"),
        ("a: [", "run.yaml: not a YAML file"),
        ("1: 2", "run.yaml: unknown recipe key 1"),
    ],
)
def test_yaml_mistakes_name_file_and_key(tmp_path, text, message):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        Recipe.from_yaml(tmp_path / "run.yaml")


def test_a_yaml_that_is_not_there_is_a_file_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Recipe.from_yaml(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("epochs", 0, "int, at least 1"),
        ("epochs", 2.5, "int, at least 1"),
        ("epochs", True, "int, at least 1"),
        ("batch_size", "32", "int, at least 1"),
        ("stride", 0, "int or nothing, at least 1"),
        ("min_length", 1, "int, at least 2"),
        ("lr", 0, "float, above 0"),
        ("lr", float("nan"), "float, above 0"),
        ("lr", float("inf"), "float, above 0"),
        ("lr", "fast", "float, above 0"),
        ("temperature", -1.0, "float, above 0"),
        ("alpha_infonce", -0.1, "float, at least 0"),
        ("val_fraction", 1, "float, above 0 and below 1"),
        ("min_coherence", 2.0, "float, from -1 to 1"),
        ("lr_floor", 1.5, "float, from 0 to 1"),
        ("precision", "float16", "str, 'float32' or 'bfloat16'"),
        ("objective", "all", "str, 'last_position' or 'all_positions'"),
        ("infonce_batch", 256, "str, 'micro' or 'effective' or 'bank'"),
        ("pool", "all", "int or str, 'targets', 'store' or at least 1"),
        ("pool", 0, "int or str, 'targets', 'store' or at least 1"),
        ("compile", "yes", "bool"),
        ("model", [3], "dict"),
        ("device", None, "str"),
        ("output_dir", 3, "str or nothing"),
    ],
)
def test_values_that_do_not_fit_name_the_key(key, value, expected):
    message = f"Recipe: {key} = {value!r}; expected {expected}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Recipe(**{key: value})


def test_a_store_made_in_python_is_described_in_words(store):
    assert Recipe(data=store).to_dict()["data"] == f"(24 chains, {len(store.vectors)} vectors, passed in Python)"


def test_every_setting_is_a_flag(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    text = capsys.readouterr().out
    for name in setting_names():
        assert f"--{name.replace('_', '-')} " in text


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path, capsys):
    (tmp_path / "run.yaml").write_text("epochs: 3\nbatch_size: 16\ncompile: true\n")
    flags = [
        "--batch-size",
        "4",
        "--no-compile",
        "--pool",
        "1149",
        "--stride",
        "none",
        "--model",
        "hidden_dim=64",
        "dropout=0.2",
    ]
    config = printed(capsys, "--recipe", str(tmp_path / "run.yaml"), *flags)
    assert config == {
        **Recipe().to_dict(),
        "epochs": 3,
        "batch_size": 4,
        "pool": 1149,
        "model": {"hidden_dim": 64, "dropout": 0.2},
    }


def test_flags_that_do_not_fit_are_value_errors_naming_the_key():
    with pytest.raises(ValueError, match=r"^--batch-size = 'many'; expected int, at least 1$"):
        command.run(parse("--batch-size", "many"))
    with pytest.raises(ValueError, match=r"^--pool = 'some'"):
        command.run(parse("--pool", "some"))


def test_a_flag_is_blamed_for_its_own_mistake_and_the_file_for_its(tmp_path):
    (tmp_path / "good.yaml").write_text("epochs: 3\n")
    (tmp_path / "bad.yaml").write_text("epochs: 0\n")
    with pytest.raises(ValueError, match=r"^--epochs = 0; expected int, at least 1$"):
        command.run(parse("--recipe", str(tmp_path / "good.yaml"), "--epochs", "0"))
    with pytest.raises(ValueError, match=r"bad\.yaml: Recipe: epochs = 0"):
        command.run(parse("--recipe", str(tmp_path / "bad.yaml")))


def test_a_resumed_run_keeps_its_own_recipe_but_for_the_flags(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("epochs: 3\nlr: 0.5\n")
    config = printed(capsys, "--output-dir", str(tmp_path), "--resume", "--epochs", "5")
    assert (config["lr"], config["epochs"], config["resume"]) == (0.5, 5, True)
    assert printed(capsys, "--output-dir", str(tmp_path), "--epochs", "5")["lr"] == Recipe().lr
    (tmp_path / "other.yaml").write_text("lr: 0.25\n")
    flags = ["--recipe", str(tmp_path / "other.yaml"), "--output-dir", str(tmp_path), "--resume"]
    assert printed(capsys, *flags)["lr"] == 0.25
    assert printed(capsys, "--output-dir", str(tmp_path / "new"), "--resume")["lr"] == Recipe().lr


def test_a_size_without_a_value_is_a_usage_error(capsys):
    with pytest.raises(SystemExit, match="2"):
        parse("--model", "hidden_dim")
    assert "'hidden_dim'; expected KEY=VALUE" in capsys.readouterr().err
