"""Makes the model that a run begins with: a fresh one, or one with the weights of an earlier training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .._util.memory import memory_limit
from ..models.base import LatentVectorModel
from ..models.mixture import MixtureOfExperts
from ..models.pretrained import BEST_CHECKPOINT, PACKAGED, load_single_model, read_checkpoint
from ..models.registry import create_model
from ..models.seen import has_seen
from .checkpoint import run_to_continue
from .recipe import Recipe, same_setting

if TYPE_CHECKING:
    from ..data.chain_store import ChainStore

_SPLIT = ("data", "validation_data", "val_fraction", "seed")  # the settings that decide which chains are held out
_SHOWN = 4  # tensors named in an error
_MOST_PARTS = 4096  # layers, experts or heads


def check_model(recipe: Recipe) -> None:
    """Raise an error where there is no such model, or it is none for the recipe's contexts or domains; read no data.

    Raises:
        OSError, ValueError: As `initial_model`.
    """
    earlier = _earlier(recipe, run_to_continue(recipe))
    model = _model_without_weights(recipe, earlier)
    _check_memory(model, recipe)
    model.check_length(recipe.context_length)
    if recipe.start_candidate not in (None, *PACKAGED):
        _check_candidate(recipe, model)
    if recipe.domains is not None and not isinstance(model, MixtureOfExperts):
        expected = f"a mixture of experts, such as 'specialist_gru', or no domains (they are {recipe.domains!r})"
        raise ValueError(f"train: model_type = {recipe.model_type!r}; expected {expected}")


def _check_candidate(recipe: Recipe, model: LatentVectorModel) -> None:
    """Refuse a candidate that nothing would look at, or that is no saved model of the type."""
    given = f"train: start_candidate = {recipe.start_candidate!r}"
    if not model.starts_at_closed_form or recipe.space == "raw":
        expected = "a model_type that starts at a closed form, such as 'recency_residual', and a space that is not raw"
        raise ValueError(
            f"{given} with model_type = {recipe.model_type!r}, space = {recipe.space!r}; expected {expected}"
        )
    candidate = load_single_model(recipe.start_candidate or "")
    if candidate.model_type != model.model_type:
        raise ValueError(f"{given} is a {candidate.model_type}; expected a {model.model_type}")


def _model_without_weights(recipe: Recipe, earlier: LatentVectorModel | None) -> LatentVectorModel:
    """Make the model as sizes alone, which take no memory, however large they are."""
    for name, size in recipe.model.items():
        if name.startswith("num_") and isinstance(size, int) and size > _MOST_PARTS:  # each is a module of its own
            raise ValueError(f"train: model: {name} = {size}; expected at most {_MOST_PARTS}")
    try:
        with torch.device("meta"):
            return create_model(recipe.model_type, **_sizes(recipe, earlier))
    except (RuntimeError, TypeError, OverflowError, MemoryError) as error:  # a product of sizes is beyond 64 bits
        raise ValueError(f"train: model = {recipe.model}: sizes too large for any machine") from error


def _check_memory(model: LatentVectorModel, recipe: Recipe) -> None:
    """Refuse a model whose training needs more memory for weights, gradients and AdamW's moments than there is."""
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    others = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    needed, there = 4 * weights + others, memory_limit()
    if there is not None and needed > there:
        sizes = ", ".join(f"{name} = {size}" for name, size in recipe.model.items()) or "the usual sizes"
        raise ValueError(
            f"train: a {recipe.model_type} with {sizes} takes {needed / 1e9:,.1f} GB to train; this machine has "
            f"{there / 1e9:,.1f} GB"
        )


def initial_model(recipe: Recipe, dim: int, own_run: Path | None = None) -> tuple[LatentVectorModel, str]:
    """Make the model a run begins with: fresh weights, or those of `warm_start` and its sizes where none are given.

    Args:
        recipe: Model, sizes, seed and warm start.
        dim: Width of the data.
        own_run: The folder of this very run, where it goes on: it knows its sizes without the warm start.

    Returns:
        The model on the CPU, and words for the log: where its weights are from, or nothing.

    Raises:
        OSError: There is no such run, checkpoint or saved model.
        ValueError: A size does not fit the data, or the warm start is of another type or other shapes.
    """
    earlier = _earlier(recipe, own_run)
    asked = recipe.model.get("input_dim", recipe.model.get("d_model", dim))
    if asked != dim:
        raise ValueError(f"train: the model is to read {asked} dimensions; expected {dim}, as the data has")
    torch.manual_seed(recipe.seed)
    model = create_model(recipe.model_type, **_sizes(recipe, earlier, input_dim=dim))
    model.to(torch.float32)  # as the data is, whatever torch's default dtype
    if earlier is None:
        return model, ""
    _take_over(model, earlier, recipe)
    return model, "" if own_run else f"warm start: weights of {recipe.warm_start}{_other_split(recipe)}"


