"""Chooses what to keep of an epoch: the model as it is, or with less of what it has learned."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch

from ..models.base import LatentVectorModel
from ..models.in_space import VECTORS
from ..spaces.space import Space
from .validation import Validation

_FACTORS = (1.0, 0.75, 0.5, 0.25)


class Offer(NamedTuple):
    """A model that may be kept, and its scores.

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

    Of a model that began at a closed form, the copy that scores best: validation chooses how far from its start it
    goes, and nowhere where the gain over the start is within two standard errors over chains.

    Args:
        validation: Its questions.
        start: The model before its first step.
    """

    def __init__(self, validation: Validation, start: LatentVectorModel) -> None:
        self._validation = validation
        self._start = copy.deepcopy(start) if start.starts_at_closed_form else None
        self._start_hits = validation.score_and_hits(start)[1] if self._start is not None else None

    def offer(self, model: LatentVectorModel) -> Offer:
        """Return the best of what a model has to offer."""
        if self._start is None:
            return Offer(self._validation.score(model), model)
        start = self._start
        return max((self._shrunk(between(start, model, factor), factor) for factor in _FACTORS), key=_merit)

    def _shrunk(self, model: LatentVectorModel, factor: float) -> Offer:
        scores, hits = self._validation.score_and_hits(model)
        assert self._start_hits is not None
        gain, error = self._validation.gain(hits, self._start_hits)
        gain_scores = {"shrink": factor, "gain": 100.0 * gain, "gain_error": 100.0 * error}
        return Offer({**scores, **gain_scores}, model, gain <= 2 * error)


def between(start: LatentVectorModel, model: LatentVectorModel, factor: float) -> LatentVectorModel:
    """Return a copy of a model with weights on the line from those it started at: 0 is the start, 1 the model itself.

    Interpolated weights are often better than either end: Wortsman et al., "Robust fine-tuning of zero-shot models".
    """
    copied = copy.deepcopy(model)
    if factor < 1:
        with torch.no_grad():
            for mine, first in zip(copied.parameters(), start.parameters(), strict=True):
                mine.copy_(torch.lerp(first.to(mine.device), mine, factor))
    return copied


class Start(NamedTuple):
    """The start that was chosen for a model.

    Attributes:
        strength: That of its space.
        decay: That of the closed form; None where it starts from the candidate.
    """

    strength: float
    decay: float | None


def choose_start(
    validation: Validation,
    model: LatentVectorModel,
    spaces: dict[float, Space],
    candidate: LatentVectorModel | None = None,
) -> Start:
    """Give a model the start that does best on the validation chains, by MRR: its space and its weights.

    It then searches the encoder's vectors with its prediction, which finds more than its keys do: the length of
    x - mean, which keys do not have, counts too. Each start is judged by the better of both searches: of small
    validation parts the keys tell more.

    Args:
        validation: Its questions.
        model: A model that starts at a closed form.
        spaces: The spaces to choose from, by strength.
        candidate: A trained model of the same shapes, whose weights may be better than the closed form's.
    """
    mrrs: dict[Start, float] = {}
    for strength, space in spaces.items():
        model.set_space(space)
        for decay in model.start_decays():
            model.start_at(decay)
            mrrs[Start(strength, decay)] = _best_mrr(validation, model)
        if candidate is not None:
            candidate.set_space(space)
            mrrs[Start(strength, None)] = _best_mrr(validation, candidate)
    best = max(mrrs, key=mrrs.__getitem__)
    model.set_space(spaces[best.strength])
    model.config["space"]["search"] = VECTORS
    if best.decay is not None:
        model.start_at(best.decay)
    elif candidate is not None:
        take_weights(model, candidate)
    return best


def take_weights(model: LatentVectorModel, other: LatentVectorModel) -> None:
    """Give a model the weights of another of the same shapes; its space stays its own."""
    with torch.no_grad():
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
            mine.copy_(theirs)


def _best_mrr(validation: Validation, model: LatentVectorModel) -> float:
    """Return the MRR of a model that searches its keys or the vectors, whichever is higher."""
    scores = []
    for search in ("keys", VECTORS):
        model.config["space"]["search"] = search
        scores.append(validation.score(model)["mrr"])
    return max(scores)


def _merit(offer: Offer) -> tuple[float, float]:
    return offer.scores["hit5"], offer.scores["mrr"]
