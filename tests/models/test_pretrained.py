"""One way in: checkpoints, saved folders, run folders; and what happens to files that are none of them."""

from __future__ import annotations

import argparse
import datetime
import errno
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lvm_fast.models.memory_gru import MemoryGRU
from lvm_fast.models.pretrained import load_model
from lvm_fast.models.saving import recipe_digest


def checkpoint_of(model, **more):
    return {
        "epoch": 3,
        "model_type": "memory_gru",
        "model_state_dict": model.state_dict(),
        "val_results": {"hit1": 40.07, "hit5": 59.32, "hit10": 65.16},
        "args": {"batch_size": 32, "hidden_dim": 256},
        **more,
    }


@pytest.fixture
def model(sizes):
    return MemoryGRU(**sizes, dropout=0.25)


def test_a_reference_checkpoint_loads_and_gives_the_same_outputs(literal, tmp_path):
    twin = literal(hidden_dim=20, num_layers=3).eval()
    results = {"hit5": np.float64(59.32), "loss": np.float32(0.5), "samples": np.int64(7)}
    args = {"output_dir": Path("runs/a"), "lr": 1e-4}
    torch.save(checkpoint_of(twin, val_results=results, args=args), tmp_path / "best_val_hit5.pt")
    model = load_model(tmp_path / "best_val_hit5.pt")
    assert model.config["hidden_dim"] == 20
    assert model.config["num_layers"] == 3
    assert json.loads(json.dumps(model.metrics)) == {"hit5": 59.32, "loss": 0.5, "samples": 7}
    assert model.recipe_digest == recipe_digest(args)
    assert not model.training
    context = torch.randn(4, 9, 16)
    torch.testing.assert_close(model(context), twin(context), atol=1e-5, rtol=0)


def test_a_run_folder_loads_its_best_checkpoint_with_its_config(model, tmp_path):
    torch.save(checkpoint_of(model, config=model.config), tmp_path / "best_val_hit5.pt")
    loaded = load_model(str(tmp_path))
    assert loaded.config == model.config
    assert loaded.metrics["hit1"] == pytest.approx(40.07)


