"""What a model predicts for every window: the one way from windows to vectors, for the trainer and the report alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..models.answering import answering, place_of, read_by
from ..models.base import LatentVectorModel
from ..models.recurrence import last_valid
from ..ops.rowwise import reconstruct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.windows import Windows


def predict_windows(
    model: torch.nn.Module,
    windows: Windows,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    progress: bool = False,
    only: slice = slice(None),
) -> NDArray[np.float32]:
    """Predict the next vector of every window.

    The model answers as in evaluation mode, without gradients, and in its own dtype; its mode stays as it is
    (`answering`). Windows of similar length share a batch, so little work goes into padding.

    Args:
        model: Called as ``model(context (B, N, D), lengths (B,))``; returns deltas (B, D).
        windows: W windows over a store of D-dimensional vectors.
        batch_size: Windows per forward pass.
        device: Where the contexts go; the device of the model's parameters unless given.
        progress: Show a progress bar on stderr.
        only: Which of the batches to predict; the windows of the others get zeros. The batches are always the same.

    Returns:
        Unit predictions ``l2_normalize(current + delta)``, float32 (W, D), in window order.

    Raises:
        ValueError: If ``batch_size`` is not positive, a window is longer than the model reads, or the model returns NaN
            or infinity.
    """
    return run_on_windows(_predict_batch, model, windows, windows.store.dim, batch_size, device, progress, only)


def run_on_windows(
    run: Callable[[Any, Tensor, Tensor, NDArray[np.int64]], Tensor],
    model: Any,
    windows: Windows,
    width: int,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    progress: bool = False,
    only: slice = slice(None),
) -> NDArray[np.float32]:
    """Run a model on every window: ``run(model, context (B, N, D), lengths (B,), windows (B,))`` gives (B, width).

    The other arguments are as in `predict_windows`. `run` gets a stand-in of the model and float32 contexts.

    Returns:
        What `run` gave, float32 (W, width), in window order.
    """
    if batch_size < 1:
        raise ValueError(f"predict_windows: batch_size = {batch_size}; expected at least 1")
    if isinstance(model, LatentVectorModel):
        model.check_length(int(windows.lengths.max()))
    stand_in = answering(model)
    if device is None:
        device = place_of(stand_in)[0]
    order = np.argsort(windows.lengths, kind="stable")
    firsts = range(0, len(order), batch_size)[only]
    results = np.zeros((len(windows), width), np.float32)
    with torch.no_grad(), tqdm(total=len(order), desc="predict", unit="window", disable=not progress) as bar:
        for first in firsts:
            chosen = order[first : first + batch_size]
            batch = windows.batch(chosen)
            context, lengths = (torch.from_numpy(given).to(device) for given in (batch.context, batch.lengths))
            results[chosen] = run(stand_in, context, lengths, chosen).float().cpu().numpy()
            bar.update(len(chosen))
    return results


def _predict_batch(model: Any, context: Tensor, lengths: Tensor, chosen: NDArray[np.int64]) -> Tensor:
    delta = model(read_by(model, context), lengths)  # (B, D)
    finite = torch.isfinite(delta).all(dim=1)  # (B,)
    if not finite.all():
        window = chosen[int(finite.int().argmin())]
        raise ValueError(
            f"predict_windows: the model's output for window {window} is NaN or infinite; expected numbers"
        )
    predicted: Tensor = reconstruct(last_valid(context, lengths), delta.float())
    return predicted
