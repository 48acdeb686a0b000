"""Corrects the search of a model that starts at a closed form for hubness, as far as validation asks for it."""

from __future__ import annotations

import numpy as np

from ..data.windows import GivenWindows, Windows
from ..evaluation.predictions import answer_windows
from ..models.base import LatentVectorModel
from .validation import Validation

STRENGTHS = (0.0, 0.25, 0.5, 0.75)  # that validation chooses from, by MRR
NEIGHBOURS = 10


def choose_query_bank(
    validation: Validation, model: LatentVectorModel, training: Windows, most: int, seed: int
) -> float:
    """Give a model a query bank of its own predictions for training contexts; return the strength of the correction.

    Where validation prefers none, the model gets no query bank, and the strength is 0.

    Args:
        validation: Its questions.
        model: A model in a space.
        training: The training windows, of the encoder's own vectors.
        most: The most predictions M in the bank.
        seed: Of the choice of contexts.
    """
    windows = _contexts(training, most, seed)
    queries = answer_windows(model, windows).predicted
    scores = {0.0: validation.score(model)["mrr"]}
    for strength in STRENGTHS[1:]:
        model.set_query_bank(queries, strength, min(NEIGHBOURS, len(queries)))
        scores[strength] = validation.score(model)["mrr"]
    best = max(scores, key=scores.__getitem__)
    if best:
        model.set_query_bank(queries, best, min(NEIGHBOURS, len(queries)))
    else:
        model.drop_query_bank()
    return best


def keep_query_bank(model: LatentVectorModel, own_run: LatentVectorModel) -> None:
    """Give a model that goes on with a run the query bank of the run's best model."""
    if own_run.hubness is not None and own_run.space is not None and own_run.space.query_bank is not None:
        facts = own_run.hubness
        model.set_query_bank(own_run.space.query_bank.float().cpu().numpy(), facts["strength"], facts["neighbours"])


def _contexts(training: Windows, most: int, seed: int) -> Windows:
    """Lay out at most so many contexts of the training chains, which end at every place alike."""
    if isinstance(training, GivenWindows):
        starts, targets, store = training.starts, training.targets, training.store
    else:
        store = training.store
        everywhere = Windows(store, training.context_length, max(1, len(store.vectors) // most), 2)
        starts, targets = everywhere.starts, everywhere.targets
    chosen = np.sort(np.random.default_rng(seed).permutation(len(targets))[:most])
    return GivenWindows(store, starts[chosen], targets[chosen])
