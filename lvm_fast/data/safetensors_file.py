"""The `.safetensors` container: 8 bytes of header length, a JSON header, then the tensors' bytes.

Reading maps the file and believes nothing the header says before checking it against the file, as strictly as the
format's own library does. Writing streams, so that a store never needs a second copy of itself in memory. Other
safetensors readers open the files too.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np

from .._util.strict_json import read_json
from .number_formats import Raw

MAX_HEADER = 100_000_000  # the limit of the safetensors library
_METADATA = "__metadata__"
_LARGEST = 2**64 - 1
# bits of a number
_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8"), 8),
    **dict.fromkeys(("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("C64", "F64", "I64", "U64"), 64),
}
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I8": np.dtype("i1"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
}


@dataclass(frozen=True)
class Tensor:
    """One mapped tensor: its safetensors dtype code and its values, read-only.

    bfloat16 is given as uint16 bits, a dtype that is not in `DTYPES` as bytes in a row.
    """

    code: str
    values: Raw


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Map every tensor of a `.safetensors` file, and give its metadata.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is truncated, its header is malformed or does not fit the file, or numpy has no such shape.
    """
    with open(path, "rb") as file:
        header = read_header(file, os.fstat(file.fileno()).st_size)
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[header.data_start :]
    tensors = {}
    for name, (code, shape, begin, end) in header.entries.items():
        raw = np.frombuffer(data[begin:end], np.uint8)
        try:
            values = raw.view(DTYPES[code]).reshape(shape) if code in DTYPES else raw
        except ValueError as error:
            raise ValueError(f"tensor '{name}' has shape {shape!r:.99}: {error}") from error
        tensors[name] = Tensor(code, values)
    return tensors, header.metadata


class TensorWriter:
    """Writes tensors of known dtype and shape into `path`, block by block, in any order.

    Args:
        layout: name -> (dtype code, shape), in the order of the file; wider numbers first keeps them aligned.
    """

    def __init__(self, path: Path, layout: dict[str, tuple[str, tuple[int, ...]]], metadata: dict[str, str]) -> None:
        header: dict[str, Any] = {"__metadata__": metadata}
        self._begins: dict[str, int] = {}
        position = 0
        for name, (code, shape) in layout.items():
            end = position + prod(shape) * DTYPES[code].itemsize
            header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [position, end]}
            self._begins[name] = position
            position = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        if len(text) > MAX_HEADER:
            raise ValueError(f"ids and metadata take {len(text)} bytes; a safetensors header holds {MAX_HEADER}")
        self._data_start = 8 + len(text)
        self._file = open(path, "wb")  # noqa: SIM115 - closed by __exit__
        self._file.write(struct.pack("<Q", len(text)) + text)

    def put(self, name: str, first: int, rows: Raw) -> None:
        """Write `rows` of tensor `name`, beginning at its row `first`."""
        rows = np.ascontiguousarray(rows)
        self._file.seek(self._data_start + self._begins[name] + first * (rows.nbytes // len(rows)))
        self._file.write(rows.data)

    def __enter__(self) -> TensorWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class Entry(NamedTuple):
    """A tensor in the file: its dtype code, its shape, and its first and past-the-last byte after the header."""

    code: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """The contents of a header.

    Attributes:
        entries: The tensors by name, in the order of the header.
        metadata: Its texts by name.
        data_start: The first byte after the header.
    """

    entries: dict[str, Entry]
    metadata: dict[str, str]
    data_start: int


def read_header(file: IO[bytes], size: int) -> Header:
    """Read the header of a file of `size` bytes, from its beginning, and check it against the file.

    Nothing is believed: the tensors lie end to end and fill the file, and the bytes of each are those that its dtype
    and shape take. A key that stands twice is refused even where the library takes the last.

    Raises:
        ValueError: The file is truncated, or its header is malformed or does not fit it.
    """
    held, data_start = _read_object(file, size)
    metadata = held.pop(_METADATA, None)
    entries = {name: _entry(name, described) for name, described in held.items()}
    _check_coverage(entries, size - data_start)
    return Header(entries, _checked_metadata(metadata), data_start)


def _read_object(file: IO[bytes], size: int) -> tuple[dict[str, Any], int]:
    prefix = file.read(8)
    if len(prefix) < 8:
        raise ValueError(f"the file holds {size} bytes; expected a safetensors file, which is longer")
    (length,) = struct.unpack("<Q", prefix)
    if length > min(MAX_HEADER, size - 8):
        raise ValueError(f"the header claims {length} bytes, the file holds {size}; truncated or no safetensors file")
    try:
        header = read_json(file.read(length).decode())
    except ValueError as error:
        raise ValueError(f"the header is no valid JSON ({error}); expected a safetensors file") from error
    if not isinstance(header, dict):
        raise ValueError(f"the header is a JSON {type(header).__name__}; expected an object")
    return header, 8 + length


def _checked_metadata(metadata: Any) -> dict[str, str]:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"{_METADATA} in the header is malformed; expected an object of strings")
    return metadata


def _entry(name: str, described: Any) -> Entry:
    """Return a tensor, once its dtype, shape and length agree."""
    if not isinstance(described, dict) or not {"dtype", "shape", "data_offsets"} <= described.keys():
        raise ValueError(f"tensor '{name}' is malformed in the header; expected dtype, shape and data_offsets")
    code, shape, span = described["dtype"], described["shape"], described["data_offsets"]
    if not isinstance(code, str) or code not in _BITS:
        raise ValueError(f"tensor '{name}' has dtype {code!r}; expected one of the format, such as F32")
    if not _natural_numbers(shape) or not _natural_numbers(span) or len(span) != 2:
        raise ValueError(
            f"tensor '{name}' has shape {shape!r:.99} and data_offsets {span!r:.99}; expected integers >= 0"
        )
    begin, end = span
    expected = _bytes_of(shape, _BITS[code])
    if end - begin != expected:
        takes = "no whole number of bytes below 2^64" if expected is None else f"{expected} bytes"
        raise ValueError(
            f"tensor '{name}' of dtype {code} and shape {shape!r:.99} takes {takes}; its data_offsets {span} do not"
        )
    return Entry(code, tuple(shape), begin, end)


def _natural_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value <= _LARGEST for value in values)


def _bytes_of(shape: list[int], bits: int) -> int | None:
    """Return the bytes of a tensor; None where a product on the way is beyond 64 bits, or they are no whole number."""
    count = 1
    for size in shape:
        count *= size
        if count > _LARGEST:
            return None
    return count * bits // 8 if count * bits <= _LARGEST and count * bits % 8 == 0 else None


def _check_coverage(entries: dict[str, Entry], held: int) -> None:
    """Tensors must lie end to end and fill the file: no overlap, no hole, nothing past the end, nothing left over."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            kind = "overlaps the tensor before it" if entry.begin < position else "leaves a hole before it"
            raise ValueError(f"tensor '{name}' begins at byte {entry.begin} and {kind}, which ends at byte {position}")
        position = entry.end
    if position != held:
        raise ValueError(f"the header claims {position} bytes of tensors, the file holds {held}; truncated or damaged")
