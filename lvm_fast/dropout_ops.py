"""Dropout as a torch operator whose mask is drawn again from a seed: nothing is kept for the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _core


@torch.library.custom_op("lvm_fast::dropout", mutates_args=(), device_types="cpu")
def dropout(x: Tensor, share: float, seed: Tensor) -> Tensor:
    """Zero numbers of x, float32 or bfloat16, with probability `share`, and scale the others by 1 / (1 - share).

    Args:
        seed: (1,) int64: what is dropped is a function of it and of the position in memory order.
    """
    if x.dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"dropout: x has dtype {x.dtype}; expected torch.float32 or torch.bfloat16")
    x = x.contiguous()
    out = torch.empty_like(x)
    number = int(seed) & (2**64 - 1)
    _core.dropout(x.data_ptr(), x.dtype == torch.bfloat16, x.numel(), share, number, out.data_ptr())
    return out


@dropout.register_fake
def _(x: Tensor, share: float, seed: Tensor) -> Tensor:
    return torch.empty_like(x.contiguous())


def _save_dropout(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, ctx.share, seed = inputs
    ctx.save_for_backward(seed)


def _dropout_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (seed,) = ctx.saved_tensors
    return torch.ops.lvm_fast.dropout(grad, ctx.share, seed), None, None


dropout.register_autograd(_dropout_backward, setup_context=_save_dropout)
