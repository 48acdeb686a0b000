"""Constants as MIL operations, plain and compressed: written, and read back."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compression import Palettized, Quantized, Stored
from ..coremltools_compat import Operation, Var, mb, types

_INT8, _PALETTE = "constexpr_blockwise_shift_scale", "constexpr_lut_to_dense"
COMPRESSED = (_INT8, _PALETTE)


def mil_name(name: str) -> str:
    """A tensor's name as a MIL identifier, which knows no dots."""
    return name.replace(".", "_")


def write_constant(stored: Stored, name: str) -> Var:
    """Add a constant to the block being built. Constants of one name share one place in the weight file."""
    if isinstance(stored, Quantized):
        variable = mb.constexpr_blockwise_shift_scale(data=stored.data, scale=stored.scale, name=mil_name(name))
    elif isinstance(stored, Palettized):
        indices = stored.indices.astype(types.nptype_from_builtin(types.string_to_builtin(f"uint{stored.bits}")))
        variable = mb.constexpr_lut_to_dense(indices=indices, lut=stored.palettes, name=mil_name(name))
    else:
        variable = mb.const(val=stored, name=mil_name(name))
        variable.op.weight_id = name
        return variable
    for part, source in _parts(variable.op).items():
        source.op.weight_id = f"{name}.{part}"
    return variable


def read_compressed(operation: Operation) -> Quantized | Palettized:
    """What an operation of `COMPRESSED` holds. Raises ValueError where it is of a form that we do not write."""
    parts = {name: var.val for name, var in _parts(operation).items()}
    if operation.op_type == _INT8 and parts.keys() == {"data", "scale"} and parts["scale"].shape[-1] == 1:
        return Quantized(**parts)
    if operation.op_type == _PALETTE and parts.keys() == {"indices", "lut"} and parts["lut"].shape[-3] == 1:
        return Palettized(parts["indices"].astype(np.uint8), parts["lut"])
    shapes = ", ".join(f"{name} {np.shape(value)}" for name, value in parts.items())
    expected = "a scale for each row or a palette for each group of rows"
    raise ValueError(f"{operation.op_type} of {shapes}, unknown here; expected {expected}")


def _parts(operation: Operation) -> dict[str, Any]:
    return {name: var for name, var in operation.inputs.items() if var is not None}
