"""Brings a model home to a store that it was not trained on: the store's space, and its correction for hubness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._util.numbers import whole_number
from ..models.base import LatentVectorModel
from ..spaces import fit_space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.chain_store import ChainStore

QUERIES, LONGEST, STRENGTH = 2048, 16, 0.5  # chosen on validation parts of corpora that the model was not trained on
_NEIGHBOURS, _BATCH = 10, 128


def adapt_to(model: LatentVectorModel, store: ChainStore, queries: int = QUERIES) -> LatentVectorModel:
    """Give a model the whitened space of a store, and correct its search for the store's hubs; nothing is trained.

    The space is `fit_space` of the store's vectors. The query bank of the correction (models/hubness.py) holds the
    model's predictions for contexts of the store of at most 16 chunks, which end at random places.

    Args:
        model: A model made for a whitened space, such as ``load_model("general")``; it is changed.
        store: The chunks to search, of the encoder that the model reads. It may not hold the questions that the model
            is to be evaluated with.
        queries: The most predictions in the query bank; 0 leaves the correction out.

    Returns:
        The model.

    Raises:
        ValueError: The model is no `LatentVectorModel`, the store has another width, or `queries` is negative.
    """
    if not isinstance(model, LatentVectorModel):
        raise ValueError(f"adapt_to: model: expected a LatentVectorModel, got a {type(model).__name__}")
    queries = whole_number(queries, "adapt_to: queries", least=0)
    model.set_space(fit_space(store.vectors))
    places = np.setdiff1d(np.arange(len(store.vectors)), store.offsets[:-1])  # what follows another chunk
    if queries and len(places):
        ends = np.sort(np.random.default_rng(0).permutation(places)[:queries])
        bank = _predictions(model, store, ends)
        model.set_query_bank(bank, STRENGTH, min(_NEIGHBOURS, len(bank)))
    return model


def _predictions(model: LatentVectorModel, store: ChainStore, ends: NDArray[np.int64]) -> NDArray[np.float32]:
    """Predict what comes at these rows of a store, (M, D)."""
    starts = np.maximum(store.offsets[store.chain_of(ends)], ends - LONGEST)
    predicted = []
    for first in range(0, len(ends), _BATCH):
        begins, lengths = starts[first : first + _BATCH], (ends - starts)[first : first + _BATCH]
        context = np.zeros((len(begins), lengths.max(), store.dim), np.float32)
        for row, (begin, length) in enumerate(zip(begins, lengths, strict=True)):
            context[row, :length] = store.vectors[begin : begin + length]
        predicted.append(model.predict(context, lengths))
    return np.concatenate(predicted)
