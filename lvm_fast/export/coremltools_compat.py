"""coremltools, imported once, quietly and in a version that works: the only way this package reaches it."""

from __future__ import annotations

import logging
import platform

# its logger has no handler of ours: import-time chatter about torch versions and a missing macOS would reach stderr
logging.getLogger("coremltools").setLevel(logging.ERROR)

_INSTALL = "pip install 'lvm_fast[coreml]'"

try:
    import coremltools as ct
except Exception as error:  # missing, or there and broken
    raise ImportError(f"Core ML export needs coremltools 9 ({error}): {_INSTALL}") from error
if not ct.__version__.startswith("9."):  # its passes and loaders have changed with every major version
    raise ImportError(f"Core ML export needs coremltools 9, found {ct.__version__}: {_INSTALL}")
try:
    import coremltools.libmilstoragepython
    from coremltools.converters.mil.backend.mil.load import load as lower_program
    from coremltools.converters.mil.frontend.milproto.load import load as raise_program
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813  (its usual name)
    from coremltools.converters.mil.mil import Function, Operation, Program, Var, get_new_symbol, types
    from coremltools.converters.mil.mil.types.symbolic import is_symbolic
except ImportError as error:  # where there is no wheel, pip installs it without the libraries that write weights
    raise ImportError(
        f"coremltools {ct.__version__} lacks its compiled libraries for Python {platform.python_version()} on "
        f"{platform.system()} {platform.machine()} ({error}): use a 64-bit Python 3.10 to 3.13 on Linux or macOS, and "
        f"there: {_INSTALL}"
    ) from error

__all__ = [
    "Function",
    "Operation",
    "Program",
    "Var",
    "ct",
    "get_new_symbol",
    "is_symbolic",
    "lower_program",
    "mb",
    "raise_program",
    "types",
]
