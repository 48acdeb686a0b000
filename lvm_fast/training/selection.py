"""What an epoch offers to keep: the model as it is, or with less of what it has learned."""

from __future__ import annotations

from ..models.base import LatentVectorModel
from .validation import Validation

_FACTORS = (1.0, 0.75, 0.5, 0.25)


def best_offer(validation: Validation, model: LatentVectorModel) -> tuple[dict[str, float], LatentVectorModel]:
    """The scores of a model, and the model that has them.

    Of a model that began at a closed form, the copy that scores best: validation chooses how much of the residual
    counts ("shrink"). Scores are those of `Validation.score`.
    """
    if not model.starts_at_closed_form:
        return validation.score(model), model
    offers = [(model.shrunk(factor), factor) for factor in _FACTORS]
    scored = [({**validation.score(offer), "shrink": factor}, offer) for offer, factor in offers]
    return max(scored, key=lambda one: (one[0]["hit5"], one[0]["mrr"]))
