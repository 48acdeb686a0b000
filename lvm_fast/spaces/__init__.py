"""Spaces in which vectors are compared: raw, centred, whitened. Names load on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .registry import kinds

KINDS = kinds()

if TYPE_CHECKING:
    from .space import Moments as Moments
    from .space import Space as Space
    from .space import fit_space as fit_space
    from .space import moments_of as moments_of
    from .space import space_of as space_of


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in ("Moments", "Space", "fit_space", "moments_of", "space_of"):
        raise AttributeError(f"module 'lvm_fast.spaces' has no attribute {name!r}")
    return getattr(import_module(".space", __name__), name)
