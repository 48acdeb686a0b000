"""The constants of a package against those that its model asks for, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from .compression import Palettized, Quantized, Stored


def wrong_constants(
    stored: Mapping[str, Stored], expected: Mapping[str, NDArray[np.float32]], precision: str
) -> Iterator[str]:
    """A sentence on each constant that is not the model's.

    A tolerance on outputs hides a single wrong weight, so none is allowed here: a plain constant is the model's array
    in the precision, bit for bit; a compressed matrix is as near to it as its bits allow, number by number.

    Args:
        stored: The constants of a function of the package, by name.
        expected: The arrays that the model makes of itself, by the same names.
        precision: "float16" or "float32".
    """
    for name in sorted(stored.keys() | expected.keys()):
        if name not in expected:
            yield f"{name} is no constant of the model"
        elif name not in stored:
            yield f"{name} is missing"
        else:
            fault = _fault(stored[name], expected[name], precision)
            if fault:
                yield f"{name} {fault}"


def _fault(stored: Stored, exact: NDArray[np.float32], precision: str) -> str | None:
    if (stored.dtype, stored.shape) != (np.dtype(precision), exact.shape):
        return f"is {stored.dtype} {stored.shape}; expected {precision} {exact.shape}"
    if isinstance(stored, Quantized | Palettized):
        return stored.fault(exact)
    wrong = int((stored != exact.astype(precision)).sum())
    return f"differs in {wrong:,} of {exact.size:,} numbers" if wrong else None
