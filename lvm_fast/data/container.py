"""The `.safetensors` container: 8 bytes of header length, a JSON header, then the tensors' bytes.

Reading maps the file and believes nothing the header says before checking it against the file. Writing streams, so that
a store never needs a second copy of itself in memory. Other safetensors readers open the files too.
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
from typing import Any

import numpy as np

from .quantize import Raw

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I8": np.dtype("i1"),
    "I64": np.dtype("<i8"),
}
_MAX_HEADER = 100_000_000  # the limit of the safetensors library


@dataclass(frozen=True)
class Tensor:
    """One mapped tensor: its safetensors dtype code and its values (bfloat16 as uint16 bits), read-only."""

    code: str
    values: Raw


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Map every tensor of a `.safetensors` file, and give its metadata.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is truncated, or its header is malformed or does not fit the file.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        header, data_start = _read_header(file.read(8), file, size)
        metadata = _read_metadata(header.pop("__metadata__", {}))
        ranges = {name: _checked_range(name, entry) for name, entry in header.items()}
        _check_coverage(ranges, size - data_start)
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    tensors = {}
    for name, (begin, _) in ranges.items():
        code, shape = header[name]["dtype"], header[name]["shape"]
        values = np.frombuffer(data, DTYPES[code], prod(shape), data_start + begin) if prod(shape) else np.empty(0)
        tensors[name] = Tensor(code, values.astype(DTYPES[code], copy=False).reshape(shape))
    return tensors, metadata


def _read_header(prefix: bytes, file: Any, size: int) -> tuple[dict[str, Any], int]:
    if len(prefix) < 8:
        raise ValueError(f"the file holds {size} bytes; expected a safetensors file, which is longer")
    (length,) = struct.unpack("<Q", prefix)
    if length > min(_MAX_HEADER, size - 8):
        raise ValueError(f"the header claims {length} bytes, the file holds {size}; truncated or no safetensors file")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise ValueError("the header is no valid JSON; expected a safetensors file") from error
    if not isinstance(header, dict):
        raise ValueError(f"the header is a JSON {type(header).__name__}; expected an object")
    return header, 8 + length


def _read_metadata(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("__metadata__ in the header is malformed; expected an object of strings")
    return metadata


def _checked_range(name: str, entry: Any) -> tuple[int, int]:
    """The (begin, end) bytes of one tensor, once its dtype, shape and length agree."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise ValueError(f"tensor '{name}' is malformed in the header; expected dtype, shape and data_offsets")
    code, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise ValueError(f"tensor '{name}' has dtype {code!r}; expected one of {', '.join(DTYPES)}")
    if not _natural_numbers(shape) or not _natural_numbers(span) or len(span) != 2:
        raise ValueError(f"tensor '{name}' has shape {shape!r} and data_offsets {span!r}; expected integers >= 0")
    expected = prod(shape) * DTYPES[code].itemsize
    if span[1] - span[0] != expected:
        raise ValueError(
            f"tensor '{name}' of dtype {code} and shape {shape} takes {expected} bytes; its data_offsets {span} do not"
        )
    return span[0], span[1]


def _natural_numbers(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= 8
        and all(type(value) is int and 0 <= value < 2**63 for value in values)
    )


def _check_coverage(ranges: dict[str, tuple[int, int]], held: int) -> None:
    """Tensors must lie end to end and fill the file: no overlap, no hole, nothing past the end, nothing left over."""
    position = 0
    for name, (begin, end) in sorted(ranges.items(), key=lambda item: item[1]):
        if begin != position:
            kind = "overlaps the tensor before it" if begin < position else "leaves a hole before it"
            raise ValueError(f"tensor '{name}' begins at byte {begin} and {kind}, which ends at byte {position}")
        position = end
    if position != held:
        raise ValueError(f"the header claims {position} bytes of tensors, the file holds {held}; truncated or damaged")


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
        if len(text) > _MAX_HEADER:
            raise ValueError(f"ids and metadata take {len(text)} bytes; a safetensors header holds {_MAX_HEADER}")
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
