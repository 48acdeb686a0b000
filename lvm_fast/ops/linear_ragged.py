"""Linear maps of sequences of several lengths as torch operators: autograd, torch.compile, no product with padding."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._util.operators import check_lengths, check_tensors, define_operator
from .gru_naive import within

_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def _fake(inputs: Tensor, weight: Tensor, bias: Tensor | None, lengths: Tensor) -> Tensor:
    _check(inputs, weight, bias, lengths)
    return inputs.new_empty(*inputs.shape[:2], weight.shape[0])


def _check(inputs: Tensor, weight: Tensor, bias: Tensor | None, lengths: Tensor) -> None:
    (steps, batch), (out, width), dtype = (*inputs.shape, 0, 0)[:2], (*weight.shape, 0, 0)[:2], inputs.dtype
    check_tensors(
        "linear_within",
        inputs=(inputs, _FLOATS, (steps, batch, width)),
        weight=(weight, dtype, (out, width)),
        bias=(bias, dtype, (out,)),
        lengths=(lengths, torch.int64, (batch,)),
    )


def _plain(inputs: Tensor, weight: Tensor, bias: Tensor | None, lengths: Tensor) -> Tensor:
    return within(F.linear(within(inputs, lengths), weight, bias), lengths)


def _save(ctx: Any, given: tuple[Any, ...], result: Tensor) -> None:
    inputs, weight, bias, lengths = given
    ctx.has_bias = bias is not None
    ctx.save_for_backward(inputs, weight, lengths)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    inputs, weight, lengths = ctx.saved_tensors
    grad_inputs = linear_within(grad, weight.T, None, lengths) if ctx.needs_input_grad[0] else None
    grad_weight, grad_bias = linear_gradients_within(grad, inputs, lengths)
    return grad_inputs, grad_weight, grad_bias if ctx.has_bias else None, None


@define_operator(fake=_fake, plain=_plain, save=_save, backward=_differentiate, device="cpu")
def linear_within(inputs: Tensor, weight: Tensor, bias: Tensor | None, lengths: Tensor) -> Tensor:
    """`torch.nn.functional.linear` of every step within its sequence's length; zeros beyond.

    Args:
        inputs: (N, B, I); what lies beyond a length may be anything.
        weight: (O, I) of the same dtype.
        bias: (O,) of the same dtype.
        lengths: (B,) int64, non-increasing, each at most N.

    Returns:
        (N, B, O).
    """
    _check(inputs, weight, bias, lengths)
    check_lengths("linear_within", lengths, inputs.shape[0])
    with torch.autocast("cpu", enabled=False):
        if _is_full(inputs, lengths):
            return F.linear(inputs, weight, bias)
        rows = _rows_within(inputs, lengths)
        mapped = F.linear(inputs.flatten(0, 1).index_select(0, rows), weight, bias)
        every = mapped.new_zeros(inputs.shape[0] * inputs.shape[1], mapped.shape[1])
        return every.index_copy_(0, rows, mapped).view(*inputs.shape[:2], mapped.shape[1])


def _fake_gradients(grad: Tensor, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    _check_gradients(grad, inputs, lengths)
    return grad.new_empty(grad.shape[-1], inputs.shape[-1]), grad.new_empty(grad.shape[-1])


def _check_gradients(grad: Tensor, inputs: Tensor, lengths: Tensor) -> None:
    (steps, batch), out, width = (*inputs.shape, 0, 0)[:2], grad.shape[-1], inputs.shape[-1]
    check_tensors(
        "linear_gradients_within",
        inputs=(inputs, _FLOATS, (steps, batch, width)),
        grad=(grad, inputs.dtype, (steps, batch, out)),
        lengths=(lengths, torch.int64, (batch,)),
    )


def _plain_gradients(grad: Tensor, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    above = within(grad, lengths)
    return torch.einsum("nbo,nbi->oi", above, within(inputs, lengths)), above.sum(dim=(0, 1))


@define_operator(fake=_fake_gradients, plain=_plain_gradients, device="cpu")
def linear_gradients_within(grad: Tensor, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of `linear_within`'s weight (O, I) and bias (O,).

    Args:
        grad: (N, B, O), of its result; what lies beyond a length may be anything.
        inputs: (N, B, I) of the same dtype.
        lengths: As there.
    """
    _check_gradients(grad, inputs, lengths)
    check_lengths("linear_gradients_within", lengths, inputs.shape[0])
    with torch.autocast("cpu", enabled=False):
        above, below = grad.flatten(0, 1), inputs.flatten(0, 1)
        if not _is_full(inputs, lengths):
            rows = _rows_within(inputs, lengths)
            above, below = above.index_select(0, rows), below.index_select(0, rows)
        return above.T @ below, above.sum(dim=0)


def _is_full(inputs: Tensor, lengths: Tensor) -> bool:
    return bool((lengths >= inputs.shape[0]).all())


def _rows_within(inputs: Tensor, lengths: Tensor) -> Tensor:
    """Rows of the flat (N B, I) inputs, step by step, that lie within their sequence's length."""
    return (torch.arange(inputs.shape[0])[:, None] < lengths).flatten().nonzero().squeeze(1)