def test_save_pretrained_round_trip(model, tmp_path):
    model.metrics = {"hit1": 1.25, "hit5": 5.0, "hit10": 7.5, "pool": 1149, "baselines": {"copy_last": {"hit5": 29.9}}}
    model.recipe_digest = recipe_digest({"lr": 1e-4})
    folder = tmp_path / "new" / "saved"
    model.save_pretrained(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    loaded = load_model(folder)
    assert (loaded.config, loaded.metrics) == (model.config, model.metrics)
    assert loaded.recipe_digest == model.recipe_digest
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    card = (folder / "README.md").read_text()
    assert "Hit@1 1.25%, Hit@5 5.00%, Hit@10 7.50%, among 1,149 candidates. What needs no training reaches" in card
    assert "reaches Hit@5 copy_last 29.90%." in card
    assert "hidden_dim | 12" in card


def test_the_card_names_the_best_without_training_as_the_one_to_beat(model, tmp_path):
    reached = {"copy_last": 29.9, "whitened_recency": 44.1, "recency_mean": 33.0}
    model.metrics = {"hit5": 40.0, "pool": 1149, "baselines": {name: {"hit5": hit} for name, hit in reached.items()}}
    model.save_pretrained(tmp_path)
    said = "copy_last 29.90%, whitened_recency 44.10%, recency_mean 33.00%. whitened_recency is the one to beat."
    assert said in (tmp_path / "README.md").read_text()


def test_the_digest_of_a_recipe_is_that_of_its_settings_wherever_the_run_lies():
    recipe = {"lr": 1e-4, "output_dir": Path("runs/a"), "resume": False}
    assert recipe_digest(recipe) == recipe_digest({"resume": True, "output_dir": None, "lr": 1e-4})
    assert recipe_digest(recipe) != recipe_digest({**recipe, "lr": 2e-4})


def test_saving_again_replaces_the_model_and_leaves_other_files(model, sizes, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    model.save_pretrained(tmp_path)
    other = MemoryGRU(**{**sizes, "hidden_dim": 5})
    other.save_pretrained(tmp_path)
    assert load_model(tmp_path).config["hidden_dim"] == 5
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 4


def test_a_model_without_a_score_says_so(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert "No score was saved" in (tmp_path / "README.md").read_text()


def test_a_full_disk_leaves_nothing_behind(model, tmp_path, monkeypatch):
    whole = Path.write_bytes

    def full(path, content):
        if path.suffix == ".md":  # the last of the three
            whole(path, content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(path, content)

    kept = tmp_path / "kept"
    model.save_pretrained(kept)
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    monkeypatch.setattr(Path, "write_bytes", full)
    torch.nn.init.zeros_(model.input_norm.weight)
    with pytest.raises(OSError, match="No space left"):
        model.save_pretrained(kept)
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    with pytest.raises(OSError, match="No space left"):
        model.save_pretrained(tmp_path / "fresh")
    assert not (tmp_path / "fresh").exists()


def test_a_folder_that_cannot_be_written_is_an_os_error(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        model.save_pretrained(tmp_path / "file")


def test_loading_by_hand_into_wrong_sizes_names_the_right_ones(literal, sizes):
    wrong = MemoryGRU(**{**sizes, "hidden_dim": 6})
    with pytest.raises(
        ValueError, match=r"built with .*hidden_dim=6.* has .*hidden_dim=12.*create_model\('memory_gru'"
    ):
        wrong.load_state_dict(literal().state_dict())


def test_a_tensor_that_does_not_fit_the_others_is_named(model, tmp_path):
    state = model.state_dict()
    state["fusion.0.weight"] = torch.zeros(12, 29)
    torch.save(checkpoint_of(model, model_state_dict=state), tmp_path / "odd.pt")
    with pytest.raises(ValueError, match=r"odd.pt: .*fusion.0.weight.*\[12, 29\].*\[12, 28\]"):
        load_model(tmp_path / "odd.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("model_state_dict"), "has no 'model_state_dict'; it has epoch, model_type"),
        (lambda c: c.pop("model_type"), "has no 'model_type'"),
        (lambda c: c.update(model_type="memory_gro"), "did you mean 'memory_gru'"),
        (lambda c: c.update(model_type=["memory_gru"]), "unknown model"),
        (lambda c: c.update(model_state_dict=[1]), "no dict of tensors"),
        (lambda c: c.update(model_state_dict={"memory.memory": 3}), "no dict of tensors: 'memory.memory' is a .*int"),
        (
            lambda c: c.update(model_state_dict={k: t.numpy() for k, t in c["model_state_dict"].items()}),
            r"no dict of tensors: 'gru\.weight_ih_l0' is a numpy\.ndarray",
        ),
        (lambda c: c["model_state_dict"].pop("memory.memory"), "no tensor 'memory.memory'"),
        (lambda c: c["model_state_dict"].pop("input_norm.bias"), "Missing key.*input_norm.bias"),
        (lambda c: c["model_state_dict"].update({"memory.memory": torch.zeros(3)}), r"shape \(3,\); expected 2 dim"),
    ],
)
def test_checkpoints_that_are_not_whole_say_what_is_wrong(model, tmp_path, change, message):
    checkpoint = checkpoint_of(model)
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "c.pt")
    with pytest.raises(ValueError, match=rf"c\.pt.*{message}"):
        load_model(tmp_path / "c.pt")


class Trap:
    """Unpickling it would run code."""

    def __reduce__(self):
        return (os.mkdir, ("trapped",))


def test_a_checkpoint_never_runs_code(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(checkpoint_of(model, args=Trap()), "trap.pt")
    with pytest.raises(ValueError, match=r"trap\.pt: not a readable checkpoint"):
        load_model("trap.pt")
    assert not Path("trapped").exists()


class Settings:
    """What a trainer may have pickled beside the weights."""

    def __init__(self) -> None:
        self.lr = 1.0


FOREIGN = {
    "args.nested.1": ({"args": {"nested": [0, Settings()]}}, r"test_pretrained\.Settings, a class or function that"),
    "args": ({"args": argparse.Namespace(lr=1.0)}, r"argparse\.Namespace, a class or function that could run code"),
    "args.when": ({"args": {"when": datetime.datetime(2020, 1, 1)}}, r"datetime\.datetime, a class or function"),
    "args.deep.trap": ({"args": {"deep": {"trap": Trap()}}}, r"\w+\.mkdir, a class or function"),
    "kind": ({"kind": Settings}, r"test_pretrained\.Settings, a class or function"),
    "optimizer": ({"optimizer": torch.optim.SGD([torch.zeros(1)])}, r"torch\.optim\.sgd\.SGD, a class or function"),
    "val_results.texts": ({"val_results": {"texts": np.array(["a", None], object)}}, "numpy data of dtype 'O8'"),
    "val_results.day": ({"val_results": {"day": np.datetime64("2020-01-01")}}, "numpy data of dtype 'M8'"),
}


@pytest.mark.parametrize("key", FOREIGN)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_cannot_be_read_safely_is_named_with_the_key_that_holds_it(model, tmp_path, monkeypatch, key, zipped):
    monkeypatch.chdir(tmp_path)
    more, what = FOREIGN[key]
    torch.save(checkpoint_of(model, **more), "c.pt", _use_new_zipfile_serialization=zipped)
    named = rf"c\.pt: not a readable checkpoint: the key '{re.escape(key)}' holds \S*{what}.*; expected numbers, text"
    with pytest.raises(ValueError, match=named):
        load_model("c.pt")
    assert os.listdir() == ["c.pt"]


@pytest.mark.parametrize("kind", "?bhilqBHILQefd")
def test_numpy_numbers_and_arrays_of_every_dtype_are_read(model, tmp_path, kind):
    array = np.arange(3).astype(kind)
    results = {"hit5": array[1], "ranks": array, "mean": torch.tensor([0.5, 1.5]), "note": np.str_("ok")}
    torch.save(checkpoint_of(model, val_results=results, args={"sizes": array}), tmp_path / "c.pt")
    loaded = load_model(tmp_path / "c.pt")
    assert loaded.metrics == {"hit5": array[1].item(), "ranks": array.tolist(), "mean": [0.5, 1.5], "note": "ok"}
    loaded.save_pretrained(tmp_path / "saved")
    assert load_model(tmp_path / "saved").metrics == loaded.metrics


@pytest.mark.parametrize("default", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", ["checkpoint", "folder"])
def test_the_dtype_of_a_loaded_model_is_not_the_default_one(model, tmp_path, default, dtype, form):
    context, stored = torch.randn(2, 5, 16), model.to(dtype)
    if form == "checkpoint":
        torch.save(checkpoint_of(stored), tmp_path / "best_val_hit5.pt")
    else:
        stored.save_pretrained(tmp_path)
    torch.set_default_dtype(default)
    try:
        loaded = load_model(tmp_path)
        predicted = loaded.predict(context)
    finally:
        torch.set_default_dtype(torch.float32)
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert {tensor.dtype for tensor in (*loaded.parameters(), *loaded.buffers())} == {expected}
    for name, tensor in stored.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.to(expected))
    torch.testing.assert_close(predicted, stored.to(expected).predict(context), atol=1e-6, rtol=0)


def test_metrics_that_are_no_json_are_named(model, tmp_path):
    for wrong in (float("nan"), object()):
        model.metrics = {"hit5": wrong}
        with pytest.raises(ValueError, match=r"save_pretrained: metrics = \{'hit5': .*\}: "):
            model.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_tied_weights_are_saved(model, tmp_path):
    model.memory.query_proj.bias = model.input_norm.bias
    model.save_pretrained(tmp_path)
    context = torch.randn(2, 5, 16)
    assert torch.equal(load_model(tmp_path).predict(context), model.predict(context))


@pytest.mark.parametrize("content", [b"", b"hello, I am a text", b"PK\x03\x04 half a zip"])
def test_damaged_files_are_value_errors(tmp_path, content):
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.pt: not a readable checkpoint: damaged, or more than plain data$"):
        load_model(tmp_path / "bad.pt")


def test_a_truncated_checkpoint_is_a_value_error(model, tmp_path):
    torch.save(checkpoint_of(model), tmp_path / "cut.pt")
    whole = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.pt: not a readable checkpoint"):
        load_model(tmp_path / "cut.pt")


def test_saved_folders_that_are_not_whole_say_what_is_wrong(model, tmp_path):
    model.save_pretrained(tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:-8])
    with pytest.raises(ValueError, match=r"model\.safetensors: not a readable safetensors file"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load_model(tmp_path)
    for text in ("{", "[]", json.dumps({"config": {}})):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=r"config\.json: expected JSON"):
            load_model(tmp_path)


def test_no_model_there_is_a_file_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model at .*expected a best_val_hit5\.pt"):
        load_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        load_model(tmp_path / "absent.pt")
