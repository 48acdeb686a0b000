"""Linear maps of sequences of several lengths as torch operators: autograd, torch.compile, no product with padding."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.library.custom_op("lvm_fast::linear_within", mutates_args=(), device_types="cpu")
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
    with torch.autocast("cpu", enabled=False):
        if _is_full(inputs, lengths):
            return F.linear(inputs, weight, bias)
        rows = _rows_within(inputs, lengths)
        mapped = F.linear(inputs.flatten(0, 1).index_select(0, rows), weight, bias)
        every = mapped.new_zeros(inputs.shape[0] * inputs.shape[1], mapped.shape[1])
        return every.index_copy_(0, rows, mapped).view(*inputs.shape[:2], mapped.shape[1])


@torch.library.custom_op("lvm_fast::linear_gradients_within", mutates_args=(), device_types="cpu")
def linear_gradients_within(grad: Tensor, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of `linear_within`'s weight (O, I) and bias (O,).

    Args:
        grad: (N, B, O), of its result; what lies beyond a length may be anything.
        inputs: (N, B, I) of the same dtype.
        lengths: As there.
    """
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


@linear_within.register_fake
def _(inputs: Tensor, weight: Tensor, bias: Tensor | None, lengths: Tensor) -> Tensor:
    return inputs.new_empty(*inputs.shape[:2], weight.shape[0])


@linear_gradients_within.register_fake
def _(grad: Tensor, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    return grad.new_empty(grad.shape[-1], inputs.shape[-1]), grad.new_empty(grad.shape[-1])


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    steps, weight, bias, lengths = inputs
    ctx.has_bias = bias is not None
    ctx.save_for_backward(steps, weight, lengths)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    inputs, weight, lengths = ctx.saved_tensors
    operators, wants = torch.ops.lvm_fast, ctx.needs_input_grad
    grad_inputs = operators.linear_within(grad, weight.T, None, lengths) if wants[0] else None
    grad_weight, grad_bias = operators.linear_gradients_within(grad, inputs, lengths)
    return grad_inputs, grad_weight, grad_bias if ctx.has_bias else None, None


linear_within.register_autograd(_backward, setup_context=_save_for_backward)
