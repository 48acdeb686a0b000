"""Training corrects a model's search for hubness as far as the validation chains ask for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.windows import Windows
from lvm_fast.evaluation.predictions import answer_windows
from lvm_fast.models.pretrained import load_model
from lvm_fast.models.registry import create_model
from lvm_fast.spaces import fit_space
from lvm_fast.training.distributed import DistributedContext
from lvm_fast.training.fit import train
from lvm_fast.training.hubness import choose_query_bank
from lvm_fast.training.recipe import Recipe
from lvm_fast.training.validation import Validation

RESIDUAL = {
    "model_type": "recency_residual",
    "model": {"hidden_dim": 4, "key_dim": 3},
    "objective": "all_positions",
    "infonce_batch": "effective",
    "stride": None,
    "min_length": 2,
    "space": "whitened",
    "query_bank": 64,
}
CPU = DistributedContext(torch.device("cpu"))


def chains_with_hubs(count: int, seed: int) -> ChainStore:
    """Chains about a topic each; every second chunk is blurred towards what all chunks have in common."""
    rng = np.random.default_rng(seed)
    topics = rng.standard_normal((count, 1, 16))
    common = np.random.default_rng(7).standard_normal(16)
    blur = np.tile([0.0, 3.0], 6)[:, None]
    vectors = topics + 0.8 * rng.standard_normal((count, 12, 16)) + blur * common
    rows = vectors.reshape(-1, 16)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return ChainStore(rows, np.arange(0, len(rows) + 1, 12))


def fresh(store: ChainStore):
    model = create_model("whitened_recency", input_dim=16).eval()
    model.set_space(fit_space(store.vectors, "whitened", 0.0))
    model.config["space"]["search"] = "vectors"
    return model


def test_validation_chooses_the_strength_that_finds_most():
    training, held_out = chains_with_hubs(30, 1), chains_with_hubs(30, 2)
    validation = Validation(Windows(held_out, 8, 1, 2), "targets", 0, 64, CPU, training)
    model = fresh(training)
    before = validation.score(model)["mrr"]
    strength = choose_query_bank(validation, model, Windows(training, 8), 100, seed=0)
    after = {}
    queries = model.space.query_bank.numpy()
    for other in (0.25, 0.5, 0.75):
        model.set_query_bank(queries, other)
        after[other] = validation.score(model)["mrr"]
    assert strength == max(after, key=after.__getitem__)
    assert after[strength] > before + 0.1
    assert model.hubness["queries"] == 100


def test_where_validation_prefers_none_there_is_no_query_bank(monkeypatch):
    training = chains_with_hubs(10, 1)
    validation = Validation(Windows(training, 8, 1, 2), "targets", 0, 64, CPU)
    model = fresh(training)
    monkeypatch.setattr(validation, "score", lambda model: {"mrr": 1.0 if model.hubness is None else 0.9})
    assert choose_query_bank(validation, model, Windows(training, 8), 50, seed=0) == 0.0
    assert model.hubness is None
    assert model.space.query_bank is None


def test_the_bank_holds_predictions_for_the_training_part(monkeypatch):
    training = chains_with_hubs(10, 1)
    validation = Validation(Windows(training, 8, 1, 2), "targets", 0, 64, CPU)
    model, expected = fresh(training), fresh(training)
    monkeypatch.setattr(validation, "score", lambda model: {"mrr": 0.0 if model.hubness is None else 1.0})
    choose_query_bank(validation, model, Windows(training, 8), 10_000, seed=0)
    everywhere = Windows(training, 8, 1, 2)
    batch = everywhere.batch(np.arange(len(everywhere)))
    predicted = expected.predict(batch.context, batch.lengths)
    order = np.lexsort(predicted.T)
    queries = model.space.query_bank.numpy()
    np.testing.assert_allclose(queries[np.lexsort(queries.T)], predicted[order], atol=1e-6)


def test_processes_that_share_the_questions_add_up_to_one():
    training = chains_with_hubs(10, 1)
    model, windows = fresh(training), Windows(training, 8, 1, 2)
    model.set_query_bank(training.vectors[:20], 0.5, 4)
    whole = answer_windows(model, windows, batch_size=16)
    parts = [answer_windows(model, windows, batch_size=16, only=slice(rank, None, 3)) for rank in range(3)]
    np.testing.assert_array_equal(sum(part.query for part in parts), whole.query)
    np.testing.assert_array_equal(sum(part.predicted for part in parts), whole.predicted)


def test_a_run_that_goes_on_keeps_the_query_bank_of_its_model(recipe, tmp_path):
    settings = {**RESIDUAL, "data": chains_with_hubs(30, 1), "output_dir": str(tmp_path / "run")}
    first = train(recipe(**settings, epochs=1))
    again = train(recipe(**settings, epochs=2, resume=True))
    assert first.model.hubness["queries"] == 64
    assert again.model.hubness == first.model.hubness
    np.testing.assert_array_equal(again.model.space.query_bank, first.model.space.query_bank)
    assert load_model(again.checkpoint).hubness == again.model.hubness


@pytest.mark.parametrize(
    "settings",
    [
        {"model_type": "gru", "model": {"hidden_dim": 4, "num_layers": 1}, "space": "whitened"},
        {**RESIDUAL, "space": "raw"},
    ],
)
def test_other_models_have_no_query_bank_and_the_log_says_so(recipe, settings, capsys):
    model = train(recipe(**{**settings, "query_bank": 64}, epochs=1)).model
    assert model.hubness is None
    assert "no query bank: it takes a model that starts at a closed form, in a space" in capsys.readouterr().out


def test_the_champion_corrects_for_hubness():
    assert Recipe.named("champion", data="sample").query_bank == 2048
