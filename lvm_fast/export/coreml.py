"""From a model to a Core ML package: `export_coreml`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.source import files_of
from .candidate_bank import read_bank, topk_function
from .defaults import CONTEXTS, fitting_contexts
from .expectations import saved_expectations
from .exportable import Exportable, arms_of, check_as_built, check_lengths
from .options import Options, check_path, check_weights

if TYPE_CHECKING:
    from .coremltools_compat import Function
    from .mil.registry import Program

AUTHOR = "The lvm_fast developers"


def export_coreml(
    model: Exportable,
    path: str | os.PathLike[str],
    contexts: Sequence[int] = CONTEXTS,
    streaming: bool = True,
    precision: str = "float16",
    compress: str | None = None,
    target: str = "ios18",
    overwrite: bool = False,
    author: str = AUTHOR,
    flexible: int | None = None,
    bank: Any = None,
    bank_dtype: str = "float16",
    topk: int = 10,
) -> Path:
    """Write a model as a Core ML package; the weights are stored once for all of its functions.

    Each context length N gives a function ``predict_N``: ``context`` (1, N, D), oldest vector first -> the unit
    ``next_vector`` (1, D) and ``delta`` (1, D), all float32. `flexible` adds ``predict``, the same for any N up to a
    largest one. Streaming adds ``step``: ``vector`` (1, D) -> the same, with what the model keeps between calls as
    Core ML state. `bank` adds ``topk``: ``query`` (1, D), such as a ``next_vector`` -> ``scores`` (1, K), float32, and
    ``ids`` (1, K), int32: the rows of the bank with the largest inner products, best first.

    A model with a space reads the encoder's vectors all the same, and maps them itself. ``next_vector`` is then its
    `predict`, mapped back, ``delta`` the step in the space, and a third output, ``query`` (1, D), its `query`: what
    ``topk`` takes, since the bank in the package is of the model's `keys`.

    Of a `Router`, each ``predict_N`` is the arm for N vectors; its limits are the contexts unless others are given. The
    weights of an arm are stored once for all its functions. It has no ``step`` and no ``predict``.

    Beside the package, ``NAME.expected.safetensors`` gets inputs for each function and what the model makes of them, to
    compare a device with (`bench/coreml_device.py`).

    Args:
        model: The trained model, or a router of trained models.
        path: The package to write, ending in ``.mlpackage``.
        contexts: Context lengths in vectors, each at least 1; unless given, those of 100, 500 and 1000 that the model
            has positions for, and for targets before "ios18" one alone, if nothing else is asked.
        streaming: Add ``step``; needs target "ios18", and a model type that can stream.
        precision: What the package stores and computes in, "float16" or "float32". Hidden states between calls of
            ``step`` are float16 always: Core ML knows no others.
        compress: How the weight matrices are stored: None, as numbers of the precision; "int8", with a scale for each
            row; "palette6" or "palette4", as indices of 6 or 4 bits into palettes found by k-means, one for every 16
            rows. Biases and normalisations are never compressed. Needs target "ios18".
        target: "ios18" (or "macos15"), or "ios17" / "ios16" ("macos14" / "macos13"), whose packages hold one function,
            called ``main``, and no state.
        overwrite: Replace a package at `path`, and the file beside it.
        author: For the metadata.
        flexible: Add ``predict``, which takes 1 to this many vectors.
        bank: Add ``topk`` and put these candidates into the package, as the model's `keys`: a `ChainStore`, or an
            array or tensor (N, D).
        bank_dtype: How the candidates are stored: "float16", or "int8" with a scale for each (needs target "ios18").
        topk: How many candidates ``topk`` finds, K.

    Returns:
        The path of the package.

    Raises:
        ValueError: An argument does not fit, the model's type does not export, or a weight is NaN, infinite or beyond
            the precision; or the model was changed since it was made (a module swapped, added or parametrized, a hook).
        FileExistsError: `path` or the file beside it exists and `overwrite` is False, or that is another kind of file.
        OSError: The package cannot be written.
        ImportError: coremltools is not installed, or in a version that does not work.

    Example:
        >>> from lvm_fast import create_model
        >>> model = create_model("whitened_recency", input_dim=8)
        >>> export_coreml(model, "tiny.mlpackage", contexts=(4,)).name
        'tiny.mlpackage'
    """
    package = Path(path)
    check_path(package, overwrite, files_of(bank))
    candidates = None if bank is None else read_bank(bank, bank_dtype, topk, model, "export_coreml")
    if contexts is CONTEXTS:  # none were given
        contexts, _ = fitting_contexts(model, target, taken=streaming or flexible is not None or bank is not None)
    options = Options.checked(contexts, streaming, precision, compress, target, flexible, candidates)
    check_lengths(model, options)
    check_as_built(model, "export_coreml")
    check_weights(model, arms_of(model))

    write_program(model, package, options, author, overwrite)
    return package


def write_program(
    model: Exportable,
    package: Path,
    options: Options,
    author: str = AUTHOR,
    overwrite: bool = False,
) -> Program:
    """Write a package whose options were checked; returns what built its functions."""
    from .coremltools_compat import ct
    from .metadata import describe_package
    from .mil.program import Form
    from .mil.registry import build_program, check_streaming
    from .package.package import inputs_of, write_package

    if options.streaming:
        check_streaming(model)
    form = Form(options.precision, ct.target[options.deployment_target], options.compress)
    program = build_program(model, form)
    functions = _functions(program, options)
    inputs = {name: inputs_of(function) for name, function in functions.items()}
    with saved_expectations(package, inputs, model, options):
        write_package(functions, package, lambda spec: describe_package(spec, model, options, author), overwrite)
    return program


def _functions(program: Program, options: Options) -> dict[str, Function]:
    """The functions of the package by name."""
    functions = {f"predict_{length}": program.predict(length) for length in options.contexts}
    if options.flexible is not None:
        functions["predict"] = program.predict(None, options.flexible)
    if options.streaming:
        functions["step"] = program.step()
    if options.bank is not None:
        functions["topk"] = topk_function(options.bank, options.precision, program.target)
    if not options.is_multifunction:
        functions = dict(zip(["main"], functions.values(), strict=True))
    return functions
