"""The model that comes with the package: it loads by name, comes home to other chunks, and is small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.cli import main
from lvm_fast.inference.adapt import QUERIES, adapt_to
from lvm_fast.models.pretrained import PACKAGED, load_single_model
from lvm_fast.training.recipe import Recipe
from lvm_fast.training.warm_start import start_candidate


@pytest.fixture(scope="module")
def general():
    return lf.load_model("general")


def test_it_loads_by_name_and_takes_little_room(general):
    assert general.model_type == "recency_residual"
    assert general.config["space"]["encoder"] == "sentence-transformers/all-mpnet-base-v2"
    assert sum(path.stat().st_size for path in PACKAGED["general"].iterdir()) < 8e6
    context = np.asarray(lf.sample().vectors[:20])
    np.testing.assert_array_equal(load_single_model("general").predict(context), general.predict(context))


def test_a_folder_of_the_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lf.create_model("gru", input_dim=4, hidden_dim=3, num_layers=1).save_pretrained("general")
    assert lf.load_model("general").model_type == "gru"


def test_it_finds_far_more_than_copying(general):
    store = lf.sample()
    report = lf.evaluate(general, store, stride=60, bootstrap=200, curve=False)
    assert report.hits["hit@5"] > report.baselines["copy_last"]["hit@5"] + 0.05


def test_in_another_space_it_searches_as_before(general):
    model = load_single_model("general")
    model.set_space(lf.fit_space(lf.sample().vectors[:3000]))
    assert model.searches_vectors
    assert model.config["space"]["rows"] == 3000


@pytest.mark.parametrize("named", [["general"], ["--model", "general"]])
def test_predict_works_without_any_training(tmp_path, capsys, named):
    np.save(tmp_path / "v.npy", np.asarray(lf.sample().vectors[100:120]))
    assert main(["predict", *named, "--vectors", str(tmp_path / "v.npy"), "-k", "3"]) == 0
    assert "recency_residual read 20 chunks" in capsys.readouterr().out


def test_predict_takes_one_model(tmp_path, capsys):
    np.save(tmp_path / "v.npy", np.asarray(lf.sample().vectors[:3]))
    for words in ([], ["general", "--model", "general"]):
        assert main(["predict", *words, "--vectors", str(tmp_path / "v.npy")]) == 2
        assert "expected one model: its path as the first word, or --model" in capsys.readouterr().err


def test_evaluate_says_what_it_has_learned_from(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "general", "--data", "sample", "--stride", "60", "--bootstrap", "20"]) == 0
    assert list(tmp_path.glob("report*.json"))
    assert "has learned from these very chunks: this is no held-out score" in report_in(tmp_path)


def test_evaluate_is_silent_about_chunks_it_has_not_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stranger().save(tmp_path / "s.safetensors")
    assert main(["evaluate", "general", "--data", "s.safetensors", "--bootstrap", "20"]) == 0
    assert "no held-out score" not in report_in(tmp_path)


@pytest.mark.parametrize(("split", "most"), [("all", 0), ("val", QUERIES)])
def test_the_questions_chunks_are_no_query_bank(tmp_path, monkeypatch, split, most):
    monkeypatch.chdir(tmp_path)
    stranger().save(tmp_path / "s.safetensors")
    asked = []

    def noted(model, store, queries):
        asked.append((len(store), queries))
        return adapt_to(model, store, queries)

    monkeypatch.setattr("lvm_fast.inference.adapt.adapt_to", noted)
    assert main(["evaluate", "general", "--data", "s.safetensors", "--split", split, "--bootstrap", "20"]) == 0
    [(chains, queries)] = asked
    assert queries == most
    assert (chains == 12) == (split == "all")  # else those of the training part


def stranger(chains: int = 12, length: int = 40) -> lf.ChainStore:
    """Chains of vectors that nobody has seen: each a slow walk."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(chains, length, 768)).astype(np.float32)
    rows = np.cumsum(steps, axis=1).reshape(-1, 768)
    return lf.ChainStore(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.arange(chains + 1) * length)


def report_in(folder: Path) -> str:
    return next(folder.glob("report*.md")).read_text()


def test_it_is_no_start_for_chunks_that_it_has_seen(tmp_path):
    model = lf.create_model("recency_residual", input_dim=768)
    recipe = Recipe.named("champion", output_dir=str(tmp_path))
    assert recipe.start_candidate == "general"
    assert start_candidate(recipe, model, lf.sample()) is None
    found = start_candidate(recipe, model, stranger())
    assert found is not None
    torch.testing.assert_close(found.query_up.weight, load_single_model("general").query_up.weight)


def test_it_is_no_start_for_models_and_data_of_other_kinds():
    store = stranger()
    narrow, other = lf.create_model("recency_residual", input_dim=16), lf.create_model("whitened_recency")
    elsewhere = lf.ChainStore(store.vectors, store.offsets, metadata={"encoder": "hash"})
    recipe = Recipe.named("champion")
    for model, data in ((narrow, store), (other, store), (lf.create_model("recency_residual"), elsewhere)):
        assert start_candidate(recipe, model, data) is None


def test_training_goes_on_from_it(tmp_path):
    store = lf.sample()
    part = store.pieces(store.offsets[:12], store.offsets[1:13], store.ids[:12], store.metadata)
    part.save(tmp_path / "part.safetensors")
    recipe = Recipe.named(
        "champion",
        data=str(tmp_path / "part.safetensors"),
        warm_start="general",
        epochs=1,
        output_dir=str(tmp_path / "run"),
        tensorboard=False,
    )
    result = lf.train(recipe)
    assert result.model.config["space"]["rows"] == len(result.training.vectors)
    assert "warm start: weights of general" in (tmp_path / "run" / "train.log").read_text()


def test_data_of_another_encoder_is_refused(tmp_path, capsys):
    rows = np.asarray(lf.sample().vectors[:300])
    lf.ChainStore(rows, [0, 150, 300], metadata={"encoder": "hash"}).save(tmp_path / "h.safetensors")
    np.save(tmp_path / "v.npy", rows[:5])
    words = ["predict", "general", "--vectors", str(tmp_path / "v.npy"), "--data", str(tmp_path / "h.safetensors")]
    assert main(words) == 2
    assert (
        "predict: the data was encoded by hash, the model's space is of sentence-transformers"
        in capsys.readouterr().err
    )
    assert main([*words, "--force"]) == 0
