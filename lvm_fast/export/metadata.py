"""Writes the metadata of a package, and reads it back, checked, before its program is.

The metadata describe every input and output, the model, its metrics, and who made the package with what.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from .._util.numbers import plain
from .._util.strict_json import read_json
from .._version import __version__
from ..models.model_types import MODELS
from .candidate_bank import BANK_DTYPES, rows_digest
from .compression import COMPRESSIONS
from .exportable import Exportable, describe_model, model_for_length, space_kinds
from .options import PRECISIONS, Options
from .package import METADATA_PREFIX

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
# the same of a model with a space
_DESCRIPTIONS_IN_SPACE = {
    "next_vector": "The predicted embedding of the next chunk: query, mapped back out of the space; a unit vector.",
    "query": "What to search the bank with: l2_normalize(last vector + delta) in the {space} space, a unit vector.",
    "delta": "The predicted step from the last vector to the next one in the model's {space} space, no physical unit.",
}
_TOPK_QUERY_IN_SPACE = (
    "What to look for: the query of a prediction, a unit vector in the {space} space; no physical unit."
)
_CORRECTED = "Its last two numbers correct for hubness."
_CORRECTED_SCORES = "Inner products with the nearest rows of the bank, corrected for hubness, from -1 to 1, best first."
_STATE = "What the model keeps between calls ({0}); zeros before the first vector, no physical unit.{1}"
_STATE_LIMIT = " It has room for {0} vectors: after more, all outputs are NaN until it begins anew."


class BankMetadata(NamedTuple):
    """The bank of a package: how its rows are stored, how many ``topk`` finds, and the digest of the rows."""

    dtype: str
    topk: int
    sha256: str


class PackageMetadata(NamedTuple):
    """The metadata that a verification needs.

    Attributes:
        model_type: The type of the model, or "router".
        input_dim: Width D of the vectors.
        spaces: The kind of the model's space, None where it has none; one entry for each model of a router.
        functions: Names of all functions, in order.
        precision: "float16" or "float32".
        compress: How matrices are stored, or None.
        flexible: The most vectors that ``predict`` takes; None where there is no such function.
        bank: The bank; None where there is none.
    """

    model_type: str
    input_dim: int
    spaces: tuple[str | None, ...]
    functions: tuple[str, ...]
    precision: str
    compress: str | None
    flexible: int | None
    bank: BankMetadata | None


def write_metadata(spec: Any, model: Exportable, options: Options, author: str) -> None:
    """Fill in the metadata of a model specification, in place."""
    from .coremltools_compat import ct

    metadata = spec.description.metadata
    metadata.shortDescription = describe_package(model)
    metadata.author, metadata.license, metadata.versionString = author, LICENSE, __version__
    functions = [function.name for function in spec.description.functions] or ["main"]
    metadata.userDefined.update(user_defined(model, options, functions))
    metadata.userDefined["com.github.apple.coremltools.version"] = ct.__version__
    for function in spec.description.functions or [spec.description]:
        (given,) = function.input
        length = given.type.multiArrayType.shape[1] if given.name == "context" else None
        descriptions = describe_features(model, given.name, length)
        for feature in (*function.input, *function.output, *function.state):
            feature.shortDescription = _describe_feature(feature, descriptions, model)


def describe_package(model: Exportable) -> str:
    """Return what a package of the model does, in one sentence."""
    return (
        f"Latent vector model {model.model_type}: reads text-chunk embeddings of {model.input_dim} numbers and "
        "predicts the embedding of the next chunk."
    )


def describe_features(model: Exportable, given: str, context_length: int | None) -> dict[str, str]:
    """Return the texts for the inputs and outputs of a function, by name.

    Args:
        model: The model.
        given: The name of the function's input.
        context_length: How many vectors it reads; None for any number, and where it reads no context.
    """
    used = model_for_length(model, context_length)
    if used.space is None:
        return _DESCRIPTIONS
    texts = {"query": _TOPK_QUERY_IN_SPACE} if given == "query" else _DESCRIPTIONS_IN_SPACE
    kind = used.config["space"]["kind"]
    described = _DESCRIPTIONS | {name: text.replace("{space}", kind) for name, text in texts.items()}
    if used.hubness is not None:
        described |= {"query": f"{described['query']} {_CORRECTED}", "scores": _CORRECTED_SCORES}
    return described


def describe_state(model: Exportable, name: str) -> str:
    """Return the text for a state."""
    longest = model_for_length(model, None).max_context
    return _STATE.format(name, "" if longest is None else _STATE_LIMIT.format(longest))


def read_metadata(path: str | os.PathLike[str]) -> PackageMetadata:
    """Read the metadata of a package.

    Raises:
        FileNotFoundError: There is no package at `path`.
        ValueError: It is not readable, lvm_fast did not write it, or an entry is missing or makes no sense.
    """
    from .package.package import read_description

    return parse_metadata(read_description(path).metadata.userDefined, path, "verify_coreml")


def parse_metadata(entries: Mapping[str, Any], path: str | os.PathLike[str], where: str) -> PackageMetadata:
    """Make plain values of user-defined metadata.

    Args:
        entries: What `user_defined` returned.
        path: The package to name in messages.
        where: The function to name in messages.

    Raises:
        ValueError: lvm_fast did not write it, or an entry is missing or makes no sense.
    """
    entries = {
        name.removeprefix(METADATA_PREFIX): value
        for name, value in entries.items()
        if name.startswith(METADATA_PREFIX) and isinstance(value, str)
    }
    if "model_type" not in entries:
        raise ValueError(f"{where}: {path} was not exported by lvm_fast")
    try:
        compress = _entry(entries, "compress", str, lambda how: how in (*COMPRESSIONS, "none"), "a compression or none")
        config = _entry(entries, "config", read_json, _has_width, "JSON with input_dim")
        _entry(entries, "config", read_json, _has_space_kinds, "a kind for each space")
        model_type = entries["model_type"]
        return PackageMetadata(
            MODELS.current_name(model_type) if model_type in MODELS else model_type,
            config["input_dim"],
            space_kinds(config),
            tuple(_entry(entries, "functions", read_json, _is_names, "a JSON list of names")),
            _entry(entries, "precision", str, lambda name: name in PRECISIONS, " or ".join(PRECISIONS)),
            None if compress == "none" else compress,
            _entry(entries, "flexible", read_json, lambda most: most is None or _is_count(most), "null or a number"),
            _bank_metadata(entries),
        )
    except ValueError as error:
        raise ValueError(f"{where}: {path} is damaged: {error}; export it again") from error


def _describe_feature(feature: Any, descriptions: Mapping[str, str], model: Exportable) -> str:
    is_state = feature.type.WhichOneof("Type") == "stateType"
    array = feature.type.stateType.arrayType if is_state else feature.type.multiArrayType
    ranges = [(size.lowerBound, size.upperBound) for size in array.shapeRange.sizeRanges]
    sizes = [_size_range(*bounds) for bounds in ranges] or [str(size) for size in array.shape]
    dtype = array.ArrayDataType.Name(array.dataType).lower()
    meaning = describe_state(model, feature.name) if is_state else descriptions[feature.name].format(*sizes)
    return f"{meaning} Shape [{', '.join(sizes)}], {dtype}."


def _size_range(low: int, high: int) -> str:
    return f"{low} to {high}" if low < high else str(high)


def user_defined(model: Exportable, options: Options, functions: list[str]) -> dict[str, str]:
    """Return the entries that `parse_metadata` and people read, and the version of torch."""
    described = describe_model(model)
    entries = {
        "model_type": described["model_type"],
        "config": json.dumps(described["config"]),
        "recipe_sha256": described["recipe_sha256"],
        "parameters": str(sum(parameter.numel() for parameter in model.parameters())),
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
        sizes = {"vectors": len(bank.rows), "dtype": bank.dtype, "topk": bank.k}
        entries["bank"] = json.dumps({**sizes, "sha256": rows_digest(bank.stored(options.precision))})
    entries = {f"{METADATA_PREFIX}{name}": value for name, value in entries.items()}
    return {**entries, "torch.version": torch.__version__}


def _hits(metrics: dict[str, Any]) -> dict[str, str]:
    """Return each known Hit@K as text, always with its pool and the baselines on the same queries."""
    pool = f"{metrics['pool']:,} candidates" if "pool" in metrics else "a pool of unknown size"
    baselines: dict[str, dict[str, float]] = metrics.get("baselines", {})
    hits = {}
    for k in (1, 5, 10):
        if f"hit{k}" in metrics:
            others = ", ".join(f"{name} {scores[f'hit{k}']:.2f}%" for name, scores in baselines.items())
            hits[f"hit@{k}"] = f"{metrics[f'hit{k}']:.2f}% among {pool}; baselines: {others or 'unknown'}"
    return hits


def _bank_metadata(entries: Mapping[str, str]) -> BankMetadata | None:
    if "bank" not in entries:
        return None
    bank = _entry(entries, "bank", read_json, _is_bank, "JSON with dtype, topk and sha256")
    return BankMetadata(bank["dtype"], bank["topk"], bank["sha256"])


def _entry(
    entries: Mapping[str, str], name: str, read: Callable[[str], Any], fits: Callable[[Any], bool], expected: str
) -> Any:
    """Read one entry. Raises ValueError where it is missing or does not fit."""
    try:
        value = read(entries[name])
        makes_sense = fits(value)
    except (KeyError, ValueError):
        makes_sense = False
    if not makes_sense:
        got = f"{entries[name]:.60}" if name in entries else "missing"
        raise ValueError(f"{METADATA_PREFIX}{name} is {got}; expected {expected}")
    return value


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _has_width(config: object) -> bool:
    return isinstance(config, dict) and _is_count(config.get("input_dim"))


def _has_space_kinds(config: Any) -> bool:
    try:
        return all(kind is None or isinstance(kind, str) for kind in space_kinds(config))
    except (AttributeError, KeyError, TypeError):
        return False


def _is_names(functions: object) -> bool:
    return isinstance(functions, list) and bool(functions) and all(isinstance(name, str) for name in functions)


def _is_bank(bank: object) -> bool:
    if not isinstance(bank, dict):
        return False
    return bank.get("dtype") in BANK_DTYPES and _is_count(bank.get("topk")) and isinstance(bank.get("sha256"), str)
