"""Contexts (B, N, D) with lengths (B,): the checks that every model begins with, and what lies beyond a length."""

from __future__ import annotations

import torch
from torch import Tensor


def check_context(model_type: str, dim: int, context: Tensor, lengths: Tensor | None) -> None:
    """Raise ValueError unless the context is (B, N, D), not empty, and the lengths are integers 1 to N, (B,)."""
    if context.ndim != 3 or context.shape[2] != dim or 0 in context.shape:
        expected = f"(B, N, {dim}) with at least one row and one vector"
        raise ValueError(f"{model_type}: context has shape {tuple(context.shape)}; expected {expected}")
    if not context.is_floating_point():
        raise ValueError(f"{model_type}: context has dtype {context.dtype}; expected a float dtype")
    if lengths is None:
        return
    rows, longest, _ = context.shape
    if lengths.shape != (rows,) or lengths.dtype not in (torch.int64, torch.int32):
        got = f"{lengths.dtype} {tuple(lengths.shape)}"
        raise ValueError(f"{model_type}: lengths are {got}; expected int64 ({rows},), one a context row")
    wrong = ((lengths < 1) | (lengths > longest)).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(f"{model_type}: lengths[{row}] = {int(lengths[row])}; expected 1 to {longest}")


def padding(context: Tensor, lengths: Tensor) -> Tensor:
    """Mark the vectors of contexts (B, N, D) beyond the lengths (B,): (B, N), on the contexts' device."""
    return torch.arange(context.shape[1], device=context.device) >= lengths.to(context.device)[:, None]
