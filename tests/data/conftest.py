from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.number_formats import Float32


@pytest.fixture
def unit_rows(rng: np.random.Generator) -> Callable[..., Float32]:
    """unit_rows(T, D): random unit vectors."""

    def make(count: int, dim: int = 16) -> Float32:
        rows = rng.standard_normal((count, dim), dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return make


@pytest.fixture
def store(unit_rows: Callable[..., Float32]) -> ChainStore:
    """Five chains of 12, 0, 3, 30 and 7 rows, 16 wide."""
    return ChainStore(
        unit_rows(52), np.cumsum([0, 12, 0, 3, 30, 7]), ["a", "empty", "b", "c", "d"], {"encoder": "random"}
    )


@pytest.fixture
def write_container(tmp_path: Path) -> Callable[..., Path]:
    """write_container(header, data): a safetensors file with exactly this header, true or not."""

    def write(header: Any, data: bytes = b"", length: int | None = None) -> Path:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path = tmp_path / "made.safetensors"
        path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
        return path

    return write
