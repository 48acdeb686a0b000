"""A model at home in a store: its space, the correction for hubs, and what of the store it has not read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.inference.adapt import LONGEST, QUERIES, STRENGTH

DIM = 6


@pytest.fixture
def store(rng: np.random.Generator) -> lf.ChainStore:
    return lf.ChainStore(rng.standard_normal((60, DIM)).astype(np.float32) + 0.5, [0, 25, 26, 60])


@pytest.fixture
def model() -> Any:
    return lf.create_model("whitened_recency", input_dim=DIM).eval()


def test_the_space_is_that_of_the_store(model: Any, store: lf.ChainStore) -> None:
    by_hand = lf.create_model("whitened_recency", input_dim=DIM).eval()
    by_hand.set_space(lf.fit_space(store.vectors))
    assert lf.adapt_to(model, store, queries=0) is model
    assert model.hubness is None
    np.testing.assert_array_equal(model.keys(store.vectors), by_hand.keys(store.vectors))


def test_the_query_bank_holds_predictions_of_all_places_after_another_chunk(model: Any, store: lf.ChainStore) -> None:
    lf.adapt_to(model, store)
    bank = model.space.query_bank.numpy()
    expected = []
    for chain in range(len(store)):
        rows = np.asarray(store[chain])
        expected += [model.predict(rows[None, max(0, end - LONGEST) : end])[0] for end in range(1, len(rows))]
    np.testing.assert_allclose(bank, np.stack(expected), atol=1e-6)
    assert model.hubness == {"queries": 57, "neighbours": 10, "strength": STRENGTH}


def test_as_many_predictions_as_were_asked_for(model: Any, store: lf.ChainStore) -> None:
    lf.adapt_to(model, store, queries=7)
    assert model.hubness == {"queries": 7, "neighbours": 7, "strength": STRENGTH}


def test_chains_of_one_chunk_give_the_space_alone(model: Any, rng: np.random.Generator) -> None:
    alone = lf.ChainStore(rng.standard_normal((9, DIM)).astype(np.float32), np.arange(10))
    assert lf.adapt_to(model, alone).hubness is None
    assert model.space is not None


def test_adapting_again_leaves_nothing_of_the_store_before(model: Any, store: lf.ChainStore) -> None:
    other = lf.ChainStore(-np.asarray(store.vectors)[::-1].copy(), store.offsets)
    fresh = lf.adapt_to(lf.create_model("whitened_recency", input_dim=DIM).eval(), store)
    again = lf.adapt_to(lf.adapt_to(model, other), store)
    np.testing.assert_array_equal(again.keys(store.vectors), fresh.keys(store.vectors))


def test_the_packaged_model_is_adapted_where_a_path_names_it() -> None:
    from lvm_fast.inference.predict_text import adapted

    assert adapted("general", lf.sample()).hubness == {"queries": QUERIES, "neighbours": 10, "strength": STRENGTH}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queries": -1}, "adapt_to: queries: expected a whole number of at least 0, got -1"),
        ({"model": "general"}, "adapt_to: model: expected a LatentVectorModel, got a str"),
        ({"store": lf.ChainStore(np.eye(3, 5, dtype=np.float32), [0, 3])}, "5 dimensions; expected 6"),
    ],
)
def test_bad_input_is_named(model: Any, store: lf.ChainStore, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lf.adapt_to(**{"model": model, "store": store, **options})
