"""A model of any type reads, predicts and is searched for in the space it was given."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from literal_models import SMALL

import lvm_fast as lf
from lvm_fast.models.registry import create_model, model_names
from lvm_fast.spaces import Space, fit_space

ALL = {**SMALL, "whitened_recency": {"input_dim": 16}}


def rows(count: int, seed: int = 0) -> np.ndarray:
    """Unit rows around a mean that is not zero, float32 (count, 16)."""
    vectors = np.random.default_rng(seed).standard_normal((count, 16)) * np.linspace(2, 0.2, 16) + 0.5
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(params=["centred", "whitened"])
def space(request) -> Space | None:
    return fit_space(rows(400), request.param or "raw")


@pytest.fixture(params=model_names())
def name(request) -> str:
    return str(request.param)


def spaced(name: str, space: Space | None):
    torch.manual_seed(0)
    model = create_model(name, **ALL[name], space=space).eval()
    if name == "recency_residual":  # which begins at zero
        torch.nn.init.normal_(model.query_up.weight, std=0.1)
        torch.nn.init.normal_(model.key_up.weight, std=0.1)
    return model


def bare(model):
    """The same model without its space."""
    without = copy.deepcopy(model)
    without.set_space(None)
    return without


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize("batch", [1, 5])  # few contexts may take another way
def test_a_query_is_the_models_answer_to_what_it_sees_in_the_space(name, space, batch):
    model = spaced(name, space)
    context = np.stack([rows(9, seed) for seed in range(batch)])
    lengths = [9, 4, 1, 9, 2][:batch]
    inside = space.keys(context.reshape(-1, 16)).reshape(context.shape)
    np.testing.assert_allclose(model.query(context, lengths), bare(model).predict(inside, lengths), atol=3e-6)
    spoilt = context.copy()
    for row, length in enumerate(lengths):
        spoilt[row, length:] = np.nan
    np.testing.assert_array_equal(model.query(spoilt, lengths), model.query(context, lengths))


def test_a_prediction_goes_back_by_the_formula(name, space):
    model, context = spaced(name, space), rows(9, 3)
    query = model.query(context).astype(np.float64)
    if name == "recency_residual":
        query = query + query @ model.key_up.weight.detach().double().numpy() @ model.key_down.weight.detach().numpy()
    pulled = query if space.matrix is None else query @ space.matrix
    spread = np.sqrt(1 - (space.mean.astype(np.float64) ** 2).sum())
    np.testing.assert_allclose(model.predict(context), unit(spread * unit(pulled) + 0.25 * space.mean), atol=3e-6)


def test_keys_are_unit_rows_in_the_space_and_adapted(name, space):
    model, vectors = spaced(name, space), rows(30, 5)
    inside = space.keys(vectors).astype(np.float64)
    if name == "recency_residual":
        down, up = (layer.weight.detach().double().numpy() for layer in (model.key_down, model.key_up))
        inside = unit(inside + inside @ down.T @ up.T)
    np.testing.assert_allclose(model.keys(vectors), inside, atol=3e-6)
    np.testing.assert_allclose(model.keys(vectors[0]), inside[0], atol=3e-6)
    found = model.bank(lf.ChainStore(vectors, [0, 30])).topk(model.query(rows(6, 7)), 3)[1]
    np.testing.assert_array_equal(found, np.argsort(-(inside @ model.query(rows(6, 7))), kind="stable")[:3])


def test_without_a_space_query_and_keys_are_the_encoders_own(name):
    model, context = spaced(name, None), rows(9, 3)
    np.testing.assert_array_equal(
        model.query(context), model.predict(context) if not model.adapts() else model.query(context)
    )
    if not model.adapts():
        np.testing.assert_array_equal(model.keys(2 * context), lf.l2_normalize(2 * context))


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("space", [None, "centred", "whitened"], indirect=True)
def test_a_stream_predicts_what_predict_does(name, space, weights):
    model, context = spaced(name, space), rows(12, 2)
    if weights != "float32" and not model.packs:
        pytest.skip("it has no such weights")
    if not model.can_stream():
        pytest.skip("it reads its context as a whole")
    stream = model.stream(weights=weights)
    for step, vector in enumerate(context):
        pushed = stream.push(vector)[0]
        np.testing.assert_allclose(pushed, model.predict(context[: step + 1], weights=weights), atol=5e-6)
        if step == 5:
            other = copy.copy(stream)
    np.testing.assert_allclose(other.push(context[6])[0], model.predict(context[:7], weights=weights), atol=5e-6)
    stream.reset()
    np.testing.assert_allclose(stream.push(context[0])[0], model.predict(context[:1], weights=weights), atol=5e-6)


def test_it_is_saved_pickled_and_copied_with_its_space(name, space, tmp_path):
    model, context = spaced(name, space), rows(9, 3)
    expected = model.predict(context)
    model.save_pretrained(tmp_path / "saved")
    for other in (lf.load_model(tmp_path / "saved"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict(context), expected)
        assert other.config == model.config
        assert other.config["space"]["kind"] == space.kind


def test_a_change_of_the_space_is_noticed(name, space):
    model, context = spaced(name, space), rows(9, 3)
    before = model.predict(context)
    model.space.mean.data[0] += 0.1
    assert not np.array_equal(model.predict(context), before)
    model.set_space(fit_space(rows(400), space.kind))
    np.testing.assert_array_equal(model.predict(context), before)


@pytest.mark.parametrize(("dtype", "largest"), [(torch.float64, 1e-5), (torch.bfloat16, 5e-2), (torch.float16, 1e-2)])
def test_other_dtypes_stay_close(name, space, dtype, largest):
    model, context = spaced(name, space), np.stack([rows(9, seed) for seed in range(4)])
    expected = model.query(context)
    assert np.linalg.norm(model.to(dtype).query(context) - expected, axis=1).max() < largest


def test_a_space_of_another_width_is_named(name):
    with pytest.raises(ValueError, match="space: the space was fitted on 8 dimensions; expected 16, as the model has"):
        spaced(name, fit_space(rows(40)[:, :8]))
    with pytest.raises(ValueError, match="space: kind = 'white'; expected one of centred, whitened"):
        create_model(name, **ALL[name], space={"kind": "white"})
    with pytest.raises(ValueError, match="space = 'whitened'; expected a mapping with a kind, or a Space"):
        create_model(name, **ALL[name], space="whitened")
    spoilt, model = rows(9), spaced(name, fit_space(rows(40)))
    spoilt[4, 0] = np.nan
    with pytest.raises(ValueError, match=r"context\[0, 4\] holds NaN or Inf"):
        model.predict(spoilt)
    with pytest.raises(ValueError, match="keys: expected vectors of 16 dimensions, got vectors of 15 dimensions"):
        spaced(name, None).keys(rows(4)[:, :15])


def test_a_model_in_a_space_may_search_the_encoders_vectors(name, space, tmp_path):
    model, context, vectors = spaced(name, space), rows(9, 3), rows(30, 5)
    inside = model.query(context)
    model.config["space"]["search"] = "vectors"
    assert model.searches_vectors
    np.testing.assert_array_equal(model.query(context), model.predict(context))
    assert not np.allclose(model.query(context), inside, atol=1e-3)
    np.testing.assert_array_equal(model.keys(2 * vectors), lf.l2_normalize(2 * vectors))
    model.save_pretrained(tmp_path / "saved")
    assert lf.load_model(tmp_path / "saved").searches_vectors
