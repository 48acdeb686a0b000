"""A model in a space may correct its keys for hubness: what is near to every question scores less."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from literal_models import SMALL

from lvm_fast.models.pretrained import load_model
from lvm_fast.models.registry import create_model
from lvm_fast.spaces import fit_space

SIZES = {**SMALL, "whitened_recency": {"input_dim": 16}}


def rows(count: int, seed: int = 0) -> np.ndarray:
    """Unit rows around a mean that is not zero, float32 (count, 16)."""
    vectors = np.random.default_rng(seed).standard_normal((count, 16)) * np.linspace(2, 0.2, 16) + 0.5
    return unit(vectors).astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


SPACE = fit_space(rows(400))


@pytest.fixture(params=["memory_gru", "recency_residual", "whitened_recency"])
def plain(request):
    torch.manual_seed(0)
    model = create_model(request.param, **SIZES[request.param], space=SPACE).eval()
    if request.param == "recency_residual":  # which begins at zero
        torch.nn.init.normal_(model.key_up.weight, std=0.1)
    return model


@pytest.fixture(params=["keys", "vectors"])
def pair(request, plain):
    """A model as it was, and with a correction."""
    plain.config["space"]["search"] = request.param
    corrected = copy.deepcopy(plain)
    corrected.set_query_bank(3 * rows(40, 8), 0.6, 7)
    return plain, corrected


def closeness(vectors: np.ndarray, queries: np.ndarray, neighbours: int) -> np.ndarray:
    """The definition, in float64."""
    cosines = unit(vectors.astype(np.float64)) @ unit(queries.astype(np.float64)).T
    return np.sort(cosines, axis=1)[:, -neighbours:].mean(axis=1)


def test_scores_are_those_of_the_formula_and_keys_have_unit_length(pair):
    plain, corrected = pair
    candidates, context = 2 * rows(30, 5), np.stack([rows(9, seed) for seed in range(4)])
    keys, query = corrected.keys(candidates), corrected.query(context)
    np.testing.assert_allclose(np.linalg.norm(keys, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(query, axis=1), 1, atol=1e-6)
    bias = 0.6 * closeness(candidates, rows(40, 8), 7)
    expected = plain.query(context).astype(np.float64) @ plain.keys(candidates).T - bias
    np.testing.assert_allclose(query @ keys.T * np.sqrt(2 * (1 + 0.6**2)), expected, atol=3e-6)


def test_one_vector_and_one_context_answer_as_among_many(pair):
    _, corrected = pair
    candidates, context = rows(5, 5), rows(9, 1)
    np.testing.assert_allclose(corrected.keys(candidates[2]), corrected.keys(candidates)[2], atol=1e-6)
    np.testing.assert_allclose(corrected.query(context), corrected.query(context[None])[0], atol=3e-6)
    as_tensor = corrected.query(torch.from_numpy(context))
    assert isinstance(as_tensor, torch.Tensor)
    np.testing.assert_array_equal(as_tensor.numpy(), corrected.query(context))


def test_predictions_stay_what_they_were(pair):
    plain, corrected = pair
    np.testing.assert_array_equal(corrected.predict(rows(9, 1)), plain.predict(rows(9, 1)))


def test_a_candidate_without_a_direction_stays_one(pair):
    plain, corrected = pair
    candidates = rows(5, 5)
    candidates[3] = 0
    keys, before = corrected.keys(candidates), plain.keys(candidates)
    np.testing.assert_array_equal(keys.any(axis=1), before.any(axis=1))
    np.testing.assert_allclose(keys[3, :-2] * np.sqrt(1 + 0.6**2), before[3], atol=1e-6)


def test_it_is_saved_with_the_model(pair, tmp_path):
    _, corrected = pair
    corrected.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.hubness == {"queries": 40, "neighbours": 7, "strength": 0.6}
    np.testing.assert_array_equal(loaded.keys(rows(30, 5)), corrected.keys(rows(30, 5)))
    np.testing.assert_array_equal(loaded.query(rows(9, 1)), corrected.query(rows(9, 1)))


def test_another_space_has_no_correction(pair):
    plain, corrected = pair
    corrected.set_space(SPACE)
    assert corrected.hubness is None
    np.testing.assert_array_equal(corrected.keys(rows(3, 5)), plain.keys(rows(3, 5)))


def test_a_correction_can_be_dropped(pair):
    plain, corrected = pair
    corrected.drop_query_bank()
    np.testing.assert_array_equal(corrected.keys(rows(3, 5)), plain.keys(rows(3, 5)))
    np.testing.assert_array_equal(corrected.query(rows(9, 1)), plain.query(rows(9, 1)))


def test_strength_zero_changes_no_order(pair):
    plain, corrected = pair
    corrected.set_query_bank(rows(40, 8), 0.0)
    context, candidates = rows(9, 1), rows(30, 5)
    scores = [np.argsort(model.query(context) @ model.keys(candidates).T) for model in (plain, corrected)]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize(
    ("queries", "options", "words"),
    [
        (rows(4)[:, :9], {"strength": 0.5}, r"queries have shape \(4, 9\); expected \(M, 16\)"),
        (rows(4)[0], {"strength": 0.5}, r"queries have shape \(16,\); expected \(M, 16\)"),
        (rows(4), {"strength": 1.5, "neighbours": 2}, "strength: expected a finite number from 0 to 1, got 1.5"),
        (rows(4), {"strength": 0.5, "neighbours": 5}, "neighbours: expected a whole number from 1 to 4, got 5"),
        (rows(4), {"strength": 0.5, "neighbours": 0}, "neighbours: expected a whole number from 1 to 4, got 0"),
        (rows(4) * np.nan, {"strength": 0.5, "neighbours": 2}, "row 0 holds NaN or infinity"),
    ],
)
def test_a_query_bank_that_does_not_fit_is_refused(plain, queries, options, words):
    with pytest.raises(ValueError, match=words):
        plain.set_query_bank(queries, **options)
    assert plain.hubness is None


def test_a_model_without_a_space_has_no_correction():
    model = create_model("memory_gru", input_dim=16, hidden_dim=8)
    with pytest.raises(ValueError, match="set_query_bank: the model has no space"):
        model.set_query_bank(rows(4), 0.5, 2)


@pytest.mark.parametrize("facts", [3, {}, {"queries": 4}, {"queries": 0, "neighbours": 1, "strength": 0.5}])
def test_a_config_with_a_broken_correction_is_refused(facts):
    with pytest.raises(ValueError, match="space: hubness"):
        create_model("memory_gru", input_dim=16, space={"kind": "whitened", "hubness": facts})
