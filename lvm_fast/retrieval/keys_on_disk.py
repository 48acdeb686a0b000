"""Rows that are made of those of a large store, block by block, in a temporary file instead of memory."""

from __future__ import annotations

from collections.abc import Callable
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from ..data.joined_rows import JoinedRows
from ..data.number_formats import Float32
from ..data.vectors import Vectors


def map_keys(keys: Callable[[Any], Float32], vectors: Vectors) -> Float32:
    """Map vectors (T, D) block by block into rows (T, K), which lie in a file without a name; they may be changed."""
    with TemporaryFile() as file:
        width = 0
        for _, block in vectors.blocks():
            rows = np.ascontiguousarray(keys(block[:]), np.float32)
            width = rows.shape[1]
            file.write(rows.data)
        file.flush()
        return np.memmap(file, np.float32, "r+", shape=(len(vectors), width))


def on_disk(rows: Float32) -> Vectors:
    """Wrap mapped rows so that a bank of them streams, as it does of a store in several files."""
    return Vectors(JoinedRows([rows]), "float32")
