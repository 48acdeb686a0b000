"""Small models of every type, trained enough that a change of any weight shows, and their Core AI assets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from literal_models import SMALL

import lvm_fast as lf
from lvm_fast.models.base import LatentVectorModel
from lvm_fast.spaces.space import fit_space

SIZES: dict[str, dict[str, Any]] = {**SMALL, "whitened_recency": {"input_dim": 16, "decay": 0.6}}
# a model type, its space, and whether its search is corrected for hubs
MODELS = (
    *SIZES,
    "gru centred",
    "memory_gru whitened",
    "whitened_recency whitened",
    "recency_residual whitened",
    "recency_residual whitened corrected",
)
# for chunks of ten: part of one, whole ones, whole ones and a part; fewer vectors than taps, and more
CONTEXTS = {"hierarchical_gru": (3, 20, 23), "recency_mixer": (2, 9), "recency_residual": (2, 9)}


def model_of(name: str, **sizes: Any) -> LatentVectorModel:
    """A model of a type, "gru" for instance, or of a type in a space, "gru centred"."""
    model_type, kind, corrected, *_ = [*name.split(), "", ""]
    torch.manual_seed(1)
    model = lf.create_model(model_type, **{**SIZES[model_type], **sizes})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / model.config.get("hidden_dim", 12) ** 0.5)
    if kind:
        model.set_space(fit_space(rows_of(model.input_dim, 200), kind, 0.8))
    if corrected:
        model.set_query_bank(rows_of(model.input_dim, 9), 0.5, 4)
    return model.eval()


def rows_of(dim: int, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Unit vectors around one direction, with more variance along some axes than along others, (count, dim)."""
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((count, dim)) * np.geomspace(1.0, 0.1, dim) + rng.standard_normal(dim)
    return lf.l2_normalize(rows.astype(np.float32))


def contexts_of(model: LatentVectorModel) -> tuple[int, ...]:
    return CONTEXTS.get(model.model_type, (5,))


def exported(model: LatentVectorModel, folder: Path, precision: str = "float32", **options: Any) -> Path:
    """All functions that a model type has."""
    asked = {**every_function(model), **options}
    return lf.export_coreai(model, folder / "m.aimodel", precision=precision, overwrite=True, **asked)


def every_function(model: LatentVectorModel) -> dict[str, Any]:
    """The options of an export with every function that the model's type has."""
    streaming = model.model_type != "amn"
    bank = rows_of(model.input_dim, 40)
    return {"contexts": contexts_of(model), "flexible": 30, "streaming": streaming, "bank": bank, "topk": 3}
