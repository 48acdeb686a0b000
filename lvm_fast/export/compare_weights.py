"""Compares the constants of a package with those of its model, one by one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from .compression import Palettized, Quantized, Stored


def wrong_constants(
    stored: Mapping[str, Stored],
    expected: Mapping[str, NDArray[np.float32]],
    precision: str,
    float32_names: Collection[str] = (),
) -> Iterator[str]:
    """Yield a sentence on each constant that is not the model's; missing ones and other shapes come first.

    A tolerance on outputs could hide a single wrong weight, so none is allowed here. A plain constant must be the
    model's array in the precision, bit for bit. A compressed matrix must be as near to it as its bits allow, number by
    number.

    Args:
        stored: The constants of a function of the package, by name.
        expected: The arrays that the model makes of itself, by the same names.
        precision: "float16" or "float32".
        float32_names: The constants that are float32 whatever the precision.
    """
    names = sorted(stored.keys() | expected.keys())
    dtypes = {name: "float32" if name in float32_names else precision for name in names}
    misshapen = {name: _shape_fault(name, stored, expected, dtype) for name, dtype in dtypes.items()}
    yield from (f"{name} {fault}" for name, fault in misshapen.items() if fault)  # they explain the others
    for name in (name for name, fault in misshapen.items() if not fault):
        fault = _value_fault(stored[name], expected[name], dtypes[name])
        if fault:
            yield f"{name} {fault}"


def _shape_fault(
    name: str, stored: Mapping[str, Stored], expected: Mapping[str, NDArray[np.float32]], precision: str
) -> str | None:
    if name not in expected:
        return "is no constant of the model"
    if name not in stored:
        return "is missing"
    got, exact = stored[name], expected[name]
    if (got.dtype, got.shape) != (np.dtype(precision), exact.shape):
        return f"is {got.dtype} {got.shape}; expected {precision} {exact.shape}"
    return None


def _value_fault(stored: Stored, exact: NDArray[np.float32], precision: str) -> str | None:
    if isinstance(stored, Quantized | Palettized):
        return stored.fault(exact)
    bits = f"u{stored.itemsize}"  # as bits, 0 and -0 differ
    wrong = int((stored.view(bits) != exact.astype(precision).view(bits)).sum())
    return f"differs in {wrong:,} of {exact.size:,} numbers" if wrong else None
