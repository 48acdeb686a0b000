"""What training minimises: how far a prediction is from the true next vector, and from being found by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...ops.rowwise import l2_normalize, reconstruct
from .infonce import candidate_logsumexp


class Negatives(NamedTuple):
    """The wrong answers of a batch of predictions. All vectors have unit length.

    Attributes:
        shared: Candidates of every prediction (C, D); the batch's own targets where None.
        struck: Predictions and the shared candidates that do not count for them, int64 (2, K): the right answer and its
            near-copies. Given with `shared`.
        own: Wrong answers of each prediction alone (B, M, D).
        is_there: Which of them are there, bool (B, M); the others are padding. Given with `own`.
    """

    shared: Tensor | None = None
    struck: Tensor | None = None
    own: Tensor | None = None
    is_there: Tensor | None = None


def next_vector_loss(
    current: Tensor,
    delta: Tensor,
    target: Tensor,
    alpha: float,
    temperature: float,
    negatives: Negatives | None = None,
    adapted: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """MSE + 0.5 (1 - cos) + alpha InfoNCE on the reconstructed, normalised prediction and the normalised target.

    InfoNCE is the cross-entropy of the right answer among itself and the wrong ones. Without `negatives` it has the
    reference's plain form: every other target of the batch is a wrong answer, even one that equals the right one. A
    wrong answer that is there twice, shared and a prediction's own, counts twice.

    Args:
        current: Last context vectors (B, D).
        delta: Predicted steps (B, D).
        target: True next vectors (B, D).
        alpha: Weight of InfoNCE; 0 leaves it out.
        temperature: Cosines are divided by it before the softmax.
        negatives: The wrong answers; the other targets unless given.
        adapted: How the model adapts what its predictions are compared with, (..., D) -> (..., D), if it does.

    Returns:
        The mean over the batch, ().

    Source of InfoNCE: van den Oord et al., Representation Learning with Contrastive Predictive Coding (2018), eq. 4.
    """
    predicted, wanted = reconstruct(current, delta), l2_normalize(target)  # (B, D)
    cosine = (predicted * wanted).sum(dim=1)  # (B,)
    loss = F.mse_loss(predicted, wanted) + 0.5 * (1.0 - cosine.mean())
    if alpha == 0.0:
        return loss
    if adapted is not None:
        wanted, negatives = adapted(wanted), _adapted(negatives or Negatives(), adapted)
        cosine = (predicted * wanted).sum(dim=1)
    right = cosine / temperature
    wrong = _wrong_answers(predicted, wanted, temperature, negatives or Negatives())  # (B, ...)
    everything = torch.cat([right[:, None], *wrong], dim=1).logsumexp(dim=1)
    return loss + alpha * (everything - right).mean()


def _adapted(negatives: Negatives, adapted: Callable[[Tensor], Tensor]) -> Negatives:
    found = {name: getattr(negatives, name) for name in ("shared", "own")}
    return negatives._replace(**{name: adapted(rows) for name, rows in found.items() if rows is not None})


def _wrong_answers(predicted: Tensor, wanted: Tensor, temperature: float, negatives: Negatives) -> list[Tensor]:
    """Logits of the wrong answers: one that stands for all shared ones (B, 1), and each prediction's own (B, M)."""
    shared, struck, own, is_there = negatives
    if shared is None or struck is None:
        shared, struck = (
            wanted if wanted.requires_grad else wanted.detach(),
            torch.arange(len(wanted), device=wanted.device).expand(2, -1),
        )
    logits = [candidate_logsumexp(predicted, shared, struck, 1.0 / temperature)[0][:, None]]
    if own is not None and is_there is not None:
        scores = torch.einsum("bd,bmd->bm", predicted / temperature, own)
        logits.append(scores.masked_fill(~is_there, -torch.inf))
    return logits
