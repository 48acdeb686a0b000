"""Writes a model as a Core AI asset: `export_coreai`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...data.source import files_of
from ..candidate_bank import make_bank
from ..compression import Stored
from ..coreml import AUTHOR
from ..expectations import saved_expectations
from ..exportable import Exportable, check_as_built
from ..options import CONTEXTS, Options, check_lengths, check_path, check_weights, fitting_contexts
from . import SUFFIX
from .functions import Function, flexible_function, predict_function, step_function, topk_function
from .registry import Programs, check_streaming

_WHERE = "export_coreai"
_NEWEST = "ios18"  # Core AI knows all that the newest Core ML does


def export_coreai(
    model: Exportable,
    path: str | os.PathLike[str],
    contexts: Sequence[int] = CONTEXTS,
    streaming: bool = True,
    precision: str = "float16",
    compress: str | None = None,
    overwrite: bool = False,
    author: str = AUTHOR,
    flexible: int | None = None,
    bank: Any = None,
    bank_dtype: str = "float16",
    topk: int = 10,
) -> Path:
    """Write a model as a Core AI asset, for macOS 27 and iOS 27; the weights are stored once for all of its functions.

    The functions are those of `export_coreml`, with the same inputs and outputs: ``predict_N`` for each context length
    N, ``predict`` for any length up to `flexible`, ``step`` for one vector a call, and ``topk`` over a `bank`. States
    of ``step`` are of the precision, but that what has to count or to average for long is float32; their last axis is
    a multiple of 32, as the Neural Engine wants it. A recurrent ``predict_N`` is one loop; ``step`` has none.

    Beside the asset, ``NAME.aimodel.expected.safetensors`` gets inputs for each function and what the model makes of
    them, to compare a device with.

    Args:
        model: The trained model, or a router of trained models.
        path: The asset to write, ending in ``.aimodel``.
        contexts: Context lengths in vectors, each at least 1; unless given, those of 100, 500 and 1000 that the model
            has positions for, or a router's limits.
        streaming: Add ``step``; needs a model type that can stream.
        precision: What the asset stores and computes in, "float16" or "float32".
        compress: How the weight matrices are stored: None, as numbers of the precision; "int8", with a scale for each
            row; "palette6" or "palette4", as indices of 6 or 4 bits into palettes found by k-means, one for every 16
            rows. The numbers are those that `export_coreml` stores.
        overwrite: Replace an asset at `path`, and the file beside it.
        author: For the metadata.
        flexible: Add ``predict``, which takes 1 to this many vectors.
        bank: Add ``topk`` and put these candidates into the asset, as the model's `keys`: a `ChainStore`, or an array
            or tensor (N, D).
        bank_dtype: How the candidates are stored: "float16", or "int8" with a scale for each.
        topk: How many candidates ``topk`` finds, K.

    Returns:
        The path of the asset.

    Raises:
        ValueError: An argument does not fit, the model's type does not export, or a weight is NaN, infinite or beyond
            the precision; or the model was changed since it was made (a module swapped, added or parametrized, a hook).
        FileExistsError: `path` or the file beside it exists and `overwrite` is False, or that is another kind of file.
        OSError: The asset cannot be written.
        ImportError: Apple's packages are not installed, in a version that does not work, or not for this machine.
    """
    asset = Path(path)
    check_path(asset, overwrite, files_of(bank), SUFFIX, _WHERE)
    candidates = None if bank is None else make_bank(bank, bank_dtype, topk, model, _WHERE)
    if contexts is CONTEXTS:  # none were given
        contexts, _ = fitting_contexts(model, _NEWEST)
    options = Options.checked(contexts, streaming, precision, compress, _NEWEST, flexible, candidates, _WHERE)
    check_lengths(model, options)
    check_as_built(model, _WHERE)
    check_weights(model, _WHERE)
    if options.streaming:
        check_streaming(model)

    write_asset_of(model, asset, options, author, overwrite)
    return asset


def functions_of(programs: Programs, options: Options) -> dict[str, Function]:
    """Return the functions of an asset by name, for options that were checked."""
    functions = {f"predict_{length}": predict_function(programs.of(length), length) for length in options.contexts}
    if options.flexible is not None:
        functions["predict"] = flexible_function(programs.of(None), options.flexible)
    if options.streaming:
        functions["step"] = step_function(programs.of(None))
    if options.bank is not None:
        functions["topk"] = topk_function(options.bank, options.precision)
    return functions


def write_asset_of(
    model: Exportable, asset: Path, options: Options, author: str = AUTHOR, overwrite: bool = False
) -> Programs:
    """Write an asset whose options were checked, with the file beside it; return the programs of its functions."""
    from .asset import note_constants, write_asset  # first: without Apple's packages there is no work to do
    from .convert import convert
    from .metadata import describe_asset

    programs = Programs(model, options.precision, options.compress)
    functions = functions_of(programs, options)
    about = describe_asset(functions, model, options, author)
    constants: dict[str, Stored] = {}
    for function in functions.values():
        constants |= {function.scope + name: stored for name, stored in function.module.stored.items()}
    note_constants(about, constants)
    inputs = {name: function.input_shapes() for name, function in functions.items()}
    program = convert(functions)
    with saved_expectations(asset, inputs, model, options):
        write_asset(program, asset, list(functions), about, overwrite)
    return programs
