"""A recurrent model packed for contexts and streams: every weight once, in float32, bfloat16 or int8, for the core."""

from __future__ import annotations

from typing import Any

from .._core import PackedMemory, PackedModelStream
from .._core import PackedModel as PackedCore


class PackedModel:
    """Packed weights, which any number of streams share.

    Args:
        precision: "float32", "bfloat16" or "int8".
        memory: The float32 arrays of the core's `PackedMemory`, for a model that has one.
        **arrays: The float32 arrays and settings of the core's `PackedModel`.
    """

    def __init__(self, precision: str, memory: dict[str, Any] | None = None, **arrays: Any) -> None:
        read = None if memory is None else PackedMemory(**memory)
        self._core = PackedCore(weights=precision, memory=read, **arrays)

    def steps(self, batch_size: int) -> PackedModelStream:
        """Start a stream of B sequences."""
        return PackedModelStream(self._core, batch_size)
