"""Many linear maps, each for rows of its own, as one torch operator: for autograd, autocast and torch.compile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .._util.operators import check_tensors, define_operator

_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def _fake(rows: Tensor, groups: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    _check("grouped_linear", rows, groups, weight, bias)
    return rows.new_empty(rows.shape[0], weight.shape[1])


def _check(operator: str, rows: Tensor, groups: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
    (count, out, width), dtype = (*weight.shape, 0, 0, 0)[:3], rows.dtype
    check_tensors(
        operator,
        rows=(rows, _FLOATS, (*rows.shape[:1], width)),
        groups=(groups, torch.int64, tuple(rows.shape[:1])),
        weight=(weight, dtype, (count, out, width)),
        bias=(bias, dtype, (count, out)),
    )


def _plain(rows: Tensor, groups: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    every = torch.einsum("ri,goi->rgo", rows, weight) + bias  # by all maps
    return every[torch.arange(rows.shape[0], device=rows.device), groups]


def _save(ctx: Any, given: tuple[Tensor, ...], result: Tensor) -> None:
    ctx.save_for_backward(*given[:3])


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grad_rows, grad_weight, grad_bias = grouped_linear_backward(grad, *ctx.saved_tensors)
    return grad_rows, None, grad_weight, grad_bias


@define_operator(fake=_fake, plain=_plain, save=_save, backward=_differentiate)
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
    _check("grouped_linear", rows, groups, weight, bias)
    out = rows.new_empty(len(rows), weight.shape[1])
    for group, members in _rows_by_group("grouped_linear", groups, len(weight)):
        out[members] = torch.addmm(bias[group], rows[members], weight[group].T)
    return out


def _fake_backward(grad: Tensor, rows: Tensor, groups: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    _check_backward(grad, rows, groups, weight)
    return rows.new_empty(rows.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape[:2])


def _check_backward(grad: Tensor, rows: Tensor, groups: Tensor, weight: Tensor) -> None:
    _check("grouped_linear_backward", rows, groups, weight)
    check_tensors("grouped_linear_backward", grad=(grad, rows.dtype, (rows.shape[0], weight.shape[1])))


def _plain_backward(grad: Tensor, rows: Tensor, groups: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    members = groups[:, None] == torch.arange(weight.shape[0], device=groups.device)  # (R, G)
    pulls = torch.where(members[..., None], grad[:, None], 0)  # (R, G, O)
    grad_rows, grad_weight = torch.einsum("rgo,goi->ri", pulls, weight), torch.einsum("rgo,ri->goi", pulls, rows)
    return grad_rows, grad_weight, pulls.sum(dim=0)


@define_operator(fake=_fake_backward, plain=_plain_backward)
def grouped_linear_backward(
    grad: Tensor, rows: Tensor, groups: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of rows (R, I), weight (G, O, I) and bias (G, O), given that of the output, (R, O)."""
    _check_backward(grad, rows, groups, weight)
    grad_rows = rows.new_empty(rows.shape)
    grad_weight, grad_bias = weight.new_zeros(weight.shape), weight.new_zeros(weight.shape[:2])
    for group, members in _rows_by_group("grouped_linear_backward", groups, len(weight)):
        pull = grad[members]
        grad_rows[members] = pull @ weight[group]
        torch.mm(pull.T, rows[members], out=grad_weight[group])
        torch.sum(pull, dim=0, out=grad_bias[group])
    return grad_rows, grad_weight, grad_bias


def _rows_by_group(operator: str, groups: Tensor, count: int) -> Iterator[tuple[int, Tensor]]:
    """Return the groups that have rows, and which."""
    least, most = torch.stack(torch.aminmax(groups)).tolist() if len(groups) else (0, 0)
    if least < 0 or most >= count:
        raise ValueError(f"{operator}: groups are from {least} to {most}; expected 0 to {count - 1}")
    sizes = torch.bincount(groups, minlength=count).tolist()
    for group, members in enumerate(torch.split(groups.argsort(stable=True), sizes)):
        if len(members):
            yield group, members


for _device in ("cpu", "cuda"):
    torch.library.register_autocast(grouped_linear, _device, torch.bfloat16)
