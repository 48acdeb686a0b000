"""From windows to predictions, the one way for the trainer and the report: what each is asked, and searches with."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..data.windows import GivenWindows
from ..inference.router import Router
from ..models.answering import answering, place_of, read_by
from ..models.base import LatentVectorModel
from ..models.recurrence import last_valid
from ..ops.rowwise import reconstruct
from ..retrieval.keys_on_disk import map_keys, on_disk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.vectors import Vectors
    from ..data.windows import Windows

Keys = Callable[[Any], "NDArray[np.float32]"]  # rows (T, D) -> what is searched in, (T, K)


class Answer(NamedTuple):
    """The answers to W windows.

    Attributes:
        predicted: Unit vectors in the encoder's own space, float32 (W, D).
        query: What is searched with, float32 (W, K).
        keys: Makes of candidates what is searched in, by inner products; None where these are the candidates
            themselves, by cosine. Predictors with the same one are ranked in one pass.
    """

    predicted: NDArray[np.float32]
    query: NDArray[np.float32]
    keys: Keys | None = None


def plain_answer(predicted: NDArray[np.float32]) -> Answer:
    """Make the answer of a predictor that searches the candidates themselves with its prediction."""
    return Answer(predicted, predicted)


def answer_windows(
    model: Any,
    windows: Windows,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    progress: bool = False,
    only: slice = slice(None),
) -> Answer:
    """Ask a model every window: with its `query` and `keys` where it has its own, else with its prediction.

    The arguments and errors are those of `predict_windows`.
    """
    model, windows = _without_router(model, windows)
    if not getattr(model, "has_keys", False):
        return plain_answer(predict_windows(model, windows, batch_size, device, progress, only))
    options = (batch_size, device, progress, only)
    if type(model).query is LatentVectorModel.query and type(model).predict is LatentVectorModel.predict:
        return _answer_in_space(model, windows, *options)
    width = model.keys(windows.store.vectors[:1]).shape[1]
    predicted = run_on_windows(_predict, model, windows, windows.store.dim, *options)
    return Answer(predicted, run_on_windows(_query, model, windows, width, *options), model.keys)


def _answer_in_space(model: LatentVectorModel, windows: Windows, *options: Any) -> Answer:
    """Answer for a model of this package: each vector is mapped once, not once a window that holds it."""
    inside = copy.copy(windows)
    if model.space is not None:
        inside.store = model.space.as_space(model.config["space"]).store(windows.store)
    query = predict_windows(model, inside, *options)
    if model.space is None:
        return Answer(query, query, model.keys)
    answered = np.flatnonzero(query.any(axis=1))  # other processes answer the rest
    predicted = np.zeros_like(query)
    with torch.no_grad():
        rows = torch.from_numpy(query[answered]).to(model.space.mean.device)
        predicted[answered] = model.to_vectors(rows).float().cpu().numpy()
    searched = model.as_query(torch.from_numpy(predicted if model.searches_vectors else query)).numpy()
    searched[~query.any(axis=1)] = 0.0
    return Answer(predicted, searched, model.keys)


def _without_router(model: Any, windows: Windows) -> tuple[Any, Windows]:
    """Take the arm of a router of one arm that has a space, and the windows that it sees: it only shortens contexts."""
    if isinstance(model, Router) and len(model.arms) == 1:
        ((longest, arm),) = model.arms.items()
        if not getattr(arm, "has_keys", False):
            return model, windows
        starts = np.maximum(windows.starts, windows.targets - longest)
        return arm, GivenWindows(windows.store, starts, windows.targets)
    return model, windows


def _predict(model: Any, context: Tensor, lengths: Tensor, chosen: NDArray[np.int64]) -> Tensor:
    return torch.as_tensor(model.predict(context.cpu().numpy(), lengths.cpu().numpy()))


def _query(model: Any, context: Tensor, lengths: Tensor, chosen: NDArray[np.int64]) -> Tensor:
    return torch.as_tensor(model.query(context.cpu().numpy(), lengths.cpu().numpy()))


def mapped(keys: Keys, vectors: Vectors) -> Vectors | NDArray[np.float32]:
    """Map candidates (T, D) to what is searched in, float32 (T, K), block by block; those of several files on disk.

    Equal rows get equal keys, which a product of matrices alone does not promise: equal scores are then settled as
    among the rows themselves.
    """
    copies, firsts = _copies(vectors)
    if vectors.is_joined:
        rows = map_keys(keys, vectors)
    else:
        rows = np.concatenate([np.asarray(keys(block[:]), np.float32) for _, block in vectors.blocks()])
    rows[copies] = rows[firsts]
    return on_disk(rows) if vectors.is_joined else rows


def _copies(vectors: Vectors) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the rows that equal an earlier one, (M,), and the first that each equals, (M,)."""
    factors = np.random.default_rng(0).integers(1, 1 << 63, vectors.shape[1], np.uint64)
    digests = np.concatenate([block[:].view(np.uint32) @ factors for _, block in vectors.blocks()])
    _, first, group = np.unique(digests, return_index=True, return_inverse=True)
    firsts = first[group]
    copies = np.flatnonzero(firsts != np.arange(len(firsts)))
    copies = copies[(vectors[copies] == vectors[firsts[copies]]).all(axis=1)]
    return copies, firsts[copies]


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
