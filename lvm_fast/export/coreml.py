"""From a model to a Core ML package: `export_coreml`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from ..models.base import LatentVectorModel

TARGETS = {"ios16": "iOS16", "ios17": "iOS17", "ios18": "iOS18"}
PRECISIONS = ("float16", "float32")
_LONGEST_CONTEXT = 1_000_000


def export_coreml(
    model: LatentVectorModel,
    path: str | os.PathLike[str],
    contexts: Sequence[int] = (100, 500, 1000),
    streaming: bool = True,
    precision: str = "float16",
    compress: str | None = None,
    target: str = "ios18",
    overwrite: bool = False,
    author: str = "The lvm_fast developers",
) -> Path:
    """Write a model as a Core ML package; the weights are stored once for all of its functions.

    Each context length N gives a function ``predict_N``: ``context`` (1, N, D), oldest vector first -> the unit
    ``next_vector`` (1, D) and ``delta`` (1, D), all float32. Streaming adds ``step``: ``vector`` (1, D) -> the same,
    with the hidden states kept between calls as Core ML state.

    Args:
        model: The trained model.
        path: The package to write, ending in ``.mlpackage``.
        contexts: Context lengths in vectors, each at least 1.
        streaming: Add ``step``; needs target "ios18".
        precision: What the package stores and computes in, "float16" or "float32". Hidden states between calls of
            ``step`` are float16 always: Core ML knows no others.
        compress: None; compressed weights are not supported yet.
        target: "ios18" (macOS 15), or "ios17" / "ios16" (macOS 14 / 13), whose packages hold one function, called
            ``main``, and no state.
        overwrite: Replace a package at `path`.
        author: For the metadata.

    Returns:
        The path of the package.

    Raises:
        ValueError: An argument does not fit, the model's type does not export, or a weight is NaN, infinite or beyond
            the precision.
        FileExistsError: `path` exists and `overwrite` is False.
        OSError: The package cannot be written.
        ImportError: coremltools is not installed.
    """
    package = _check_path(path, overwrite)
    lengths = _check_contexts(contexts)
    model.check_length(max(lengths, default=0))
    _check_choice("precision", precision, PRECISIONS)
    _check_choice("target", target, tuple(TARGETS))
    _check_choice("compress", compress, (None,))
    _check_features(lengths, streaming, target)
    _check_weights(model)

    from .metadata import describe_package
    from .package import write_package
    from .programs import build_program
    from .toolkit import ct

    program = build_program(model, precision, ct.target[TARGETS[target]])
    functions = {f"predict_{length}": program.predict(length) for length in lengths}
    if streaming:
        functions["step"] = program.step()
    if target != "ios18":
        functions = dict(zip(["main"], functions.values(), strict=True))
    write_package(functions, package, lambda spec: describe_package(spec, model, lengths, precision, author), overwrite)
    return package


def _check_path(path: str | os.PathLike[str], overwrite: bool) -> Path:
    package = Path(path)
    if package.suffix != ".mlpackage":
        raise ValueError(f"export_coreml: path is {str(path)!r}; expected a name ending in .mlpackage")
    if package.exists() and not overwrite:
        raise FileExistsError(
            f"export_coreml: {package} exists already; pass overwrite=True (--overwrite) to replace it"
        )
    return package


def _check_contexts(contexts: Sequence[int]) -> list[int]:
    for index, length in enumerate(contexts):
        is_count = isinstance(length, int) and not isinstance(length, bool) and 1 <= length <= _LONGEST_CONTEXT
        if not is_count or length in contexts[:index]:
            expected = f"different whole numbers from 1 to {_LONGEST_CONTEXT:,}"
            raise ValueError(f"export_coreml: contexts[{index}] = {length!r}; expected {expected}")
    return list(contexts)


def _check_choice(name: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        expected = " or ".join(repr(choice) for choice in choices)
        raise ValueError(f"export_coreml: {name} = {value!r}; expected {expected}")


def _check_features(contexts: list[int], streaming: bool, target: str) -> None:
    if not contexts and not streaming:
        raise ValueError("export_coreml: contexts is empty and streaming is off; expected at least one function")
    if target != "ios18" and streaming:
        raise ValueError(
            f"export_coreml: streaming keeps Core ML state, which target {target!r} lacks; pass "
            "streaming=False (--no-streaming) or target 'ios18'"
        )
    if target != "ios18" and len(contexts) > 1:
        raise ValueError(
            f"export_coreml: {len(contexts)} contexts make as many functions, and target {target!r} "
            f"takes one; pass one context, such as {contexts[0]}, or target 'ios18'"
        )


def _check_weights(model: LatentVectorModel) -> None:
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise ValueError(f"export_coreml: {name} of the model holds NaN or Inf; expected finite weights")
    if _is_untrained(model):
        warnings.warn("export_coreml: the model looks untrained; its predictions will mean nothing", stacklevel=3)


def _is_untrained(model: LatentVectorModel) -> bool:
    """Whether every LayerNorm still has its initial values, which one optimiser step changes."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
    return bool(norms) and all(bool((norm.weight == 1).all() and (norm.bias == 0).all()) for norm in norms)
