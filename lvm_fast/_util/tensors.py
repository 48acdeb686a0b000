"""Checks of tensors: dense, and of a float dtype."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def check_dense(called: str, tensor: Any) -> None:
    """Raise ValueError, beginning with `called`, unless it is a tensor of floats, neither sparse nor nested."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{called}: expected a torch tensor, got {type(tensor).__name__}")
    if tensor.is_nested or tensor.layout != torch.strided:
        kind = "a nested one" if tensor.is_nested else f"one of layout {tensor.layout}"
        raise ValueError(f"{called}: expected a dense tensor, got {kind}")
    if not tensor.is_floating_point():
        raise ValueError(f"{called}: expected a float dtype, got {tensor.dtype}")
