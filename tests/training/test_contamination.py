"""A run knows its data again wherever it lies, and notices when it is no longer the same."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.training.contamination import Asked, seen_in_training
from lvm_fast.training.fit import train
from lvm_fast.training.load_data import load_data
from lvm_fast.training.recipe import Recipe


@pytest.fixture
def run(recipe, store, tmp_path, monkeypatch):
    """A run on a store that its recipe named by a relative path."""
    monkeypatch.chdir(tmp_path)
    store.save("chains.safetensors")
    train(recipe(epochs=1, data="chains.safetensors"))
    return tmp_path / "run"


def asked_of(recipe):
    data = load_data(replace(recipe, data_digest=None))
    return Asked(data.validation, replace(recipe, data_digest=data.digest), True)


def test_a_run_keeps_where_its_data_is_and_what_it_is(run, store, tmp_path):
    kept = Recipe.from_yaml(run / "recipe.yaml")
    assert kept.data == str(tmp_path / "chains.safetensors")
    assert kept.data_digest == store.fingerprint()
    assert torch.load(run / "best_val_hit5.pt", weights_only=True)["args"]["data_digest"] == store.fingerprint()


def test_data_passed_in_python_is_known_by_its_digest(recipe, store):
    result = train(recipe(epochs=1))
    assert Recipe.from_yaml(result.output_dir / "recipe.yaml").data_digest == store.fingerprint()


def test_a_run_is_understood_from_every_folder(run, tmp_path, monkeypatch):
    kept = Recipe.from_yaml(run / "recipe.yaml")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert seen_in_training(kept, asked_of(kept)) == []
    (seen,) = seen_in_training(kept, asked_of(replace(kept, seed=7)))
    assert seen.share is not None
    assert seen.share > 0.3
    assert re.fullmatch(r"its training \(data '.*chains.safetensors', seed 42, .*\) saw \d+\.\d% of the .*", seen.words)


def test_data_that_was_moved_is_known_again(run, tmp_path):
    Path("chains.safetensors").rename("moved.safetensors")
    kept = Recipe.from_yaml(run / "recipe.yaml")
    moved = replace(kept, data=str(tmp_path / "moved.safetensors"))
    assert seen_in_training(kept, asked_of(moved)) == []
    (seen,) = seen_in_training(kept, asked_of(replace(moved, seed=7)))
    assert seen.share is not None
    assert seen.share > 0.3


def test_data_that_has_changed_is_not_taken_for_the_old(run, store, recipe):
    kept = Recipe.from_yaml(run / "recipe.yaml")
    half = ChainStore(-store.vectors[: store.offsets[12]], store.offsets[:13])
    half.save("chains.safetensors")
    (seen,) = seen_in_training(kept, asked_of(kept))
    assert seen.share is None
    assert "not known: its recipe or its data are not there, or the data has changed" in seen.words
    message = r"train: data = '.*chains.safetensors' is other data than this recipe was trained on, or has changed: its"
    with pytest.raises(ValueError, match=message):
        load_data(kept)
    with pytest.raises(ValueError, match=r"cannot resume with other settings: data_digest was '\w+', is '\w+'"):
        train(recipe(epochs=2, data="chains.safetensors", resume=True))


def test_a_copy_in_another_format_is_seen_through(run, store, tmp_path):
    store.save("copy.safetensors", dtype="float16")
    kept = Recipe.from_yaml(run / "recipe.yaml")
    copy = replace(kept, data=str(tmp_path / "copy.safetensors"), seed=7)
    (seen,) = seen_in_training(kept, asked_of(copy))
    assert seen.share is not None
    assert seen.share > 0.3


def test_a_run_goes_on_from_another_folder(run, recipe, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = train(recipe(epochs=2, data=str(tmp_path / "chains.safetensors"), resume=True))
    assert len(again.history) == 2


def test_a_run_of_an_older_version_goes_on(run, recipe):
    state = torch.load(run / "last.pt", weights_only=True)
    state["args"] = {**state["args"], "data": "chains.safetensors"}  # as it was given
    del state["args"]["data_digest"]
    state["progress"]["untrained"] = {name: state["progress"]["untrained"][name] for name in ("hit1", "hit5", "hit10")}
    torch.save(state, run / "last.pt")
    assert len(train(recipe(epochs=2, data="chains.safetensors", resume=True)).history) == 2


def test_a_warm_start_named_by_a_relative_path_is_found_from_every_folder(run, recipe, tmp_path, monkeypatch):
    settings = {"data": "chains.safetensors", "warm_start": "run", "output_dir": str(tmp_path / "second")}
    second = train(recipe(epochs=1, seed=7, **settings)).output_dir
    log = (second / "train.log").read_text()
    assert "warm start: weights of run, trained with seed 42: it may have learned from chains that are" in log
    kept = Recipe.from_yaml(second / "recipe.yaml")
    assert kept.warm_start == str(run)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (seen,) = seen_in_training(kept, asked_of(kept))
    assert seen.words.startswith(f"the training of its warm start {str(run)!r} (data ")
    shutil.rmtree(run)
    (seen,) = seen_in_training(kept, asked_of(kept))
    assert seen.share is None