def start_candidate(recipe: Recipe, model: LatentVectorModel, store: ChainStore) -> LatentVectorModel | None:
    """The model that a fresh one may start from; None where there is none.

    The packaged one is none for data of other encoders or widths, and for data that it has seen: what it knows of the
    held-out chains would flatter it.

    Raises:
        OSError: There is no such model.
        ValueError: It is of another type or other shapes.
    """
    if recipe.start_candidate is None:
        return None
    candidate = load_single_model(recipe.start_candidate).to(torch.float32)
    misfit = _misfit(candidate, model, store)
    if recipe.start_candidate in PACKAGED:
        return None if misfit or has_seen(PACKAGED[recipe.start_candidate], store.vectors) else candidate
    if misfit:
        raise ValueError(f"train: start_candidate = {recipe.start_candidate!r}: {misfit}")
    return candidate


def _misfit(candidate: LatentVectorModel, model: LatentVectorModel, store: ChainStore) -> str:
    """Words for what keeps a model from starting from a candidate; none where nothing does."""
    if candidate.model_type != model.model_type:
        return f"it is a {candidate.model_type}; expected a {model.model_type}"
    encoder, fitted = store.metadata.get("encoder"), (candidate.config.get("space") or {}).get("encoder")
    if encoder and fitted and encoder != fitted:
        return f"it reads vectors of {fitted}; the data was encoded by {encoder}"
    theirs = {name: tuple(parameter.shape) for name, parameter in candidate.named_parameters()}
    for name, parameter in model.named_parameters():
        if theirs.get(name) != tuple(parameter.shape):
            return f"its {name} is {theirs.get(name)}; expected {tuple(parameter.shape)}"
    return ""


def _earlier(recipe: Recipe, own_run: Path | None) -> LatentVectorModel | None:
    """Load the model to begin with, which has to be of the recipe's type."""
    if recipe.warm_start is None:
        return None
    earlier = load_single_model(own_run or recipe.warm_start)
    if earlier.model_type != recipe.model_type:
        expected = f"a {recipe.model_type}, the model of this training (or model_type = {earlier.model_type!r})"
        raise ValueError(f"train: warm_start = {recipe.warm_start!r} is a {earlier.model_type}; expected {expected}")
    return earlier


def _sizes(recipe: Recipe, earlier: LatentVectorModel | None, **of_data: int) -> dict[str, Any]:
    """Put the recipe's sizes over the data's, and these over the earlier model's."""
    sizes = {**({} if earlier is None else earlier.config), **of_data}
    if recipe.model.get("num_experts", sizes.get("num_experts")) != sizes.get("num_experts"):
        sizes.pop("domains", None)  # the names of as many experts as there were
    if "d_model" in recipe.model:  # another name of input_dim
        sizes.pop("input_dim", None)
    return {**sizes, **recipe.model}


def _take_over(model: LatentVectorModel, earlier: LatentVectorModel, recipe: Recipe) -> None:
    """Copy the weights; a table of the model that only goes on where the earlier one ends keeps its own."""
    mine, theirs = model.state_dict(), earlier.state_dict()
    names = [name for name in {**theirs, **mine} if not _fits(mine.get(name), theirs.get(name))]
    if names:
        differences = [f"{name} {_size(theirs.get(name))}, expected {_size(mine.get(name))}" for name in names]
        shown = "; ".join(differences[:_SHOWN]) + (f"; and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        raise ValueError(f"train: warm_start = {recipe.warm_start!r} has tensors of other shapes: {shown}")
    model.load_state_dict({name: theirs[name] if theirs[name].shape == t.shape else t for name, t in mine.items()})


def _fits(mine: Tensor | None, theirs: Tensor | None) -> bool:
    """Return whether two tensors have one shape, or are parts of one fixed table, such as sinusoidal positions."""
    if mine is None or theirs is None or mine.ndim != theirs.ndim:
        return False
    shared = tuple(slice(min(sizes)) for sizes in zip(mine.shape, theirs.shape, strict=True))
    return mine.shape == theirs.shape or torch.equal(mine[shared], theirs[shared])


def _size(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else str(tuple(tensor.shape))


def _other_split(recipe: Recipe) -> str:
    """Say of a warm start that it has learned from other chains, where its settings are known."""
    place = Path(os.fspath(recipe.warm_start or ""))
    file = place / BEST_CHECKPOINT if place.is_dir() else place
    before = read_checkpoint(file).get("args") if file.is_file() else None
    if not isinstance(before, dict):
        return ""
    now = recipe.to_dict()
    changed = [key for key in _SPLIT if key in before and not same_setting(key, before[key], now[key])]
    if not changed:
        return ""
    were = ", ".join(f"{key} {before[key]!r}" for key in changed)
    return f", trained with {were}: it may have learned from chains that are held out here"
