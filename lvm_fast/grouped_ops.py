"""Many linear maps, each for rows of its own, as one torch operator: for autograd, autocast and torch.compile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


@torch.library.custom_op("lvm_fast::grouped_linear", mutates_args=())
def grouped_linear(rows: Tensor, groups: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x W_g^T + b_g`` for each row x of group g; a group without rows costs nothing.

    Args:
        rows: (R, I).
        groups: The group of each row, 0 to G - 1, int64 (R,).
        weight: (G, O, I).
        bias: (G, O).

    Returns:
        (R, O).
    """
    out = rows.new_empty(len(rows), weight.shape[1])
    for group, own in _rows_by_group(groups, len(weight)):
        out[own] = torch.addmm(bias[group], rows[own], weight[group].T)
    return out


@grouped_linear.register_fake
def _(rows: Tensor, groups: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return rows.new_empty(rows.shape[0], weight.shape[1])


@torch.library.custom_op("lvm_fast::grouped_linear_backward", mutates_args=())
def grouped_linear_backward(
    grad: Tensor, rows: Tensor, groups: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of rows (R, I), weight (G, O, I) and bias (G, O), given that of the output, (R, O)."""
    grad_rows = rows.new_empty(rows.shape)
    grad_weight, grad_bias = weight.new_zeros(weight.shape), weight.new_zeros(weight.shape[:2])
    for group, own in _rows_by_group(groups, len(weight)):
        pull = grad[own]
        grad_rows[own] = pull @ weight[group]
        torch.mm(pull.T, rows[own], out=grad_weight[group])
        torch.sum(pull, dim=0, out=grad_bias[group])
    return grad_rows, grad_weight, grad_bias


@grouped_linear_backward.register_fake
def _(grad: Tensor, rows: Tensor, groups: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return rows.new_empty(rows.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape[:2])


def _rows_by_group(groups: Tensor, count: int) -> Iterator[tuple[int, Tensor]]:
    """The groups that have rows, and which."""
    sizes = torch.bincount(groups, minlength=count).tolist()
    for group, own in enumerate(torch.split(groups.argsort(stable=True), sizes)):
        if len(own):
            yield group, own


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grad_rows, grad_weight, grad_bias = torch.ops.lvm_fast.grouped_linear_backward(grad, *ctx.saved_tensors)
    return grad_rows, None, grad_weight, grad_bias


grouped_linear.register_autograd(_backward, setup_context=_save)
for _device in ("cpu", "cuda"):
    grouped_linear.register_autocast(_device, torch.bfloat16)
