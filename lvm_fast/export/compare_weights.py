"""The constants of a package against those that its model asks for, one by one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from .compression import Palettized, Quantized, Stored


def wrong_constants(
    stored: Mapping[str, Stored],
    expected: Mapping[str, NDArray[np.float32]],
    precision: str,
    wide: Collection[str] = (),
) -> Iterator[str]:
    """A sentence on each constant that is not the model's, those that are missing or of another shape first.

    A tolerance on outputs hides a single wrong weight, so none is allowed here: a plain constant is the model's array
    in the precision, bit for bit; a compressed matrix is as near to it as its bits allow, number by number.

    Args:
        stored: The constants of a function of the package, by name.
        expected: The arrays that the model makes of itself, by the same names.
        precision: "float16" or "float32".
        wide: The names of those that are float32 whatever the precision.
    """
    held_in = {name: "float32" if name in wide else precision for name in sorted(stored.keys() | expected.keys())}
    forms = {name: _form_fault(name, stored, expected, dtype) for name, dtype in held_in.items()}
    yield from (f"{name} {fault}" for name, fault in forms.items() if fault)  # first: they explain the others
    for name in (name for name, fault in forms.items() if not fault):
        fault = _fault(stored[name], expected[name], held_in[name])
        if fault:
            yield f"{name} {fault}"


def _form_fault(
    name: str, stored: Mapping[str, Stored], expected: Mapping[str, NDArray[np.float32]], precision: str
) -> str | None:
    if name not in expected:
        return "is no constant of the model"
    if name not in stored:
        return "is missing"
    found, exact = stored[name], expected[name]
    if (found.dtype, found.shape) != (np.dtype(precision), exact.shape):
        return f"is {found.dtype} {found.shape}; expected {precision} {exact.shape}"
    return None


def _fault(stored: Stored, exact: NDArray[np.float32], precision: str) -> str | None:
    if isinstance(stored, Quantized | Palettized):
        return stored.fault(exact)
    bits = f"u{stored.itemsize}"  # 0 and -0 are not the same
    wrong = int((stored.view(bits) != exact.astype(precision).view(bits)).sum())
    return f"differs in {wrong:,} of {exact.size:,} numbers" if wrong else None
