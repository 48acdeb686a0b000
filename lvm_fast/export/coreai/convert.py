"""Makes a Core AI program of functions: torch's exporter, then Apple's converter."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping

import torch
from torch.export import Dim, ExportedProgram, export

from .apple import AIProgram, coreai_torch
from .functions import Function


def convert(functions: Mapping[str, Function]) -> AIProgram:
    """Make one program of all functions; constants of the same numbers are stored once.

    Args:
        functions: By name.
    """
    converter = coreai_torch.TorchConverter(mode=coreai_torch.TorchConverter.Mode.RELEASE)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch's exporter, about its own parts
        for name, function in functions.items():
            converter.add_exported_program(
                _exported(function),
                input_names=list(function.inputs),
                output_names=list(function.outputs),
                state_names=list(function.states),
                entrypoint_name=name,
            )
        with contextlib.redirect_stdout(io.StringIO()):  # its progress
            return converter.to_coreai()


def _exported(function: Function) -> ExportedProgram:
    bounds = {0: ("batch", function.most), 1: ("steps", function.longest)}
    sizes = {axis: Dim(name, min=1, max=most) for axis, (name, most) in bounds.items() if most is not None}
    examples = (*function.inputs.values(), *function.states.values())
    # the module takes any number of inputs: torch wants their sizes as one tuple
    dynamic = ((sizes,),) if sizes else None
    exported = export(function.module, examples, dynamic_shapes=dynamic, strict=False)
    plain: ExportedProgram = exported.run_decompositions(coreai_torch.get_decomp_table())
    return plain
