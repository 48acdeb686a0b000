"""Dropout as a torch operator whose mask is drawn again from a seed: nothing is kept for the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._core import dropout as drop_in_core
from .._util.operators import check_tensors, define_operator

_CHANCES = 65536  # a draw is one of so many numbers
_DRAWS = 4  # in 64 random bits
_GOLDEN, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15  # of SplitMix64, signed


def _fake(x: Tensor, p: float, seed: Tensor) -> Tensor:
    _check(x, p, seed)
    return x.new_empty(x.shape)


def _check(x: Tensor, p: float, seed: Tensor) -> None:
    check_tensors(
        "dropout",
        x=(x, (torch.float32, torch.bfloat16), x.shape),
        seed=(seed, torch.int64, (1,)),
    )
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is {p}; expected 0 to 1")


def _plain(x: Tensor, p: float, seed: Tensor) -> Tensor:
    """The same draws as the core's: csrc/rowwise/dropout.cpp."""
    dropped = round(p * _CHANCES)
    places = torch.arange(x.numel(), device=x.device)
    bits = seed + (places // _DRAWS + 1) * _GOLDEN
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    bits = bits ^ _shifted(bits, 31)
    draws = (bits >> 16 * (places % _DRAWS)) & (_CHANCES - 1)
    scale = _CHANCES / (_CHANCES - dropped) if dropped < _CHANCES else 0.0
    return torch.where((draws >= dropped).view(x.shape), x * scale, 0)


def _shifted(bits: Tensor, count: int) -> Tensor:
    """Shifted to the right, zeros coming in from the left."""
    return (bits >> count) & ((1 << (64 - count)) - 1)


def _save(ctx: Any, given: tuple[Any, ...], result: Tensor) -> None:
    _, ctx.p, seed = given
    ctx.save_for_backward(seed)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (seed,) = ctx.saved_tensors
    return dropout(grad, ctx.p, seed), None, None


@define_operator(fake=_fake, plain=_plain, save=_save, backward=_differentiate, device="cpu")
def dropout(x: Tensor, p: float, seed: Tensor) -> Tensor:
    """Zero numbers of x, float32 or bfloat16, with probability `p`, and scale the others by 1 / (1 - p).

    Args:
        seed: (1,) int64: what is dropped is a function of it and of the position in memory order.
    """
    _check(x, p, seed)
    x = x.contiguous()
    out = torch.empty_like(x)
    number = int(seed) & (2**64 - 1)
    drop_in_core(x.data_ptr(), x.dtype == torch.bfloat16, x.numel(), p, number, out.data_ptr())
    return out
