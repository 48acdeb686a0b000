"""What a package says about itself: every input and output, the model, its metrics, who made it with what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch

from .. import __version__
from ..models.base import LatentVectorModel
from .toolkit import ct

LICENSE = "Apache-2.0"
KEY = "lvm_fast."  # prefix of our user-defined metadata

_DESCRIPTIONS = {
    "context": "The last {0[1]} text-chunk embeddings, oldest first; unit vectors, no physical unit.",
    "vector": "The newest text-chunk embedding; a unit vector, no physical unit.",
    "next_vector": "The predicted embedding of the next chunk: l2_normalize(last vector + delta), a unit vector.",
    "delta": "The predicted step from the last vector to the next one, in the units of the embeddings.",
    "hidden": "Hidden state of GRU layer {1}; zeros before the first vector, kept between calls.",
}


def describe_package(spec: Any, model: LatentVectorModel, contexts: Sequence[int], precision: str, author: str) -> None:
    """Fill in the metadata of a model specification, in place."""
    about = spec.description.metadata
    about.shortDescription = (
        f"Latent vector model {model.model_type}: reads text-chunk embeddings of {model.input_dim} numbers and "
        "predicts the embedding of the next chunk."
    )
    about.author, about.license, about.versionString = author, LICENSE, __version__
    about.userDefined.update(_user_metadata(model, contexts, precision))
    for function in spec.description.functions or [spec.description]:
        for feature in (*function.input, *function.output, *function.state):
            feature.shortDescription = _describe_feature(feature)


def _user_metadata(model: LatentVectorModel, contexts: Sequence[int], precision: str) -> dict[str, str]:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    ours = {
        "model_type": model.model_type,
        "config": json.dumps(model.config),
        "parameters": str(parameters),
        "contexts": json.dumps(list(contexts)),
        "precision": precision,
        "metrics": json.dumps(model.metrics),
        "version": __version__,
    }
    versions = {"torch.version": torch.__version__, "com.github.apple.coremltools.version": ct.__version__}
    return {f"{KEY}{name}": value for name, value in ours.items()} | versions


def _describe_feature(feature: Any) -> str:
    kind = feature.type.WhichOneof("Type")
    array = feature.type.stateType.arrayType if kind == "stateType" else feature.type.multiArrayType
    name, _, layer = feature.name.partition("_") if kind == "stateType" else (feature.name, "", "")
    shape = list(array.shape)
    dtype = array.ArrayDataType.Name(array.dataType).lower()
    return f"{_DESCRIPTIONS[name].format(shape, layer)} Shape {shape}, {dtype}."
