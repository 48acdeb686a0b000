"""What an epoch offers to keep: the model as it is, or with less of what it has learned."""

from __future__ import annotations

from typing import NamedTuple

from ..models.base import LatentVectorModel
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
    counts, and nothing of it where the gain over the start is within two standard errors over chains.

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
        return max((self._shrunk(model, factor) for factor in _FACTORS), key=_merit)

    def _shrunk(self, model: LatentVectorModel, factor: float) -> Offer:
        shrunk = model.shrunk(factor)
        scores, hits = self._validation.score_and_hits(shrunk)
        assert self._start is not None
        gain, error = self._validation.gain(hits, self._start)
        told = {"shrink": factor, "gain": 100.0 * gain, "gain_error": 100.0 * error}
        return Offer({**scores, **told}, shrunk, gain <= 2 * error)


def _merit(offer: Offer) -> tuple[float, float]:
    return offer.scores["hit5"], offer.scores["mrr"]
