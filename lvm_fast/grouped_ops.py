"""Many linear maps, each for rows of its own, as one torch operator: for autograd, autocast and torch.compile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


@torch.library.custom_op("lvm_fast::grouped_linear", mutates_args=())
def grouped_linear(rows: Tensor, weight: Tensor, bias: Tensor, counts: Tensor) -> Tensor:
    """``x W_g^T + b_g`` for each row x of group g; a group without rows costs nothing.

    Args:
        rows: (R, I), those of a group next to each other, groups in order.
        weight: (G, O, I).
        bias: (G, O).
        counts: Rows of each group, integers (G,), R together.

    Returns:
        (R, O).
    """
    out = rows.new_empty(len(rows), weight.shape[1])
    for group, part in _parts(counts):
        torch.addmm(bias[group], rows[part], weight[group].T, out=out[part])
    return out


@grouped_linear.register_fake
def _(rows: Tensor, weight: Tensor, bias: Tensor, counts: Tensor) -> Tensor:
    return rows.new_empty(rows.shape[0], weight.shape[1])


@torch.library.custom_op("lvm_fast::grouped_linear_backward", mutates_args=())
def grouped_linear_backward(
    grad: Tensor, rows: Tensor, weight: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of rows (R, I), weight (G, O, I) and bias (G, O), given that of the output, (R, O)."""
    grad_rows, grad_weight = torch.empty_like(rows), torch.zeros_like(weight)
    grad_bias = weight.new_zeros(weight.shape[:2])
    for group, part in _parts(counts):
        torch.mm(grad[part], weight[group], out=grad_rows[part])
        torch.mm(grad[part].T, rows[part], out=grad_weight[group])
        torch.sum(grad[part], dim=0, out=grad_bias[group])
    return grad_rows, grad_weight, grad_bias


@grouped_linear_backward.register_fake
def _(grad: Tensor, rows: Tensor, weight: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(rows), torch.empty_like(weight), weight.new_empty(weight.shape[:2])


def _parts(counts: Tensor) -> Iterator[tuple[int, slice]]:
    """The groups that have rows, and where those are."""
    first = 0
    for group, count in enumerate(counts.tolist()):
        if count:
            yield group, slice(first, first + count)
        first += count


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    rows, weight, _, counts = inputs
    ctx.save_for_backward(rows, weight, counts)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *torch.ops.lvm_fast.grouped_linear_backward(grad, *ctx.saved_tensors), None


grouped_linear.register_autograd(_backward, setup_context=_save)
for _device in ("cpu", "cuda"):
    grouped_linear.register_autocast(_device, torch.bfloat16)
