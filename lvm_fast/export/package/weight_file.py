"""The weight file of a package, byte for byte: what its program's constants explain, and nothing else.

The layout is that of Core ML's blob storage: 64 bytes with the number of constants and the version; before each
constant 64 bytes of its own, all at multiples of 64; zeros everywhere else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .canonical import messages_in

FILE = Path("weights", "weight.bin")
_VERSION, _SENTINEL, _BLOCK = 2, 0xDEADBEEF, 64
# by the type's number in a program: its number in the file, and the bits of a value
_TYPES = {
    10: (1, 16),  # float16
    11: (2, 32),  # float32
    31: (3, 8),  # uint8
    21: (4, 8),  # int8
    35: (11, 4),  # uint4
    38: (13, 6),  # uint6
}


class Constant(NamedTuple):
    """Where the program says that one is, and of what type and how many numbers."""

    offset: int
    dtype: int
    numbers: int


def constants_in(message: Any) -> Iterator[Constant]:
    """The constants that a message, or one inside it, says are in the weight file."""
    for inner in messages_in(message):
        if inner.DESCRIPTOR.name == "Value" and inner.WhichOneof("value") == "blobFileValue":
            kind = inner.type.tensorType
            numbers = prod(size.constant.size for size in kind.dimensions)
            yield Constant(inner.blobFileValue.offset, kind.dataType, numbers)


def weight_file_fault(path: Path, constants: Iterable[Constant]) -> str | None:
    """Say what is wrong with a weight file, but for the numbers of its constants; None if all is well.

    Args:
        path: The file; one that is not there is empty.
        constants: Those of the program, from `constants_in`.
    """
    file = np.fromfile(path, np.uint8) if path.exists() else np.empty(0, np.uint8)
    constants = sorted(set(constants))
    unknown = [constant for constant in constants if constant.dtype not in _TYPES]
    if unknown:
        return f"the weight file holds a constant of type {unknown[0].dtype} of Core ML; lvm_fast writes none"
    wanted = np.zeros_like(file)
    free = np.full_like(file, 0xFF)  # the bits that are no numbers
    if constants:
        _put(wanted, 0, struct.pack("<II", len(constants), _VERSION))
    for offset, dtype, numbers in constants:
        code, bits = _TYPES[dtype]
        size = -(-numbers * bits // 8)
        begin = offset + _BLOCK
        if begin + size > len(file):
            return f"the weight file ends at byte {len(file)}; a constant is at bytes {begin} to {begin + size}"
        _put(wanted, offset, struct.pack("<IIQQQ", _SENTINEL, code, size, begin, 8 * size - numbers * bits))
        free[begin : begin + size] = 0
        if numbers * bits % 8:
            free[begin + size - 1] = 0xFF << numbers * bits % 8 & 0xFF
    wrong = np.flatnonzero((file ^ wanted) & free)
    if not len(wrong):
        return None
    return f"the weight file: no constant explains {len(wrong):,} bytes that are not zero, the first is byte {wrong[0]}"


def _put(array: NDArray[np.uint8], place: int, data: bytes) -> None:
    array[place : place + len(data)] = np.frombuffer(data, np.uint8)
