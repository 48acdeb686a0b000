"""What every prediction begins with, and predictions for a few contexts on packed weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._core import MemoryGruStream
from .packed import packed

_TOGETHER = 8  # contexts of one length that read the weights together


def as_tensor(context: Any) -> Tensor:
    """A context as a tensor: a numpy array of floats is copied to float32. Raises ValueError for anything else."""
    if isinstance(context, Tensor):
        return context
    if not isinstance(context, np.ndarray):
        raise ValueError(f"predict: context is a {type(context).__name__}; expected a tensor or a numpy array")
    if context.dtype.kind != "f":
        raise ValueError(f"predict: context has dtype {context.dtype}; expected a float dtype")
    return torch.from_numpy(np.array(context, np.float32, order="C"))  # torch takes no read-only or reversed arrays


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
            check_finite(context, lengths)
            raise ValueError("predict: a prediction is NaN or infinite; expected finite weights and moderate vectors")
        predicted[first : first + len(part)] = result
    return torch.from_numpy(predicted)


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
