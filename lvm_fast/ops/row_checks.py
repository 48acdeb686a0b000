"""Checks that the row kernels share, for numpy arrays and torch tensors alike."""

from __future__ import annotations

from typing import Any

from .rows import dtype_name


def argument_names(op: str) -> tuple[str, str]:
    return ("x", "") if op == "l2_normalize" else ("current", "delta")


def check_eps(op: str, eps: float) -> None:
    if not 0 < eps < float("inf"):
        raise ValueError(f"{op}: expected eps > 0 and finite, got {eps}")


def check_result(op: str, out: Any, like: Any, contiguous: bool) -> None:
    """ValueError unless `out` has the shape and dtype of `like` and is contiguous."""
    if out.shape != like.shape or out.dtype != like.dtype:
        expected, got = (f"{dtype_name(a.dtype)} {tuple(a.shape)}" for a in (like, out))
        raise ValueError(f"{op}: out: expected {expected}, got {got}")
    if not contiguous:
        raise ValueError(f"{op}: out: expected a contiguous array, got strides in another order")


def check_same_memory(op: str, is_same: bool) -> None:
    """ValueError where `out` shares memory with an argument and is not exactly that argument."""
    if not is_same:
        raise ValueError(f"{op}: out: expected memory of its own or exactly an argument's, got a partial overlap")


def raise_fault(op: str, fault: tuple[int, int] | None) -> None:
    """ValueError if the core found a row that is not finite."""
    if fault is not None:
        row, argument = fault
        name = argument_names(op)[argument]
        raise ValueError(f"{op}: {name} row {row} holds NaN or infinity; expected finite numbers")
