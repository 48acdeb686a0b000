"""What a model predicts for every window: the one way from windows to vectors, for the trainer and the report alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from ..kernels import reconstruct
from ..models.base import LatentVectorModel
from ..models.recurrence import last_valid

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

    The model runs in evaluation mode without gradients and gets its former mode back afterwards. Windows of similar
    length share a batch, so little work goes into padding.

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
    if batch_size < 1:
        raise ValueError(f"predict_windows: batch_size = {batch_size}; expected at least 1")
    if isinstance(model, LatentVectorModel):
        model.check_length(int(windows.lengths.max()))
    if device is None:
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
    order = np.argsort(windows.lengths, kind="stable")
    firsts = range(0, len(order), batch_size)[only]
    predictions = np.zeros((len(windows), windows.store.dim), np.float32)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), tqdm(total=len(order), desc="predict", unit="window", disable=not progress) as bar:
            for first in firsts:
                chosen = order[first : first + batch_size]
                predictions[chosen] = _predict_batch(model, windows, chosen, device)
                bar.update(len(chosen))
    finally:
        model.train(was_training)
    return predictions


def _predict_batch(
    model: torch.nn.Module, windows: Windows, chosen: NDArray[np.int64], device: torch.device | str
) -> NDArray[np.float32]:
    batch = windows.batch(chosen)
    context = torch.from_numpy(batch.context).to(device)  # (B, N, D)
    lengths = torch.from_numpy(batch.lengths).to(device)  # (B,)
    delta = model(context, lengths)  # (B, D)
    finite = torch.isfinite(delta).all(dim=1)  # (B,)
    if not finite.all():
        window = chosen[int(finite.int().argmin())]
        raise ValueError(
            f"predict_windows: the model's output for window {window} is NaN or infinite; expected numbers"
        )
    predicted: NDArray[np.float32] = reconstruct(last_valid(context, lengths), delta).cpu().numpy()
    return predicted
