"""Writes a model as a Core ML package: `export_coreml`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.source import files_of
from .candidate_bank import make_bank, topk_function
from .expectations import saved_expectations
from .exportable import Exportable, check_as_built
from .options import CONTEXTS, Options, check_lengths, check_path, check_weights, fitting_contexts

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

    The functions, all of batch size 1; inputs and outputs are float32, but ``ids`` are int32:

    - ``predict_N`` for each context length N: ``context`` (1, N, D), oldest vector first -> the unit ``next_vector``
      (1, D) and ``delta`` (1, D).
    - ``predict`` where `flexible` is given: the same for any N up to a largest one.
    - ``step`` where `streaming` is on: ``vector`` (1, D) -> the same outputs. Core ML state keeps what the model
      remembers between calls.
    - ``topk`` where `bank` is given: ``query`` (1, D), such as a ``next_vector`` -> ``scores`` (1, K) and ``ids``
      (1, K), the rows of the bank with the largest inner products, best first.

    A model with a space still reads the encoder's vectors: it maps them into the space itself. Its ``next_vector`` is
    mapped back, its ``delta`` is a step in the space. It has a third output ``query`` (1, D): search with that, because
    the bank in the package holds the model's `keys`.

    Of a `Router`, ``predict_N`` is its model for N vectors. Its limits are the contexts unless others are given. The
    weights of each model are stored once. It has no ``step`` and no ``predict``.

    A file beside the package, ``NAME.expected.safetensors``, holds inputs for each function and the model's outputs.
    `lvm-fast verify --device` compares a Mac with it.

    Args:
        model: The trained model, or a router of trained models.
        path: The package to write, ending in ``.mlpackage``.
        contexts: Context lengths in vectors, each at least 1. The default is those of 100, 500 and 1000 that the model
            has positions for; for targets before "ios18" one alone, and none beside another function.
        streaming: Add ``step``. It needs target "ios18" and a model type that can stream.
        precision: The dtype of stored numbers and of arithmetic, "float16" or "float32". States between calls of
            ``step`` are always float16: Core ML has no others.
        compress: How weight matrices are stored. None: as numbers of the precision. "int8": with a scale for each row.
            "palette6" and "palette4": as indices of 6 or 4 bits into palettes found by k-means, one for every 16 rows.
            Biases and normalisations are never compressed. Needs target "ios18".
        target: "ios18" (or "macos15"); or "ios17", "ios16" (or "macos14", "macos13"), whose packages hold one function,
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
        ValueError: An argument does not fit; the model's type has no exporter; a weight is NaN, infinite or beyond the
            precision; or the model was changed since it was made (a module swapped, added or parametrized, a hook).
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
    candidates = None if bank is None else make_bank(bank, bank_dtype, topk, model, "export_coreml")
    if contexts is CONTEXTS:  # none were given
        contexts, _ = fitting_contexts(model, target, streaming or flexible is not None or bank is not None)
    options = Options.checked(contexts, streaming, precision, compress, target, flexible, candidates)
    check_lengths(model, options)
    check_as_built(model, "export_coreml")
    check_weights(model)
    write_program(model, package, options, author, overwrite)
    return package


def write_program(
    model: Exportable,
    package: Path,
    options: Options,
    author: str = AUTHOR,
    overwrite: bool = False,
) -> Program:
    """Write a package whose options were checked, and return the program that built its functions."""
    from .coremltools_compat import ct
    from .metadata import write_metadata
    from .mil.program import ProgramOptions
    from .mil.registry import build_program, check_streaming
    from .package.package import inputs_of, write_package

    if options.streaming:
        check_streaming(model)
    target = ct.target[options.deployment_target]
    program = build_program(model, ProgramOptions(options.precision, target, options.compress))
    functions = _functions(program, options)
    inputs = {name: inputs_of(function) for name, function in functions.items()}
    with saved_expectations(package, inputs, model, options):
        write_package(functions, package, lambda spec: write_metadata(spec, model, options, author), overwrite)
    return program


def _functions(program: Program, options: Options) -> dict[str, Function]:
    """Build the functions of the package, by name."""
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
