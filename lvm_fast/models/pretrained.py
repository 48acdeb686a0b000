"""Loading a model: the one way in, whatever wrote it."""

from __future__ import annotations

import json
import os
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .._util.numbers import plain
from .._util.torch_compat import NUMPY_MAKERS
from .base import INFERENCE, LatentVectorModel
from .foreign import foreign_contents
from .registry import create_model, model_class, size_names
from .saving import CONFIG, ROUTER, WEIGHTS, recipe_digest
from .symmetric import unfolded

BEST_CHECKPOINT = "best_val_hit5.pt"
PACKAGED = {"general": Path(__file__).with_name("general")}  # models that come with the package

# numbers, arrays of them and paths that trainers leave in a checkpoint's results and arguments; none can run code
_HARMLESS: list[Any] = [
    *((make, f"numpy.{core}.multiarray.{make.__name__}") for make in NUMPY_MAKERS for core in ("_core", "core")),
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in "?bhilqBHILQefdUS"},
    (PosixPath, "pathlib.PosixPath"),
    (PosixPath, "pathlib._local.PosixPath"),
]
_HARMLESS_NAMES = {
    kind[1] if isinstance(kind, tuple) else f"{kind.__module__}.{kind.__qualname__}" for kind in _HARMLESS
}


def load_model(path: str | os.PathLike[str]) -> LatentVectorModel | Any:
    """Load a model or a router onto the CPU, in evaluation mode, in float32 (float64 weights stay float64).

    The sizes come from the shapes of the tensors.

    Args:
        path: A ``best_val_hit5.pt`` (ours or the reference's), a folder from `save_pretrained` of a model or a router,
            the folder of a training run, or "general": the model that comes with the package, for vectors of
            all-mpnet-base-v2. It is at home in public corpora (docs/explanation/champion.md); `fit_space` and
            `set_space` bring it into the space of other chunks, as ``lvm-fast predict`` does.

    Returns:
        The model, or the router. Its contexts are (B, N, D), with the D of the vectors that it was trained on.

    Raises:
        FileNotFoundError: There is no such file, or the folder holds no model.
        ValueError: The file is damaged, is no checkpoint, or its tensors do not fit together.

    Example:
        >>> model = load_model("general")
        >>> model.model_type, model.input_dim
        ('recency_residual', 768)
    """
    path = place_of_model(path)
    if (path / ROUTER).exists() and not (path / CONFIG).exists():
        return INFERENCE.load("router").load(path)
    return load_single_model(path)


def load_single_model(path: str | os.PathLike[str]) -> LatentVectorModel:
    """Load a single model as `load_model` does; a router is a ValueError."""
    place = place_of_model(path)
    if place.is_dir():
        if (place / CONFIG).exists():
            return _load_folder(place)
        if (place / ROUTER).exists():
            raise ValueError(f"load_model: {str(path)!r} holds a router; expected a single model")
        place = place / BEST_CHECKPOINT
    if not place.exists():
        expected = f"a {BEST_CHECKPOINT}, a folder with {CONFIG} and {WEIGHTS}, or a training run"
        raise FileNotFoundError(f"load_model: no model at {str(path)!r}; expected {expected}")
    return _load_checkpoint(place)


def place_of_model(path: str | os.PathLike[str]) -> Path:
    """Return the place of a model: the path or, if nothing is there, the package's own model of this name."""
    place = Path(path)
    return PACKAGED[os.fspath(path)] if os.fspath(path) in PACKAGED and not place.exists() else place


def is_packaged(path: str | os.PathLike[str]) -> bool:
    """Whether a path stands for a model that comes with the package."""
    return place_of_model(path) in PACKAGED.values()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a ``.pt`` dict without running any code from it.

    Raises:
        ValueError: It is damaged, is no dict, or holds more than numbers, texts, paths, tensors and numpy arrays of
            numbers; the message names what, and the key that holds it.
    """
    with path.open("rb") as file, torch.serialization.safe_globals(_HARMLESS):
        try:
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file can raise almost anything
            reason = foreign_contents(path, _HARMLESS_NAMES) or "damaged, or more than plain data"
            raise ValueError(f"{path}: not a readable checkpoint: {reason}") from error
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
    _check_tensors(path, state)
    is_double = any(tensor.dtype == torch.float64 for tensor in state.values())
    try:
        state = unfolded(state)
        known = (*size_names(model_type), "space")
        habits = {name: value for name, value in _dict_or_empty(config).items() if name in known}
        model = create_model(model_type, **{**habits, **model_class(model_type).config_from_state(state)})
        model.to(torch.float64 if is_double else torch.float32)  # whatever torch's default dtype is
        model.load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    model.metrics = {name: _figure(value) for name, value in _dict_or_empty(metrics).items()}
    return model.eval()


def _check_tensors(path: Path, state: Any) -> None:
    expected = f"{path}: 'model_state_dict' is no dict of tensors"
    if not isinstance(state, dict):
        raise ValueError(f"{expected}: it is a {type(state).__name__}")
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{expected}: {name!r} is a {type(tensor).__module__}.{type(tensor).__qualname__}")


def _figure(value: Any) -> Any:
    """Return a figure as JSON has it: arrays and tensors as lists."""
    if isinstance(value, dict):
        return {plain(name): _figure(item) for name, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | Tensor) else plain(value)


def _dict_or_empty(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}
