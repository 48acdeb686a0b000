"""Keeps numbers of more digits than a Core ML state has, which is float16: as a high and a low part."""

from __future__ import annotations

import numpy as np

from ..coremltools_compat import mb
from .layers import Variable, cast

_COUNT_UNIT = 64.0  # counts are stored in units of 64
LARGEST_COUNT = 4_000_000  # counts stop here: they are exact up to 2^22, and float16 ends at 65,504 units
_LOW_SCALE = 2048.0  # low parts are stored 2048 times larger, clear of float16's subnormal numbers


def join(parts: Variable, unit: float = 1.0) -> Variable:
    """Join the two parts of a state (2, ...) to float32 numbers (1, ...)."""
    high, low = mb.split(x=cast(parts, "float32"), num_splits=2, axis=0)
    return mb.mul(x=mb.add(x=high, y=mb.mul(x=low, y=np.float32(1 / _LOW_SCALE))), y=np.float32(unit))


def split(numbers: Variable, unit: float = 1.0) -> Variable:
    """Split float32 numbers (1, ...), up to 65,504 units, into two float16 parts of 11 bits each, (2, ...)."""
    scaled = mb.mul(x=numbers, y=np.float32(1 / unit))
    high = cast(scaled, "float16")
    rest = mb.mul(x=mb.sub(x=scaled, y=cast(high, "float32")), y=np.float32(_LOW_SCALE))
    return mb.concat(values=[high, cast(rest, "float16")], axis=0)


def join_count(parts: Variable) -> Variable:
    """Return the counts, or sums of weights of at most 1, that a state (2, ...) keeps: (1, ...) float32."""
    return join(parts, _COUNT_UNIT)


def split_count(numbers: Variable) -> Variable:
    """Split counts (1, ...), float32, as a state keeps them, at most `LARGEST_COUNT`."""
    return split(mb.minimum(x=numbers, y=np.float32(LARGEST_COUNT)), _COUNT_UNIT)
