"""Training in a space, without what has been read, and from a closed form that it has to beat."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from literal_models import SMALL

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.windows import Windows
from lvm_fast.models.pretrained import load_model
from lvm_fast.models.registry import create_model, model_names
from lvm_fast.spaces import fit_space
from lvm_fast.training.distributed import DistributedContext
from lvm_fast.training.fit import train
from lvm_fast.training.learner import Learner
from lvm_fast.training.load_data import load_data
from lvm_fast.training.negatives.shared_candidates import read_chunks
from lvm_fast.training.validation import Validation

RESIDUAL = {
    "model_type": "recency_residual",
    "model": {"hidden_dim": 4, "key_dim": 3},
    "objective": "all_positions",
    "infonce_batch": "effective",
    "alpha_infonce": 10.0,
    "stride": None,
    "min_length": 2,
}


@pytest.mark.parametrize("space", ["centred", "whitened"])
@pytest.mark.parametrize("name", [name for name in model_names() if name not in ("whitened_recency", "recency_mixer")])
def test_any_model_trains_in_a_space_that_is_the_training_part_s(recipe, name, space):
    sizes = {key: size for key, size in SMALL[name].items() if key != "input_dim"}
    settings = recipe(model_type=name, model=sizes, space=space, space_strength=0.3, epochs=1)
    result = train(settings)
    training = load_data(settings).training.store
    fitted = fit_space(training.vectors, space, 0.3)
    np.testing.assert_array_equal(result.model.space.mean.numpy(), fitted.mean)
    if space == "whitened":
        np.testing.assert_array_equal(result.model.space.matrix.numpy(), fitted.matrix)
    facts = {"kind": space, "strength": fitted.strength, "rows": len(training.vectors)}
    assert result.model.config["space"].items() >= facts.items()
    loaded, context = load_model(result.checkpoint), np.asarray(training.vectors[:6])
    np.testing.assert_array_equal(loaded.predict(context), result.model.predict(context))


def test_it_learns_from_what_it_sees_in_the_space(recipe):
    result = train(recipe(space="whitened", epochs=12, lr=1e-2, accumulation_steps=1, patience=12, pool="store"))
    assert result.history[-1]["hit1"] > result.untrained["hit1"] + 50
    assert result.history[-1]["hit1"] > result.baselines["whitened_recency"]["hit1"] + 50


def test_the_loss_is_that_of_vectors_in_the_space(recipe, store):
    settings = recipe(space="whitened", model_type="gru", model={"hidden_dim": 4, "num_layers": 1}, alpha_infonce=0.0)
    windows, space = Windows(store, 8), fit_space(store.vectors)
    inside = ChainStore(space.keys(store.vectors), store.offsets)
    torch.manual_seed(0)
    model = create_model("gru", input_dim=store.dim, hidden_dim=4, num_layers=1, space=space)
    step = Learner(model, settings, torch.device("cpu")).step(Windows(inside, 8), np.arange(10), 0.0)
    batch = windows.batch(np.arange(10))
    cosines = [
        float(model.query(context[None, :length])[0] @ space.keys(target))
        for context, length, target in zip(batch.context, batch.lengths, batch.target, strict=True)
    ]
    expected = np.mean([2 * (1 - c) / store.dim + 0.5 * (1 - c) for c in cosines])
    assert step.loss == pytest.approx(expected, rel=1e-4)


def stop_in_epoch(patch: pytest.MonkeyPatch, number: int) -> None:
    """Have a run stop when its so many-th epoch begins."""
    real, epochs = DistributedContext.seed_dropout, []

    def seed(self, recipe_seed, epoch):
        epochs.append(epoch)
        if epoch == number:
            raise KeyboardInterrupt
        return real(self, recipe_seed, epoch)

    patch.setattr(DistributedContext, "seed_dropout", seed)


def test_a_resumed_run_equals_one_that_never_stopped(recipe, tmp_path):
    settings = {**RESIDUAL, "space": "whitened", "infonce_unread": True}
    whole = train(recipe(**settings, epochs=4, output_dir=str(tmp_path / "whole")))
    with pytest.MonkeyPatch.context() as patch:
        stop_in_epoch(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(recipe(**settings, epochs=4))
    again = train(recipe(**settings, epochs=4, resume=True))
    assert again.best_epoch == whole.best_epoch
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


@pytest.mark.parametrize("seed", [0, 1])
def test_read_chunks_are_those_of_the_chain_before_the_target(store, seed):
    rng = np.random.default_rng(seed)
    targets = rng.choice(len(store.vectors), 40)
    candidates = np.sort(rng.choice(len(store.vectors), 200, replace=False))
    expected = {
        (question, place)
        for question, target in enumerate(targets)
        for place, row in enumerate(candidates)
        if row < target and store.chain_of(row) == store.chain_of(target)
    }
    questions, places = read_chunks(store, targets, candidates)
    assert len(questions) == len(expected)
    assert set(zip(questions.tolist(), places.tolist(), strict=True)) == expected


@pytest.mark.parametrize("batch", ["effective", "bank"])
def test_what_was_read_is_no_wrong_answer(recipe, store, batch):
    changes = {"model_type": "gru", "model": {"hidden_dim": 4, "num_layers": 1}, "alpha_infonce": 1.0}
    settings = recipe(**changes, infonce_batch=batch, infonce_unread=True, temperature=0.5)
    model, windows = (
        create_model("gru", input_dim=store.dim, hidden_dim=4, num_layers=1),
        Windows(store, 8, 1),
    )
    group = np.arange(0, len(windows), 3)
    loss = Learner(model, settings, torch.device("cpu")).step(windows, group, 0.0).loss
    vectors = np.asarray(store.vectors, np.float64)
    found = []
    for window in group:
        start, target = windows.starts[window], windows.targets[window]
        predicted = model.predict(vectors[start:target].astype(np.float32)).astype(np.float64)
        rows = np.unique(windows.targets[group]) if batch == "effective" else np.arange(len(vectors))
        first = store.offsets[store.chain_of(target)]
        wrong = [row for row in rows if not first <= row < target and vectors[row] @ vectors[target] < 0.999]
        scores = vectors[[target, *wrong]] @ predicted / 0.5
        cosine = predicted @ vectors[target]
        infonce = np.log(np.exp(scores).sum()) - scores[0]
        found.append(2 * (1 - cosine) / store.dim + 0.5 * (1 - cosine) + infonce)
    assert loss == pytest.approx(np.mean(found), rel=1e-4)


def test_the_champion_starts_at_the_closed_form_and_keeps_it_where_nothing_beats_it(recipe):
    settings = recipe(**RESIDUAL, space="whitened", epochs=2, lr=1e-12)
    result = train(settings)
    assert result.best_epoch == 0
    assert result.best_hit5 == result.untrained["hit5"]
    assert "nothing that was learned beats the closed form" in (result.output_dir / "train.log").read_text()
    chosen, vectors = result.model.config, load_data(settings).training.store.vectors
    space = fit_space(vectors, "whitened", chosen["space"]["strength"])
    closed = create_model("whitened_recency", input_dim=16, decay=chosen["decay"], space=space)
    context = np.asarray(settings.data.vectors[:7])
    np.testing.assert_allclose(result.model.predict(context), closed.predict(context), atol=2e-6)


@pytest.fixture
def trained_elsewhere(recipe, tmp_path):
    """A model that has learned more from the chains than a closed form can tell, saved in a folder."""
    result = train(recipe(**RESIDUAL, space="whitened", epochs=6, lr=3e-2, patience=6, output_dir=str(tmp_path / "1")))
    assert result.best_epoch > 0
    result.model.save_pretrained(tmp_path / "elsewhere")
    return result.model, str(tmp_path / "elsewhere")


def test_a_run_starts_from_a_candidate_that_is_better_than_the_closed_form(recipe, trained_elsewhere, tmp_path):
    model, folder = trained_elsewhere
    settings = recipe(**RESIDUAL, space="whitened", epochs=1, lr=1e-12, start_candidate=folder)
    result = train(settings)
    assert result.best_epoch == 0
    assert result.best_hit5 == result.untrained["hit5"]
    assert f"starts from {folder}: whitened, strength" in (result.output_dir / "train.log").read_text()
    for name, weights in model.named_parameters():
        torch.testing.assert_close(result.model.get_parameter(name), weights)
    without = train(recipe(**RESIDUAL, space="whitened", epochs=1, lr=1e-12, output_dir=str(tmp_path / "3")))
    assert result.untrained["mrr"] > without.untrained["mrr"]


def test_a_run_that_goes_on_measures_its_gain_from_the_candidate(recipe, trained_elsewhere):
    _, folder = trained_elsewhere
    settings = {**RESIDUAL, "space": "whitened", "lr": 1e-2, "start_candidate": folder, "patience": 9}
    train(recipe(**settings, epochs=1))
    again = train(recipe(**settings, epochs=3, resume=True))
    assert [row["epoch"] for row in again.history] == [1, 2, 3]
    for row in again.history:
        assert row["gain"] == pytest.approx(row["hit5"] - again.untrained["hit5"], abs=1e-6)


def test_a_run_starts_at_the_closed_form_where_a_candidate_is_worse(recipe, trained_elsewhere, tmp_path):
    model, _ = trained_elsewhere
    with torch.no_grad():
        model.query_up.weight.normal_(std=10.0)
    model.save_pretrained(tmp_path / "spoiled")
    candidate = str(tmp_path / "spoiled")
    result = train(recipe(**RESIDUAL, space="whitened", epochs=1, lr=1e-12, start_candidate=candidate))
    assert f"on the validation chains better than {candidate}" in (result.output_dir / "train.log").read_text()
    assert not result.model.query_up.weight.any()


def test_candidates_that_do_not_fit_are_refused(recipe, trained_elsewhere, tmp_path):
    _, folder = trained_elsewhere
    with pytest.raises(ValueError, match=r"start_candidate = .* with model_type = 'gru'"):
        train(recipe(model_type="gru", model={"hidden_dim": 4}, space="whitened", start_candidate=folder))
    with pytest.raises(ValueError, match=r"start_candidate = .* space = 'raw'"):
        train(recipe(**RESIDUAL, start_candidate=folder))
    with pytest.raises(ValueError, match=r"its query_down.weight is \(4, 160\); expected \(5, 160\)"):
        train(recipe(**RESIDUAL | {"model": {"hidden_dim": 5, "key_dim": 3}}, space="whitened", start_candidate=folder))
    create_model("gru", input_dim=16, hidden_dim=4).save_pretrained(tmp_path / "gru")
    with pytest.raises(ValueError, match=r"is a gru; expected a recency_residual"):
        train(recipe(**RESIDUAL, space="whitened", start_candidate=str(tmp_path / "gru")))
    with pytest.raises(FileNotFoundError):
        train(recipe(**RESIDUAL, space="whitened", start_candidate=str(tmp_path / "nowhere")))


def test_validation_chooses_how_much_of_what_was_learned_counts(recipe):
    result = train(recipe(**RESIDUAL, space="whitened", epochs=6, lr=3e-2, patience=6, pool="store"))
    assert result.best_epoch > 0
    assert result.best_hit5 > result.untrained["hit5"]
    assert {row["shrink"] for row in result.history} <= {0.25, 0.5, 0.75, 1.0}
    assert load_model(result.checkpoint).metrics["hit5"] == result.best_hit5


def test_validation_chooses_the_closed_form(recipe, tmp_path):
    settings = recipe(model_type="whitened_recency", model={}, space="whitened")
    result = train(settings)
    data, found = load_data(settings), {}
    validation = Validation(data.validation, "targets", 0, 32, DistributedContext(torch.device("cpu")))
    for strength in (0.25, 0.5, 0.75):
        for decay in (0.5, 0.6, 0.7, 0.8, 0.9):
            space = fit_space(data.training.store.vectors, "whitened", strength)
            model = create_model("whitened_recency", input_dim=16, decay=decay, space=space)
            for search in ("keys", "vectors"):
                model.config["space"]["search"] = search
                found[strength, decay, search] = validation.score(model)["mrr"]
    chosen = result.model.config
    start = chosen["space"]["strength"], chosen["decay"]
    by_keys, by_vectors = found[(*start, "keys")], found[(*start, "vectors")]
    assert max(by_keys, by_vectors) == max(found.values())
    assert result.model.searches_vectors
    assert result.untrained["mrr"] == pytest.approx(by_vectors)
    assert "closed form: whitened, strength" in (result.output_dir / "train.log").read_text()
    given = train(
        recipe(
            model_type="whitened_recency",
            model={},
            space="whitened",
            space_strength=0.9,
            output_dir=str(tmp_path / "2"),
        )
    )
    assert given.model.config["space"]["strength"] == 0.9


def test_a_closed_form_takes_no_steps(recipe):
    result = train(recipe(model_type="whitened_recency", model={}, space="whitened"))
    assert (result.steps, result.best_epoch, result.history) == (0, 0, [])
    assert result.best_hit5 == result.untrained["hit5"]
    assert load_model(result.output_dir).model_type == "whitened_recency"


def test_settings_that_do_not_fit_are_named(recipe, tmp_path):
    with pytest.raises(ValueError, match="Recipe: space = 'white'; expected str, 'raw' or 'centred' or 'whitened'"):
        recipe(space="white")
    with pytest.raises(ValueError, match="Recipe: infonce_unread with infonce_batch = 'micro'; expected 'effective'"):
        recipe(infonce_unread=True)
    train(recipe(model_type="gru", model={"hidden_dim": 4}, space="centred", epochs=1))
    with pytest.raises(ValueError, match="warm_start reads a centred space; expected space = 'centred', got 'raw'"):
        train(recipe(model_type="gru", model={}, warm_start=str(tmp_path / "run"), output_dir=str(tmp_path / "2")))
