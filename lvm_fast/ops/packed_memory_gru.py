"""A memory_gru packed for one context at a time: every weight once, in float32, bfloat16 or int8, for the core."""

from __future__ import annotations

from typing import Any

from .._core import MemoryGru, MemoryGruStream


class PackedMemoryGRU:
    """Packed weights, which any number of streams share.

    Args:
        precision: "float32", "bfloat16" or "int8".
        **arrays: The float32 arrays and settings of the core's `MemoryGru`.
    """

    def __init__(self, precision: str, **arrays: Any) -> None:
        self._core = MemoryGru(weights=precision, **arrays)

    def steps(self, batch_size: int) -> MemoryGruStream:
        """Start a stream of B sequences."""
        return MemoryGruStream(self._core, batch_size)
