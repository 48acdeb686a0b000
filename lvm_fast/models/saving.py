"""Saving a model as a folder: weights, config and a model card."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from safetensors.torch import save

from .._util.atomic_files import atomic_path, made_folder
from .._util.numbers import plain
from .._version import __version__
from .as_built import changes
from .model_types import class_below

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
ROUTER = "router.json"  # what a router's folder has instead of a config


def save_pretrained(model: Any, folder: str | os.PathLike[str]) -> None:
    """Save the three files of a model into `folder`; see `LatentVectorModel.save_pretrained`."""
    _check_savable(model)
    config = {
        "model_type": model.model_type,
        "config": model.config,
        "metrics": model.metrics,
        "recipe_digest": model.recipe_digest,
        "lvm_fast_version": __version__,
    }
    weights = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in model.state_dict().items()}
    contents = {
        WEIGHTS: save(weights, {"format": "pt", "model_type": model.model_type}),
        CONFIG: json_text(config).encode(),
        CARD: _card(model).encode(),
    }
    with made_folder(folder) as target, ExitStack() as names:  # all are written before the first one takes its name
        places = {name: names.enter_context(atomic_path(target / name)) for name in contents}
        for name, content in contents.items():
            places[name].write_bytes(content)


def json_text(described: Mapping[str, Any]) -> str:
    """Write the description of a saved model or router as JSON, numpy's scalars as plain numbers.

    Raises:
        ValueError: Something in it is not for JSON: NaN, infinity, or an object.
    """
    texts = []
    for name, value in plain(described).items():
        try:
            texts.append(f"{json.dumps(name)}: {json.dumps(value, indent=2, allow_nan=False)}")
        except (TypeError, ValueError) as error:
            raise ValueError(f"save_pretrained: {name} = {value!r}: {error}") from error
    inside = ",\n".join(texts).replace("\n", "\n  ")
    return f"{{\n  {inside}\n}}\n"


def _check_savable(model: Any) -> None:
    """Raise ValueError where `load_model` could not give a model back; warn of hooks."""
    kind = class_below(type(model))
    if kind is None or kind.model_type != model.model_type:
        what = f"{type(model).__name__} of model_type {model.model_type!r}"
        raise ValueError(f"save_pretrained: load_model builds no {what}; use torch.save")
    for change in changes(model):
        if not change.is_hook:
            raise ValueError(f"save_pretrained: {change.words}, which load_model would not give back; {change.cure}")
        warnings.warn(f"save_pretrained: {change.words}, which are not saved", stacklevel=4)


def recipe_digest(recipe: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a recipe's settings as JSON, keys in order, without the folder of the run."""
    settings = {name: value for name, value in recipe.items() if name not in ("output_dir", "resume")}
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def _card(model: Any) -> str:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    sizes = "\n".join(f"| {name} | {value} |" for name, value in model.config.items())
    dim, longest = model.input_dim, model.max_context
    most = "" if longest is None else f", N at most {longest}"
    return f"""---
library_name: lvm_fast
tags: [latent-vector-model, {model.model_type}]
---
# A latent vector model: {model.model_type}

It reads a context of N text-chunk embeddings (N x {dim}{most}) and predicts the embedding of the next chunk.
{parameters:,} parameters, saved by lvm_fast {__version__}.

| size | value |
|---|---|
{sizes}

## How to use it
```python
import lvm_fast as lf

model = lf.load_model("path/to/this/folder")
next_vector = model.predict(context)  # context (B, N, {dim}), oldest vector first -> unit vectors (B, {dim})
```
Use the same text encoder as in training.

## How good it is
{_quality(model)}
"""


def _quality(model: Any) -> str:
    hits = {f"Hit@{k}": model.metrics.get(f"hit{k}") for k in (1, 5, 10)}
    known = {name: value for name, value in hits.items() if value is not None}
    if not known:
        return "No score was saved with it. `lvm-fast evaluate` gives one."
    figures = ", ".join(f"{name} {value:.2f}%" for name, value in known.items())
    pool = model.metrics.get("pool")
    among = (
        f"among {pool:,} candidates" if pool else "in a candidate pool of unknown size (Hit@K means little without it)"
    )
    return f"On held-out chains: {figures}, {among}.{_baselines(model)}"


def _baselines(model: Any) -> str:
    known = model.metrics.get("baselines", {})
    hits = ", ".join(f"{name} {scores['hit5']:.2f}%" for name, scores in known.items())
    if not hits:
        return ""
    best = max(known, key=lambda name: (known[name]["hit5"], known[name].get("mrr", 0.0)))
    beat = f" {best} is the one to beat." if len(known) > 1 else ""
    return f" What needs no training reaches Hit@5 {hits}.{beat}"
