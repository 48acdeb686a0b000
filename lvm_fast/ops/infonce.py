"""InfoNCE's normaliser over many candidates, block by block, as a torch operator: autograd and torch.compile.

The candidates are data. The gradient of the predictions is the mean of the candidates, weighted by the softmax, and is
taken along going forward: memory is O(B x (D + block)), never B x C.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._util.operators import check_tensors, define_operator

_BLOCK_SCORES = 1 << 22  # scores held at a time: 16 MB
_LEAST_BLOCK = 256  # candidates
_NEGLIGIBLE = 1e-30  # a weight below it is taken for zero: products with denormals take a hundred times longer


def _fake(predicted: Tensor, candidates: Tensor, masked: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    _check("candidate_logsumexp", predicted, candidates, masked)
    return predicted.new_empty(predicted.shape[0]), predicted.new_empty(predicted.shape)


def _check(operator: str, predicted: Tensor, candidates: Tensor, masked: Tensor) -> None:
    (rows, width), (count, *_), (*_, pairs) = (*predicted.shape, 0, 0)[:2], (*candidates.shape, 0), (0, *masked.shape)
    check_tensors(
        operator,
        predicted=(predicted, (torch.float32, torch.float64), (rows, width)),
        candidates=(candidates, (predicted.dtype, torch.bfloat16), (count, width)),
        masked=(masked, torch.int64, (2, pairs)),
    )


def _plain(predicted: Tensor, candidates: Tensor, masked: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    weights, total, highest = _weights(predicted, candidates, masked, scale)
    is_left = total > 0
    logsumexp = torch.where(is_left, highest + torch.where(is_left, total, 1).log(), -torch.inf)
    return logsumexp.squeeze(1), _mean(weights, total, candidates).detach()


def _weights(predicted: Tensor, candidates: Tensor, masked: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the softmax of the scores (B, C) before its division, its sum and the highest score, (B, 1) each."""
    scores = ((scale * predicted).to(candidates.dtype) @ candidates.T).to(predicted.dtype)
    counts = torch.ones_like(scores, dtype=torch.bool).index_put((masked[0], masked[1]), masked.new_zeros(()) > 0)
    highest = torch.where(counts, scores, torch.finfo(scores.dtype).min).amax(dim=1, keepdim=True).detach()
    weights = torch.where(counts, torch.exp(scores - highest), 0)
    return weights, weights.sum(dim=1, keepdim=True), highest


def _mean(weights: Tensor, total: Tensor, candidates: Tensor) -> Tensor:
    return (weights.to(candidates.dtype) @ candidates).to(weights.dtype) / total.clamp_min(_NEGLIGIBLE)


