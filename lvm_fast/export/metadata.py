"""What a package says about itself: every input and output, the model, its metrics, who made it with what."""

from __future__ import annotations

import json
from typing import Any

import torch

from .._util.numbers import plain
from .._version import __version__
from .candidate_bank import digest
from .coremltools_compat import ct
from .exportable import Exportable, arm_for, facts_of
from .options import Options
from .package_metadata import KEY

LICENSE = "Apache-2.0"

_DESCRIPTIONS = {
    "context": "The last {1} text-chunk embeddings, oldest first; unit vectors, no physical unit.",
    "vector": "The newest text-chunk embedding; a unit vector, no physical unit.",
    "next_vector": "The predicted embedding of the next chunk: l2_normalize(last vector + delta), a unit vector.",
    "query": "What to look for: a unit vector, such as a next_vector; no physical unit.",
    "scores": "Inner products with the nearest vectors of the bank, cosines, from -1 to 1, best first.",
    "ids": "Which vectors of the bank these are: their places in it, from 0.",
    "delta": "The predicted step from the last vector to the next one, in the units of the embeddings.",
}
_IN_SPACE = {
    "next_vector": "The predicted embedding of the next chunk: query, mapped back out of the space; a unit vector.",
    "query": "What to search the bank with: l2_normalize(last vector + delta) in the {space} space, a unit vector.",
    "delta": "The predicted step from the last vector to the next one in the model's {space} space, no physical unit.",
}
_ASKED_IN_SPACE = "What to look for: the query of a prediction, a unit vector in the {space} space; no physical unit."
_STATE = "What the model keeps between calls ({0}); zeros before the first vector, no physical unit.{1}"
_ENDS = " It has room for {0} vectors: after more, all outputs are NaN until it begins anew."


def describe_package(spec: Any, model: Exportable, options: Options, author: str) -> None:
    """Fill in the metadata of a model specification, in place."""
    about = spec.description.metadata
    about.shortDescription = (
        f"Latent vector model {model.model_type}: reads text-chunk embeddings of {model.input_dim} numbers and "
        "predicts the embedding of the next chunk."
    )
    about.author, about.license, about.versionString = author, LICENSE, __version__
    functions = [function.name for function in spec.description.functions] or ["main"]
    about.userDefined.update(_user_metadata(model, options, functions))
    longest = arm_for(model, None).max_context
    ends = "" if longest is None else _ENDS.format(longest)
    for function in spec.description.functions or [spec.description]:
        meanings = _meanings(function, model)
        for feature in (*function.input, *function.output, *function.state):
            feature.shortDescription = _describe_feature(feature, meanings, ends)


def _meanings(function: Any, model: Exportable) -> dict[str, str]:
    """What the inputs and outputs of a function are, by name."""
    (given,) = function.input
    is_context = given.name == "context"
    arm = arm_for(model, given.type.multiArrayType.shape[1] if is_context else None)
    if arm.space is None:
        return _DESCRIPTIONS
    own = {"query": _ASKED_IN_SPACE} if given.name == "query" else _IN_SPACE
    return _DESCRIPTIONS | {name: words.replace("{space}", arm.config["space"]["kind"]) for name, words in own.items()}


def _user_metadata(model: Exportable, options: Options, functions: list[str]) -> dict[str, str]:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    known = facts_of(model)
    ours = {
        "model_type": known["model_type"],
        "config": json.dumps(known["config"]),
        "recipe_sha256": known["recipe_sha256"],
        "parameters": str(parameters),
        "functions": json.dumps(functions),
        "contexts": json.dumps(options.contexts),
        "flexible": json.dumps(options.flexible),
        "precision": options.precision,
        "compress": options.compress or "none",
        "metrics": json.dumps(plain(model.metrics)),
        "version": __version__,
        **_hits(model.metrics),
    }
    if options.bank is not None:
        bank = options.bank
        facts = {"vectors": len(bank.rows), "dtype": bank.dtype, "topk": bank.k}
        ours["bank"] = json.dumps({**facts, "sha256": digest(bank.stored(options.precision))})
    versions = {"torch.version": torch.__version__, "com.github.apple.coremltools.version": ct.__version__}
    return {f"{KEY}{name}": value for name, value in ours.items()} | versions


def _hits(metrics: dict[str, Any]) -> dict[str, str]:
    """Each known Hit@K in words, never without its pool, beside the baselines on the same queries."""
    pool = f"{metrics['pool']:,} candidates" if "pool" in metrics else "a pool of unknown size"
    baselines: dict[str, dict[str, float]] = metrics.get("baselines", {})
    hits = {}
    for k in (1, 5, 10):
        if f"hit{k}" in metrics:
            others = ", ".join(f"{name} {scores[f'hit{k}']:.2f}%" for name, scores in baselines.items())
            hits[f"hit@{k}"] = f"{metrics[f'hit{k}']:.2f}% among {pool}; baselines: {others or 'unknown'}"
    return hits


def _describe_feature(feature: Any, meanings: dict[str, str], ends: str) -> str:
    is_state = feature.type.WhichOneof("Type") == "stateType"
    array = feature.type.stateType.arrayType if is_state else feature.type.multiArrayType
    ranges = [(size.lowerBound, size.upperBound) for size in array.shapeRange.sizeRanges]
    sizes = [_range(*ends) for ends in ranges] or [str(size) for size in array.shape]
    dtype = array.ArrayDataType.Name(array.dataType).lower()
    meaning = _STATE.format(feature.name, ends) if is_state else meanings[feature.name].format(*sizes)
    return f"{meaning} Shape [{', '.join(sizes)}], {dtype}."


def _range(low: int, high: int) -> str:
    return f"{low} to {high}" if low < high else str(high)
