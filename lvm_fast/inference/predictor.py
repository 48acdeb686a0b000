"""Predictions for a few contexts on packed weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._core import MemoryGruStream
from .packed import packed

_TOGETHER = 8  # contexts of one length that read the weights together


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
