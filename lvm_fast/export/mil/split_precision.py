"""Numbers of more digits than a Core ML state has, which is float16: a high part, and a low part with the rest."""

from __future__ import annotations

import numpy as np

from ..coremltools_compat import mb
from .layers import Variable, cast

_COUNT = 64.0  # counts are kept in units of so many
LARGEST_COUNT = 4_000_000  # where counts stop: they are exact up to 2^22, and float16 ends at 65,504 units
_REST = 2048.0  # rests are kept as many times larger, clear of float16's subnormal numbers


def whole(parts: Variable, unit: float = 1.0) -> Variable:
    """The numbers (1, ...), float32, of which a state keeps the parts (2, ...)."""
    high, low = mb.split(x=cast(parts, "float32"), num_splits=2, axis=0)
    return mb.mul(x=mb.add(x=high, y=mb.mul(x=low, y=np.float32(1 / _REST))), y=np.float32(unit))


def parts_of(numbers: Variable, unit: float = 1.0) -> Variable:
    """Numbers (1, ...), float32, as two parts of 11 bits each: (2, ...), float16; up to 65,504 units."""
    scaled = mb.mul(x=numbers, y=np.float32(1 / unit))
    high = cast(scaled, "float16")
    rest = mb.mul(x=mb.sub(x=scaled, y=cast(high, "float32")), y=np.float32(_REST))
    return mb.concat(values=[high, cast(rest, "float16")], axis=0)


def count_of(parts: Variable) -> Variable:
    """What a state (2, ...) has counted, (1, ...) float32: whole, or sums of weights of at most 1."""
    return whole(parts, _COUNT)


def counted(numbers: Variable) -> Variable:
    """Counts (1, ...), float32, as a state keeps them; what would be more stays at `LARGEST_COUNT`."""
    return parts_of(mb.minimum(x=numbers, y=np.float32(LARGEST_COUNT)), _COUNT)
