"""Packages that only some installations have."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def optional_module(name: str, extra: str, purpose: str = "") -> ModuleType:
    """Import a module of an optional package.

    Args:
        name: The module, such as "matplotlib".
        extra: The extra of this package that brings it.
        purpose: What needs it, such as "encoding text"; how the message begins.

    Raises:
        ModuleNotFoundError: The package is missing; the message says how to install it.
        ImportError: It is there and fails, with whatever error.
    """
    package = name.partition(".")[0]
    install = f"pip install 'lvm_fast[{extra}]'"
    needs = f"{purpose}: " if purpose else ""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == package:
            raise ModuleNotFoundError(f"{needs}{package} is missing; {install} brings it", name=name) from error
        raise ImportError(_broken(needs, package, error), name=name) from error
    except Exception as error:
        raise ImportError(_broken(needs, package, error), name=name) from error


def _broken(needs: str, package: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    return f"{needs}{package} is installed, but does not work here: {type(error).__name__}: {reason}"