def _save(ctx: Any, given: tuple[Any, ...], results: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.scale = given
    ctx.save_for_backward(results[1], *tensors)
    ctx.mark_non_differentiable(results[1])


def _differentiate(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    asks_candidates = ctx.needs_input_grad[1]
    on_predicted, on_candidates = candidate_logsumexp_backward(grad, *ctx.saved_tensors, ctx.scale, asks_candidates)
    return on_predicted, on_candidates if asks_candidates else None, None, None


@define_operator(fake=_fake, plain=_plain, save=_save, backward=_differentiate)
def candidate_logsumexp(predicted: Tensor, candidates: Tensor, masked: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Compute log sum exp(scale * score) of each prediction over all candidates but the masked ones.

    Args:
        predicted: (B, D) float32 or float64; differentiable.
        candidates: (C, D) of the same dtype, or bfloat16: the products then take bfloat16 numbers. Data: a gradient of
            theirs takes a (B, C) matrix.
        masked: (2, K) int64: predictions, and the candidates that do not count for them.
        scale: Positive; the inverse of the temperature.

    Returns:
        (B,), -infinity where nothing is left; and the mean candidate (B, D), weighted by the softmax, which is the
        gradient over `scale`, not differentiable.
    """
    _check("candidate_logsumexp", predicted, candidates, masked)
    _check_masked(predicted, candidates, masked)
    highest = predicted.new_full((len(predicted), 1), torch.finfo(predicted.dtype).min)
    total, mean = torch.zeros_like(highest), torch.zeros_like(predicted)
    scaled = (scale * predicted).to(candidates.dtype)
    size = max(_LEAST_BLOCK, _BLOCK_SCORES // max(1, len(predicted)))
    for first in range(0, len(candidates), size):
        block = candidates[first : first + size]
        scores = (scaled @ block.T).to(predicted.dtype)  # (B, block)
        rows, places = masked[:, (masked[1] >= first) & (masked[1] < first + len(block))]
        scores[rows, places - first] = -torch.inf
        higher = torch.maximum(highest, scores.amax(dim=1, keepdim=True))
        weights = torch.threshold_(scores.sub_(higher).exp_(), _NEGLIGIBLE, 0.0)
        shrink = torch.exp(highest - higher)
        total = total * shrink + weights.sum(dim=1, keepdim=True)
        mean.mul_(shrink).add_(weights.to(block.dtype) @ block)
        highest = higher
    return (highest + total.log()).squeeze(1), mean / total.clamp_min(_NEGLIGIBLE)


def _check_masked(predicted: Tensor, candidates: Tensor, masked: Tensor) -> None:
    if masked.numel() == 0:
        return
    least, (row, place) = int(masked.min()), masked.amax(dim=1).tolist()
    if least < 0 or row >= len(predicted) or place >= len(candidates):
        got = f"from {least}, up to prediction {row} and candidate {place}"
        expected = f"0 to {len(predicted) - 1} and 0 to {len(candidates) - 1}"
        raise ValueError(f"candidate_logsumexp: masked is {got}; expected {expected}")


def _fake_backward(
    grad: Tensor,
    mean: Tensor,
    predicted: Tensor,
    candidates: Tensor,
    masked: Tensor,
    scale: float,
    asks_candidates: bool,
) -> tuple[Tensor, Tensor]:
    _check_backward(grad, mean, predicted, candidates, masked)
    return predicted.new_empty(predicted.shape), candidates.new_empty(candidates.shape if asks_candidates else 0)


def _check_backward(grad: Tensor, mean: Tensor, predicted: Tensor, candidates: Tensor, masked: Tensor) -> None:
    operator, dtype = "candidate_logsumexp_backward", predicted.dtype
    _check(operator, predicted, candidates, masked)
    check_tensors(operator, grad=(grad, dtype, predicted.shape[:1]), mean=(mean, dtype, tuple(predicted.shape)))


def _plain_backward(
    grad: Tensor,
    mean: Tensor,
    predicted: Tensor,
    candidates: Tensor,
    masked: Tensor,
    scale: float,
    asks_candidates: bool,
) -> tuple[Tensor, Tensor]:
    weights, total, _ = _weights(predicted, candidates, masked, scale)
    pulls = scale * grad[:, None]  # (B, 1)
    on_predicted = pulls * _mean(weights, total, candidates)
    if not asks_candidates:
        return on_predicted, candidates.new_zeros(0)
    shares = pulls * weights / total.clamp_min(_NEGLIGIBLE)
    return on_predicted, (shares.transpose(0, 1) @ predicted).to(candidates.dtype)


@define_operator(fake=_fake_backward, plain=_plain_backward)
def candidate_logsumexp_backward(
    grad: Tensor,
    mean: Tensor,
    predicted: Tensor,
    candidates: Tensor,
    masked: Tensor,
    scale: float,
    asks_candidates: bool,
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of `candidate_logsumexp`.

    They are of the predictions (B, D) and, if asked for, the candidates (C, D), else empty.

    Args:
        grad: (B,), of its first result.
        mean: (B, D), its second result for the arguments that follow.
    """
    _check_backward(grad, mean, predicted, candidates, masked)
    if asks_candidates:
        return _plain_backward(grad, mean, predicted, candidates, masked, scale, True)
    return grad[:, None] * mean * scale, candidates.new_empty(0)


def near_copies(wanted: Tensor, candidates: Tensor, least: float) -> Tensor:
    """Find pairs with a cosine of at least `least`: unit rows (B, D) and (C, D) -> (2, K), of rows and candidates.

    Works in blocks; no gradient.
    """
    blocks = []
    size = max(_LEAST_BLOCK, _BLOCK_SCORES // max(1, len(wanted)))
    with torch.no_grad():
        for first in range(0, len(candidates), size):
            pairs = (wanted @ candidates[first : first + size].T >= least).nonzero().T  # (2, k)
            pairs[1] += first
            blocks.append(pairs)
    return torch.cat(blocks, dim=1)
