"""What an epoch offers to keep: the model as it is, or with less of what it has learned."""

from __future__ import annotations

import copy
from typing import NamedTuple

from ..models.base import LatentVectorModel
from ..models.in_space import VECTORS
from ..spaces.space import Space
from .validation import Validation

_FACTORS = (1.0, 0.75, 0.5, 0.25)


class Offer(NamedTuple):
    """What may be kept.

    Attributes:
        scores: Those of `Validation.score`; of a model that began at a closed form also "shrink", how much of what it
            has learned counts, "gain", the Hit@5 over the closed form in percent, and "gain_error", its standard error.
        model: What has these scores.
        is_noise: The gain is no larger than two of its standard errors.
    """

    scores: dict[str, float]
    model: LatentVectorModel
    is_noise: bool = False


class Selection:
    """Chooses what a run keeps, on the validation chains.

    Of a model that began at a closed form, the copy that scores best: validation chooses how much of the residual
    counts, and nothing of it where the gain over the start is within two standard errors over chains. It also chooses
    whether the model searches its space or the encoder's vectors, by plain cosine.

    Args:
        validation: Its questions.
        start: The model before its first step.
    """

    def __init__(self, validation: Validation, start: LatentVectorModel) -> None:
        self._validation = validation
        self._start = validation.score_and_hits(start)[1] if start.starts_at_closed_form else None

    def offer(self, model: LatentVectorModel) -> Offer:
        """The best of what a model has to offer."""
        if self._start is None:
            return Offer(self._validation.score(model), model)
        best = max((self._told(model.shrunk(factor), factor) for factor in _FACTORS), key=_merit)
        if model.space is None:
            return best
        other = search_other(copy.deepcopy(best.model))
        return max((best, self._told(other, best.scores["shrink"])), key=_merit)

    def _told(self, shrunk: LatentVectorModel, factor: float) -> Offer:
        scores, hits = self._validation.score_and_hits(shrunk)
        assert self._start is not None
        gain, error = self._validation.gain(hits, self._start)
        told = {"shrink": factor, "gain": 100.0 * gain, "gain_error": 100.0 * error}
        return Offer({**scores, **told}, shrunk, gain <= 2 * error)


def search_other(model: LatentVectorModel) -> LatentVectorModel:
    """Have a model in a space search the encoder's vectors, or its keys if it does that already; return it."""
    model.config["space"]["search"] = "keys" if model.searches_vectors else VECTORS
    return model


class Start(NamedTuple):
    """What a closed form was chosen to be: the strength of its space, its decay, and what it searches."""

    strength: float
    decay: float
    search: str


def choose_start(validation: Validation, model: LatentVectorModel, spaces: dict[float, Space]) -> Start:
    """Give a model the closed form that does best on the validation chains, by MRR: its space, decay and search.

    Args:
        validation: Its questions.
        model: A model that starts at a closed form.
        spaces: The spaces to choose from, by strength.
    """
    found: dict[Start, float] = {}
    for strength, space in spaces.items():
        model.set_space(space)
        for decay in model.start_decays():
            model.start_at(decay)
            for search in ("keys", VECTORS):
                model.config["space"]["search"] = search
                found[Start(strength, decay, search)] = validation.score(model)["mrr"]
    best = max(found, key=found.__getitem__)
    model.set_space(spaces[best.strength])
    model.start_at(best.decay)
    model.config["space"]["search"] = best.search
    return best


def _merit(offer: Offer) -> tuple[float, float]:
    return offer.scores["hit5"], offer.scores["mrr"]
