"""Runs a float16 program with sums of float32, as our Core ML interpreter does.

Apple's runtime for Linux (1.0.0b3) sums float16 products in float16, one by one: their error grows with the width of a
layer, to ten times that of rounding and more, and they take a hundred times as long as sums in float32.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .apple import AIModelAsset, AIProgram, InsertionPoint, RankedTensorType, as_type, float_types, operations_in
from .asset import save_program
from .runtime import RunningAsset

_SUMS = frozenset(
    {
        "coreai.batch_matmul",
        "coreai.decomposable.broadcasting_batch_matmul",
        "coreai.reduce_mean",
        "coreai.reduce_sum",
        "coreai.softmax",
    }
)


@contextmanager
def running(path: str | os.PathLike[str], precision: str) -> Iterator[RunningAsset]:
    """Load an asset into Apple's runtime; one of float16 with its sums widened."""
    if precision == "float32":
        with RunningAsset(path) as asset:
            yield asset
        return
    program = AIModelAsset.load(Path(path)).program
    widen_sums(program)
    with TemporaryDirectory() as folder:
        widened = Path(folder, Path(path).name)
        save_program(program, widened)
        with RunningAsset(widened) as asset:
            yield asset


def widen_sums(program: AIProgram) -> None:
    """Have every operation that sums read float32 and give float32, rounded to float16 afterwards; in place."""
    for graph in program._module._mlir_module.body.operations:
        with graph.operation.context:
            narrow, wide = float_types()
            widened: dict[Any, Any] = {}  # what every float16 value is in float32, once
            for operation in list(operations_in(graph.operation)):
                if operation.name in _SUMS and _element(operation.results[0]) == narrow:
                    _widen(operation, narrow, wide, widened)


def _widen(operation: Any, narrow: Any, wide: Any, widened: dict[Any, Any]) -> None:
    for index, operand in enumerate(operation.operands):
        if _element(operand) == narrow:
            if operand not in widened:
                widened[operand] = _cast_where_made(operand, wide)
            operation.operands[index] = widened[operand]
    result = operation.results[0]
    with InsertionPoint.after(operation), operation.location:
        result.set_type(RankedTensorType.get(list(result.type.shape), wide))
        rounded = as_type(result, narrow)
    result.replace_all_uses_except(rounded, rounded.owner)


def _cast_where_made(value: Any, wide: Any) -> Any:
    """Cast a value to float32 beside what makes it: what is made outside of a loop is not cast at every step."""
    owner = value.owner
    is_argument = hasattr(owner, "operations")  # of a block
    place = InsertionPoint.at_block_begin(owner) if is_argument else InsertionPoint.after(owner)
    with place, value.location:
        return as_type(value, wide)


def _element(value: Any) -> Any:
    return getattr(value.type, "element_type", None)
