"""What vectors are compared in: as the encoder gives them, centred, or whitened. Names load on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .registry import kinds

KINDS = kinds()

if TYPE_CHECKING:
    from .moments import Moments as Moments
    from .moments import moments_of as moments_of
    from .space import Space as Space
    from .space import fit_space as fit_space
    from .space import space_of as space_of

_HOME_OF = {
    "Moments": ".moments",
    "moments_of": ".moments",
    "Space": ".space",
    "fit_space": ".space",
    "space_of": ".space",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME_OF:
        raise AttributeError(f"module 'lvm_fast.spaces' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name], __name__), name)
