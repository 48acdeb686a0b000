"""The recipe: defaults, YAML, flags, and values that do not fit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from train_command import parse, printed

from lvm_fast.cli import main
from lvm_fast.cli import train as command
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.positions import AllPositions
from lvm_fast.data.windows import Windows
from lvm_fast.models.registry import create_model
from lvm_fast.training.fit import train
from lvm_fast.training.recipe import Recipe, setting_names
from lvm_fast.training.recipes import packaged_recipes

LAYOUTS = (Windows, AllPositions)


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


# batch, accumulation, context, alpha, soft, hard
PHASES = {
    "phase1": (32, 8, 100, 0.05, False, False),
    "phase2": (16, 16, 500, 0.03, False, False),
    "phase2b": (16, 16, 500, 0.05, True, False),
    "phase2c": (16, 16, 500, 0.07, False, True),
    "phase3": (8, 32, 1000, 0.03, False, False),
    "phase4": (32, 8, 100, 0.05, False, False),
}
SPECIALISTS = {"model_type": "specialist_gru", "domains": "clusters", "domain_weight": 0.1, "balance_weight": 0.01}


def test_the_packaged_recipes_are_the_phases_of_the_reference():
    assert list(packaged_recipes()) == ["champion", *PHASES, "recency_mixer"]
    for name, (batch, accumulation, context, alpha, soft, hard) in PHASES.items():
        own = {
            "batch_size": batch,
            "accumulation_steps": accumulation,
            "context_length": context,
            "alpha_infonce": alpha,
            "enable_soft_negatives": soft,
            "enable_hard_negatives": hard,
            "soft_negative_cosine_range": [0.6, 0.8],
            "hard_negative_cosine_range": [0.75, 0.9],
            **(SPECIALISTS if name == "phase4" else {}),
        }
        recipe = Recipe.named(name, data="mine.safetensors")
        assert recipe.to_dict() == {**Recipe().to_dict(), **own, "data": "mine.safetensors"}
        windows = [layout(ChainStore(np.ones((3000, 2), np.float32), [0, 3000]), context) for layout in LAYOUTS]
        assert [w.stride for w in windows] == [context // 2, context]


@pytest.mark.parametrize(
    ("name", "model_type", "space"),
    [("champion", "recency_residual", "whitened"), ("recency_mixer", "recency_mixer", "raw")],
)
def test_our_own_recipes_train_on_every_position(name, model_type, space):
    recipe = Recipe.named(name, data="mine.safetensors")
    assert (recipe.model_type, recipe.space) == (model_type, space)
    assert (recipe.objective, recipe.infonce_batch) == ("all_positions", "effective")
    model = create_model(recipe.model_type, **recipe.model)
    assert model.is_causal()


def test_a_name_that_is_no_recipe_suggests_one():
    names = "champion, phase1, phase2, phase2b, phase2c, phase3, phase4, recency_mixer"
    message = rf"unknown recipe 'phase_2'; did you mean 'phase2\w?'\? There are: {names}"
    with pytest.raises(ValueError, match=message):
        Recipe.named("phase_2")


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
        ("precision", "half", "str, 'float32' or 'bfloat16'"),
        ("precision", "float16", "str, 'float32' or 'bfloat16'; did you mean 'bfloat16'?"),
        ("objective", "all", "str, 'last_position' or 'all_positions'; did you mean 'all_positions'?"),
        ("infonce_batch", "efective", "str, 'micro' or 'effective' or 'bank'; did you mean 'effective'?"),
        ("pool", "target", "int or str, 'targets', 'store' or at least 1; did you mean 'targets'?"),
        ("infonce_batch", 256, "str, 'micro' or 'effective' or 'bank'"),
        ("soft_negative_cosine_range", [0.8, 0.6], "two cosines from -1 to 1, the lower first"),
        ("soft_negative_cosine_range", [0.6], "two cosines from -1 to 1, the lower first"),
        ("hard_negative_cosine_range", [0.6, "0.8"], "two cosines from -1 to 1, the lower first"),
        ("hard_negative_cosine_range", [0.6, float("nan")], "two cosines from -1 to 1, the lower first"),
        ("hard_negative_cosine_range", 0.6, "two cosines from -1 to 1, the lower first"),
        ("infonce_queue", -1, "int, at least 0"),
        ("balance_weight", -0.1, "float, at least 0"),
        ("domain_weight", 0, "float, above 0"),
        ("domains", 3, "str or nothing"),
        ("negatives_limit", 0, "int, at least 1"),
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"infonce_queue": 9}, "infonce_queue with infonce_batch = 'micro'; expected 'effective', whose candidates"),
        (
            {"infonce_candidates": 9, "infonce_batch": "bank"},
            "infonce_candidates with infonce_batch = 'bank'; expected",
        ),
        ({"negatives": "mine.jsonl"}, "negatives = 'mine.jsonl'; expected enable_soft_negatives or enable_hard_neg"),
        ({"enable_hard_negatives": True, "alpha_infonce": 0}, "negatives with alpha_infonce = 0; expected a weight"),
        ({"negatives": "predictoin"}, "unknown source of negatives 'predictoin'; did you mean 'prediction'"),
        ({"negatives": "mine.npz"}, "unknown source of negatives 'mine.npz'; .*here are: target, prediction, a file"),
    ],
)
def test_settings_of_negatives_that_would_do_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


REFERENCE_FLAGS = (
    "--model-type memory_gru --data a.safetensors --epochs 3 --batch-size 4 --accumulation-steps 2 --device cpu "
    "--min-coherence 0.1 --min-length 8 --alpha-infonce 0.03 --temperature 0.05 --lr 2e-4 --weight-decay 1e-3 "
    "--patience 4 --output-dir runs/x --seed 7 --enable-soft-negatives --soft-negative-cosine-range 0.5 0.7 "
    "--enable-hard-negatives --hard-negative-cosine-range 0.7 0.85"
)


def test_the_flags_that_users_of_the_reference_know_all_work(capsys):
    expected = {
        "model_type": "memory_gru",
        "data": "a.safetensors",
        "epochs": 3,
        "batch_size": 4,
        "accumulation_steps": 2,
        "device": "cpu",
        "min_coherence": 0.1,
        "min_length": 8,
        "alpha_infonce": 0.03,
        "temperature": 0.05,
        "lr": 2e-4,
        "weight_decay": 1e-3,
        "patience": 4,
        "output_dir": "runs/x",
        "seed": 7,
        "enable_soft_negatives": True,
        "soft_negative_cosine_range": [0.5, 0.7],
        "enable_hard_negatives": True,
        "hard_negative_cosine_range": [0.7, 0.85],
    }
    assert printed(capsys, *REFERENCE_FLAGS.split()) == {**Recipe().to_dict(), **expected}


def test_a_recipe_is_taken_by_name_too_and_the_flags_win_over_it(capsys):
    config = printed(capsys, "--recipe", "phase2", "--warm-start", "runs/phase1", "--batch-size", "4")
    assert config == Recipe.named("phase2", warm_start="runs/phase1", batch_size=4).to_dict()
    with pytest.raises(ValueError, match="unknown recipe 'phase5'; did you mean"):
        command.run(parse("--recipe", "phase5", "--print-config"))
    with pytest.raises(ValueError, match=r"--soft-negative-cosine-range = \[0.8, 0.6\]; expected two cosines"):
        command.run(parse("--soft-negative-cosine-range", "0.8", "0.6"))


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_type": "memory_gur"}, "unknown model 'memory_gur'; did you mean 'memory_gru'? There are: "),
        ({"model": {"hiden_dim": 4}}, "unknown memory_gru argument 'hiden_dim'; did you mean 'hidden_dim'? There are"),
        ({"model_type": "amn", "model": {"d_model": 8, "num_layers": 2}}, "unknown amn argument 'num_layers'"),
    ],
)
def test_a_model_or_a_size_that_is_none_is_told_with_the_recipe(settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Recipe(**settings)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model-type", "x"], "unknown model 'x'; there are: memory_gru, "),
        (["--model", "hiden_dim=4"], "unknown memory_gru argument 'hiden_dim'; did you mean 'hidden_dim'?"),
        (["--model", "hidden_dim=0"], "memory_gru: hidden_dim = 0; expected an integer of at least 1"),
        (["--model-type", "transformer", "--context-length", "101"], "a context of 101 vectors; expected at most 100"),
        (["--domains", "clusters"], "model_type = 'memory_gru'; expected a mixture of experts"),
        (["--infonce-batch", "efective"], "--infonce-batch = 'efective'; expected str, 'micro' or 'effective' or"),
    ],
)
def test_what_cannot_train_is_not_printed(capsys, words, message):
    assert main(["train", "--print-config", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err


@pytest.mark.parametrize(("objective", "stride"), [("last_position", 30), ("all_positions", 60)])
def test_strides_that_follow_from_the_context_are_told_and_stay_open(capsys, objective, stride):
    main(["train", "--print-config", "--objective", objective, "--context-length", "60"])
    text = capsys.readouterr().out
    assert f"\nstride: null  # {stride}\nval_stride: null  # 30, or less until there are 200 targets\n" in text
    assert yaml.safe_load(text)["stride"] is None
    main(["train", "--print-config", "--stride", "7", "--val-stride", "8"])
    assert "\nstride: 7\nval_stride: 8\n" in capsys.readouterr().out


def test_a_sequence_file_s_own_length_is_printed(tmp_path, capsys):
    np.savez(
        tmp_path / "w.npz", context_sequences=np.ones((3, 12, 4), np.float32), target_vectors=np.ones((3, 4), "f4")
    )
    config = printed(capsys, "--data", str(tmp_path / "w.npz"))
    assert (config["context_length"], config["stride"]) == (12, None)
    with pytest.raises(ValueError, match="stride = 3 does nothing"):
        printed(capsys, "--data", str(tmp_path / "w.npz"), "--stride", "3")


def test_a_recipe_of_the_usual_model_needs_no_torch(tmp_path):
    script = (
        "import sys; from lvm_fast.training.recipe import Recipe; Recipe(epochs=3); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)


def test_a_size_without_a_value_is_a_usage_error(capsys):
    with pytest.raises(SystemExit, match="2"):
        parse("--model", "hidden_dim")
    assert "'hidden_dim'; expected KEY=VALUE" in capsys.readouterr().err


def test_a_seed_may_be_as_large_as_torch_takes(recipe):
    result = train(recipe(epochs=1, seed=2**64 - 1))
    assert Recipe.from_yaml(result.output_dir / "recipe.yaml").seed == 2**64 - 1
    assert train(recipe(epochs=2, seed=2**64 - 1, resume=True)).history[0] == result.history[0]
