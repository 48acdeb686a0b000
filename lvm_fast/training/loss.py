"""What training minimises: how far a prediction is from the true next vector, and from being found by it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels import l2_normalize, reconstruct

ALIKE = 0.995  # cosine from which on two chunks are near-copies; splits cut such ones out of the held-out part


class Candidates(NamedTuple):
    """What InfoNCE chooses from, where that is more than the batch at hand.

    Attributes:
        vectors: Unit true next vectors (C, D).
        places: Where each target of the batch at hand is among them, int64 (B,).
    """

    vectors: Tensor
    places: Tensor


def next_vector_loss(
    current: Tensor,
    delta: Tensor,
    target: Tensor,
    alpha: float,
    temperature: float,
    candidates: Candidates | None = None,
) -> Tensor:
    """MSE + 0.5 (1 - cos) + alpha InfoNCE on the reconstructed, normalised prediction and the normalised target.

    Without `candidates` InfoNCE has the reference's plain form: every other target of the batch counts as a wrong
    answer, even one that equals the right one. With them every candidate does, but for near-copies of the right answer
    (cosine `ALIKE` or more): the same chunk elsewhere in the batch, or a duplicate of it. Memory and work grow with
    B x C: thousands of candidates are cheap beside a model, those of many whole chains at once are not.

    Args:
        current: Last context vectors (B, D).
        delta: Predicted steps (B, D).
        target: True next vectors (B, D).
        alpha: Weight of InfoNCE; 0 leaves it out.
        temperature: Cosines are divided by it before the softmax.
        candidates: What InfoNCE chooses from; the targets unless given.

    Returns:
        The mean over the batch, ().

    Source of InfoNCE: van den Oord et al., Representation Learning with Contrastive Predictive Coding (2018), eq. 4.
    """
    predicted, wanted = reconstruct(current, delta), l2_normalize(target)  # (B, D)
    loss = F.mse_loss(predicted, wanted) + 0.5 * (1.0 - (predicted * wanted).sum(dim=1).mean())
    if alpha == 0.0:
        return loss
    if candidates is None:
        scores = predicted @ wanted.T / temperature  # (B, B)
        return loss + alpha * F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))
    vectors, places = candidates
    scores = (predicted / temperature) @ vectors.T  # (B, C)
    others = places[:, None] != torch.arange(len(vectors), device=places.device)  # (B, C)
    near_copies = (wanted @ vectors.T >= ALIKE) & others
    return loss + alpha * F.cross_entropy(scores.masked_fill(near_copies, -torch.inf), places)
