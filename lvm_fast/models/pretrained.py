"""Loading a model: the one way in, whatever wrote it."""

from __future__ import annotations

import json
import os
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import scalar
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .base import LatentVectorModel
from .registry import create_model, model_class, size_names
from .saving import CONFIG, ROUTER, WEIGHTS, recipe_digest

BEST_CHECKPOINT = "best_val_hit5.pt"

# numbers and paths that trainers leave in a checkpoint's results and arguments; none of them can run code
_HARMLESS: list[Any] = [
    (scalar, "numpy._core.multiarray.scalar"),
    (scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")),
    (PosixPath, "pathlib.PosixPath"),
    (PosixPath, "pathlib._local.PosixPath"),
]


def load_model(path: str | os.PathLike[str]) -> LatentVectorModel:
    """Load a model onto the CPU, in evaluation mode.

    The sizes come from the shapes of the tensors.

    Args:
        path: A ``best_val_hit5.pt`` (ours or the reference's), a folder from `save_pretrained`, or the folder of a
            training run.

    Raises:
        FileNotFoundError: There is no such file, or the folder holds no model.
        ValueError: The file is damaged, is no checkpoint, or its tensors do not fit together.
    """
    place = Path(path)
    if place.is_dir():
        if (place / CONFIG).exists():
            return _load_folder(place)
        if (place / ROUTER).exists():
            raise ValueError(f"load_model: {str(path)!r} holds a router; expected a model (Router.load reads it)")
        place = place / BEST_CHECKPOINT
    if not place.exists():
        expected = f"a {BEST_CHECKPOINT}, a folder with {CONFIG} and {WEIGHTS}, or a training run"
        raise FileNotFoundError(f"load_model: no model at {str(path)!r}; expected {expected}")
    return _load_checkpoint(place)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a ``.pt`` dict without running any code from it. Raises ValueError where it is damaged or no dict."""
    with path.open("rb") as file, torch.serialization.safe_globals(_HARMLESS):
        try:
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file can raise almost anything
            raise ValueError(f"{path}: not a readable checkpoint: damaged, or more than plain data") from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path}: expected a checkpoint dict, found a {type(checkpoint).__name__}")
    return checkpoint


def _load_checkpoint(path: Path) -> LatentVectorModel:
    checkpoint = read_checkpoint(path)
    if "optimizer_state_dict" in checkpoint and "config" not in checkpoint and "model_type" not in checkpoint:
        raise ValueError(f"{path}: the state that a training goes on from, no model; use {BEST_CHECKPOINT} beside it")
    for key in ("model_type", "model_state_dict"):
        if key not in checkpoint:
            raise ValueError(f"{path}: the checkpoint has no {key!r}; it has {', '.join(map(str, checkpoint))}")
    metrics = _dict_or_empty(checkpoint.get("val_results"))
    baselines = _dict_or_empty(checkpoint.get("baselines"))
    if baselines:
        metrics["baselines"] = baselines
    model = _build(path, checkpoint["model_type"], checkpoint["model_state_dict"], checkpoint.get("config"), metrics)
    recipe = _dict_or_empty(checkpoint.get("args"))
    model.recipe_digest = recipe_digest(recipe) if recipe else None
    return model


def _load_folder(folder: Path) -> LatentVectorModel:
    try:
        saved = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        model_type = saved["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG}: expected JSON with 'model_type' and 'config'") from error
    try:
        state = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS}: not a readable safetensors file: {error}") from error
    model = _build(folder, model_type, state, saved.get("config"), saved.get("metrics"))
    model.recipe_digest = saved.get("recipe_digest")
    return model


def _build(path: Path, model_type: Any, state: Any, config: Any, metrics: Any) -> LatentVectorModel:
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{path}: 'model_state_dict' is no dict of tensors")
    try:
        habits = {name: value for name, value in _dict_or_empty(config).items() if name in size_names(model_type)}
        model = create_model(model_type, **{**habits, **model_class(model_type).config_from_state(state)})
        model.load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    results = _dict_or_empty(metrics).items()
    model.metrics = {name: value.item() if isinstance(value, np.generic) else value for name, value in results}
    return model.eval()


def _dict_or_empty(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}
