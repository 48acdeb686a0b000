"""What a predictor answers: a vector to search with, and the space in which it is searched."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.given_windows import GivenWindows
from ..inference.router import Router
from ..models.base import LatentVectorModel
from .predictions import predict_windows, run_on_windows

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
    """The answer of what searches the candidates themselves with its prediction."""
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
    """The answers of a model of ours: each vector is mapped once, not once a window that holds it."""
    inside = copy.copy(windows)
    if model.space is not None:
        inside.store = model.space.as_space(model.config["space"]).store(windows.store)
    query = predict_windows(model, inside, *options)
    if model.space is None:
        return Answer(query, query, model.keys)
    asked = np.flatnonzero(query.any(axis=1))  # other processes answer the rest
    predicted = np.zeros_like(query)
    with torch.no_grad():
        rows = torch.from_numpy(query[asked]).to(model.space.mean.device)
        predicted[asked] = model.to_vectors(rows).float().cpu().numpy()
    return Answer(predicted, predicted if model.searches_vectors else query, model.keys)


def _without_router(model: Any, windows: Windows) -> tuple[Any, Windows]:
    """A router of one arm only shortens contexts: where that has a space, the arm and the windows that it sees."""
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


def mapped(keys: Keys, vectors: Vectors) -> NDArray[np.float32]:
    """What candidates (T, D) are searched by, float32 (T, K), block by block.

    Equal rows get equal keys, which a product of matrices alone does not promise: equal scores are then settled as
    among the rows themselves.
    """
    blocks = [np.asarray(keys(block[:]), np.float32) for _, block in vectors.blocks()]
    found = np.concatenate(blocks)
    copies, firsts = _copies(vectors)
    found[copies] = found[firsts]
    return found


def _copies(vectors: Vectors) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows that equal an earlier one, (M,), and the first that each equals, (M,)."""
    factors = np.random.default_rng(0).integers(1, 1 << 63, vectors.shape[1], np.uint64)
    digests = np.concatenate([block[:].view(np.uint32) @ factors for _, block in vectors.blocks()])
    _, first, group = np.unique(digests, return_index=True, return_inverse=True)
    firsts = first[group]
    copies = np.flatnonzero(firsts != np.arange(len(firsts)))
    copies = copies[(vectors[copies] == vectors[firsts[copies]]).all(axis=1)]
    return copies, firsts[copies]
