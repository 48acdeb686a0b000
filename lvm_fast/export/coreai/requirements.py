"""Checks what Core AI export needs of a machine, before Apple's packages are imported."""

from __future__ import annotations

import importlib.metadata
import platform
import sys

INSTALL = "pip install 'lvm_fast[coreai]'"
_CONVERTER = ("coreai-torch", (0, 4, 3), (0, 5))  # it asks for the runtime, coreai-core, in the version that fits
_GLIBC = (2, 34)


def check_machine() -> None:
    """Raise ImportError where Apple has no packages for the Python or the system."""
    if not (3, 11) <= sys.version_info < (3, 15):
        found = platform.python_version()
        raise ImportError(f"Core AI export needs Python 3.11 to 3.14, found {found}: use another Python, or Core ML")
    library, version = platform.libc_ver()
    if library == "glibc" and _numbers(version) < _GLIBC:
        raise ImportError(f"Core AI export needs glibc 2.34, found {version}: use a newer Linux, or Core ML")


def check_version() -> None:
    """Raise ImportError where the converter is missing, too old or too new."""
    name, oldest, beyond = _CONVERTER
    wanted = f"{name} {_dotted(oldest)} or a later {_dotted(oldest[:2])}"
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise ImportError(f"Core AI export needs {wanted}, which is not installed: {INSTALL}") from None
    if not oldest <= _numbers(found) < beyond:
        raise ImportError(f"Core AI export needs {wanted}, found {found}: {INSTALL}")


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: "0.4.3" -> (0, 4, 3)."""
    parts = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
