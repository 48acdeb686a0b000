"""What training minimises: how far a prediction is from the true next vector, and from being found by it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels import l2_normalize, reconstruct


def next_vector_loss(current: Tensor, delta: Tensor, target: Tensor, alpha: float, temperature: float) -> Tensor:
    """MSE + 0.5 (1 - cos) + alpha InfoNCE on the reconstructed, normalised prediction and the normalised target.

    InfoNCE has the batch as its candidates, in the reference's plain form: every other target of the batch counts as a
    wrong answer, even one that equals the right one.

    Args:
        current: Last context vectors (B, D).
        delta: Predicted steps (B, D).
        target: True next vectors (B, D).
        alpha: Weight of InfoNCE; 0 leaves it out.
        temperature: Cosines are divided by it before the softmax.

    Returns:
        The mean over the batch, ().

    Source of InfoNCE: van den Oord et al., Representation Learning with Contrastive Predictive Coding (2018), eq. 4.
    """
    predicted, wanted = reconstruct(current, delta), l2_normalize(target)  # (B, D)
    loss = F.mse_loss(predicted, wanted) + 0.5 * (1.0 - (predicted * wanted).sum(dim=1).mean())
    if alpha == 0.0:
        return loss
    scores = predicted @ wanted.T / temperature  # (B, B)
    return loss + alpha * F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))
