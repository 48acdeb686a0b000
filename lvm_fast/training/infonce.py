"""InfoNCE's normaliser over many candidates, block by block, as a torch operator: autograd and torch.compile.

The candidates are data, so only predictions get a gradient; it is the mean of the candidates, weighted by the softmax,
and is taken along going forward. Memory is O(B x (D + block)), never B x C.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_BLOCK_SCORES = 1 << 22  # scores held at a time: 16 MB
_LEAST_BLOCK = 256  # candidates
_NEGLIGIBLE = 1e-30  # a weight below it is taken for zero: products with denormals take a hundred times longer


@torch.library.custom_op("lvm_fast::candidate_logsumexp", mutates_args=())
def candidate_logsumexp(predicted: Tensor, candidates: Tensor, struck: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """log sum exp(scale * score) of each prediction over all candidates but those struck out.

    Args:
        predicted: (B, D) float32 or float64; differentiable.
        candidates: (C, D) of the same dtype, or bfloat16: the products then take bfloat16 numbers. Data, not
            differentiable.
        struck: (2, K) int64: predictions, and the candidates that do not count for them.
        scale: Positive; the inverse of the temperature.

    Returns:
        (B,), -infinity where nothing is left; and the mean candidate (B, D), weighted by the softmax, which is the
        gradient over `scale`, not differentiable.
    """
    highest = predicted.new_full((len(predicted), 1), torch.finfo(predicted.dtype).min)
    total, mean = torch.zeros_like(highest), torch.zeros_like(predicted)
    asked = (scale * predicted).to(candidates.dtype)
    size = max(_LEAST_BLOCK, _BLOCK_SCORES // max(1, len(predicted)))
    for first in range(0, len(candidates), size):
        block = candidates[first : first + size]
        scores = (asked @ block.T).to(predicted.dtype)  # (B, block)
        rows, places = struck[:, (struck[1] >= first) & (struck[1] < first + len(block))]
        scores[rows, places - first] = -torch.inf
        higher = torch.maximum(highest, scores.amax(dim=1, keepdim=True))
        weights = torch.threshold_(scores.sub_(higher).exp_(), _NEGLIGIBLE, 0.0)
        shrink = torch.exp(highest - higher)
        total = total * shrink + weights.sum(dim=1, keepdim=True)
        mean.mul_(shrink).add_(weights.to(block.dtype) @ block)
        highest = higher
    return (highest + total.log()).squeeze(1), mean / total.clamp_min(_NEGLIGIBLE)


@candidate_logsumexp.register_fake
def _(predicted: Tensor, candidates: Tensor, struck: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    return predicted.new_empty(predicted.shape[0]), torch.empty_like(predicted)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.scale = inputs[3]
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor, None, None, None]:
    (mean,) = ctx.saved_tensors
    return grad[:, None] * mean * ctx.scale, None, None, None


candidate_logsumexp.register_autograd(_backward, setup_context=_save)


def near_copies(wanted: Tensor, candidates: Tensor, least: float) -> Tensor:
    """Pairs with a cosine of at least `least`: unit rows (B, D) and (C, D) -> (2, K), rows above and candidates below.

    Works in blocks; no gradient.
    """
    found = []
    size = max(_LEAST_BLOCK, _BLOCK_SCORES // max(1, len(wanted)))
    with torch.no_grad():
        for first in range(0, len(candidates), size):
            pairs = (wanted @ candidates[first : first + size].T >= least).nonzero().T  # (2, k)
            pairs[1] += first
            found.append(pairs)
    return torch.cat(found, dim=1)
