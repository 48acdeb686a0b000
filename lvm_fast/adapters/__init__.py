"""The search functions of other libraries, answered by an exact `VectorBank`: change an import, keep the call.

Each module is named after the library whose calls it takes, and is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = ["faiss", "mteb", "sentence_transformers", "sklearn"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
