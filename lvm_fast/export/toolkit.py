"""coremltools, imported once and quietly: the only way this package reaches it."""

from __future__ import annotations

import logging

# its logger has no handler of ours: import-time chatter about torch versions and a missing macOS would reach stderr
logging.getLogger("coremltools").setLevel(logging.ERROR)

try:
    import coremltools as ct
    from coremltools.converters.mil.backend.mil.load import load as lower_program
    from coremltools.converters.mil.frontend.milproto.load import load as raise_program
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813  (its usual name)
    from coremltools.converters.mil.mil import Function, Operation, Program, Var, types
except ImportError as error:
    raise ImportError(f"Core ML export needs coremltools 9 ({error}): pip install 'lvm_fast[coreml]'") from error

__all__ = ["Function", "Operation", "Program", "Var", "ct", "lower_program", "mb", "raise_program", "types"]
