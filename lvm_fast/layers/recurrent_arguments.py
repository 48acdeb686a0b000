"""Checks of what recurrent layers are given, in torch's words where it has some, for programs that look for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._util.numbers import real_number, truth_value, whole_number
from .._util.torch_compat import are_numbers_hidden


class MisfitError(ValueError, TypeError, RuntimeError):
    """The error for a misfit: a ValueError, as everywhere in this package, and the error that torch raises."""


def size_of(module: str, name: str, value: Any) -> int:
    """Return a size, at least 1."""
    try:
        return whole_number(value, f"{module}: {name}", least=1)
    except ValueError as error:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        rule = "must be greater than zero" if is_whole else f"should be of type int, got: {type(value).__name__}"
        raise MisfitError(f"{error} ({name} {rule})") from None


def truth_of(module: str, name: str, value: Any) -> bool:
    """Return True or False."""
    try:
        return truth_value(value, f"{module}: {name}")
    except ValueError as error:
        raise MisfitError(f"{error} ({name} should be of type bool, got: {type(value).__name__})") from None


def share_of(module: str, name: str, value: Any) -> float:
    """Return a number from 0 to 1."""
    try:
        return real_number(value, f"{module}: {name}", least=0.0, most=1.0)
    except ValueError as error:
        raise MisfitError(f"{error} ({name} should be a number in range [0, 1])") from None


def checked_lengths(module: str, lengths: Any, inputs: Tensor) -> Tensor | None:
    """Lengths for inputs (N, B, I), None where all are N. Raises ValueError unless they are integers (B,), 1 to N."""
    if lengths is None:
        return None
    steps, batch, _ = inputs.shape
    if not isinstance(lengths, Tensor) or lengths.layout != torch.strided or lengths.is_nested:
        raise ValueError(f"{module}: lengths: expected a dense tensor of integers, got {type(lengths).__name__}")
    if lengths.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"{module}: lengths: expected torch.int64 or torch.int32, got {lengths.dtype}")
    if lengths.shape != (batch,):
        raise ValueError(f"{module}: lengths: expected shape ({batch},), one a sequence, got {tuple(lengths.shape)}")
    if are_numbers_hidden() or batch == 0:
        return lengths
    counts = lengths.tolist()
    if min(counts) < 1 or max(counts) > steps:
        row = next(row for row, count in enumerate(counts) if not 1 <= count <= steps)
        raise ValueError(f"{module}: lengths[{row}] is {counts[row]}; expected 1 to {steps}")
    return None if min(counts) == steps else lengths
