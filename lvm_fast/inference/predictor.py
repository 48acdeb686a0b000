"""What every prediction begins with, and predictions for a few contexts on packed weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._core import MemoryGruStream
from .packed import packed

_TOGETHER = 8  # contexts of one length that read the weights together


class Asked(NamedTuple):
    """What a caller of `predict` gave, in one form.

    Attributes:
        contexts: (B, N, D).
        lengths: (B,) int64, or None for N.
        is_array: The contexts came as a numpy array.
        is_single: They were one context, (N, D).
    """

    contexts: Tensor
    lengths: Tensor | None
    is_array: bool
    is_single: bool

    def answer(self, predicted: Tensor) -> Tensor | NDArray[np.float32]:
        """Predictions (B, D) in the form of the question: (D,) for a single context, an array for an array."""
        whole = predicted[0] if self.is_single else predicted
        if not self.is_array:
            return whole.to(self.contexts.device)
        array: NDArray[np.float32] = whole.cpu().numpy()
        return array


def asked(model_type: str, dim: int, context: Any, lengths: Any) -> Asked:
    """Take contexts (B, N, D) or one context (N, D), and integer lengths of any kind, for `check_context`.

    Raises:
        ValueError: They are of another kind, or one context is of another shape.
    """
    given, counts = as_tensor(context), _as_lengths(model_type, lengths)
    is_single = given.ndim == 2
    if is_single:
        if given.shape[1] != dim or not len(given):
            expected = f"(B, N, {dim}), or (N, {dim}) for one context of at least one vector"
            raise ValueError(f"{model_type}: context has shape {tuple(given.shape)}; expected {expected}")
        given = given[None]
        counts = counts[None] if counts is not None and counts.ndim == 0 else counts
    return Asked(given, counts, isinstance(context, np.ndarray), is_single)


def check_floats(where: str, called: str, rows: Any) -> None:
    """Raise ValueError unless rows are a dense tensor or a numpy array, nothing masked, of a float dtype."""
    if isinstance(rows, Tensor):
        if rows.layout != torch.strided or rows.is_nested:
            kind = "nested" if rows.is_nested else str(rows.layout).removeprefix("torch.")
            raise ValueError(f"{where}: {called} is a {kind} tensor; expected a dense one")
        is_float = rows.is_floating_point()
    elif isinstance(rows, np.ndarray):
        if isinstance(rows, np.ma.MaskedArray):
            raise ValueError(f"{where}: {called} is a masked array; expected a plain one (see numpy.ma.filled)")
        is_float = rows.dtype.kind == "f"
    else:
        raise ValueError(f"{where}: {called} is a {type(rows).__name__}; expected a tensor or a numpy array")
    if not is_float:
        raise ValueError(f"{where}: {called} has dtype {rows.dtype}; expected a float dtype")


def as_tensor(context: Any) -> Tensor:
    """Contexts as a tensor: a numpy array is copied to float32. Raises ValueError as `check_floats`."""
    check_floats("predict", "context", context)
    if isinstance(context, Tensor):
        return context
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
        return torch.from_numpy(np.array(context, np.float32, order="C"))  # torch takes no read-only or reversed arrays


def _as_lengths(model_type: str, lengths: Any) -> Tensor | None:
    if lengths is None:
        return None
    try:
        counts = torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{model_type}: lengths are a {type(lengths).__name__}; expected integers (B,)") from error
    is_whole = not (counts.is_floating_point() or counts.is_complex() or counts.dtype == torch.bool)
    if isinstance(lengths, np.ma.MaskedArray) or counts.layout != torch.strided:
        raise ValueError(f"{model_type}: lengths are masked or sparse; expected plain integers (B,)")
    return counts.to(torch.int64) if is_whole else counts  # which `check_context` refuses


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


def predict_packed(model: Any, context: Tensor, lengths: Tensor | None, weights: str) -> Tensor:
    """Unit next vectors (B, D), float32, for contexts (B, N, D) on the CPU; lengths (B,) or None for N.

    Torch computes nothing here: its threads would go on spinning for milliseconds on the cores that ours need.
    """
    core = packed(model, weights)
    rows = context.detach().to(torch.float32)
    batch, longest, dim = rows.shape
    predicted = np.empty((batch, dim), np.float32)
    together = _TOGETHER if lengths is None else 1
    for first in range(0, batch, together):
        part = rows[first : first + together]  # (b, N, D)
        steps = longest if lengths is None else int(lengths[first])
        stream = MemoryGruStream(core, len(part))
        result = stream.advance(np.ascontiguousarray(part[:, :steps].transpose(0, 1).numpy()))
        if result is None:
            check_finite(rows, lengths)
            raise not_finite()
        predicted[first : first + len(part)] = result
    return torch.from_numpy(predicted)


def not_finite() -> ValueError:
    """What to raise where a prediction came out as NaN or infinity."""
    return ValueError("predict: a prediction is NaN or infinite; expected finite weights and moderate vectors")


def padding(context: Tensor, lengths: Tensor) -> Tensor:
    """Which vectors of the contexts (B, N, D) stand beyond the lengths (B,): (B, N), on the contexts' device."""
    return torch.arange(context.shape[1], device=context.device) >= lengths.to(context.device)[:, None]


def check_finite(context: Tensor, lengths: Tensor | None) -> None:
    """Raise ValueError, naming the first vector, if a context (B, N, D) holds NaN or infinity within its length."""
    finite = context.isfinite().all(dim=2)  # (B, N)
    if lengths is not None:
        finite |= padding(context, lengths)
    if not finite.all():
        row, position = (int(i) for i in (~finite).nonzero()[0])
        raise ValueError(f"predict: context[{row}, {position}] holds NaN or Inf; expected finite values")
