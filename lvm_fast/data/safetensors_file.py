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

from .number_formats import Raw
from .safetensors_header import MAX_HEADER, read_header

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
