"""The bundled real sample: State of the Union addresses (`sotu-sample.md` beside this file has their story)."""

from __future__ import annotations

from pathlib import Path

from .chain_store import ChainStore


def sample() -> ChainStore:
    """Open the bundled sample: 120 addresses of US presidents, 1790-2021, as 768-dimensional chunk vectors (int8)."""
    return ChainStore.open(Path(__file__).with_name("sotu-sample.safetensors"))
