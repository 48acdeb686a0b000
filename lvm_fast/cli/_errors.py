"""What went wrong, for whoever ran a command: a mistake in one line, a bug with where to report it."""

from __future__ import annotations

import sys
import traceback
import zlib
from contextlib import suppress

BUG = 70  # the exit code of an internal error (EX_SOFTWARE in sysexits.h)

_MISTAKES = (ValueError, OSError, ImportError, MemoryError, OverflowError, RecursionError, EOFError, zlib.error)
# how torch's RuntimeErrors tell that memory ran out, or would
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "storage size calculation overflowed",
    "integer multiplication overflow",
)


def mistake_in_words(error: BaseException) -> str | None:
    """Return one line for an error that input, the machine or an installation is to blame for; None for a bug."""
    if isinstance(error, ModuleNotFoundError) and error.name == "lvm_fast._core":
        from .. import missing_core

        return missing_core()
    if not isinstance(error, _MISTAKES) and not _is_of_torch(error):
        return None
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        said = f"out of memory; {said}".rstrip("; ")
    if isinstance(error, RecursionError):
        said = f"the input is nested too deeply ({said})"
    return printable(said) or type(error).__name__


def print_bug() -> None:
    """Print the traceback of the error that is being handled, and what to do about it."""
    from .._version import __version__

    traceback.print_exc(file=sys.stderr)
    place = _where_to_report()
    print(
        f"lvm-fast: this is a bug in lvm_fast {__version__}, not a mistake of yours; please report it with the lines "
        f"above and what `lvm-fast info` prints, {place}",
        file=sys.stderr,
    )


def printable(text: str) -> str:
    """Text that cannot command a terminal: what is not printable becomes an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _is_of_torch(error: BaseException) -> bool:
    """Whether torch has run out of memory, or its processes have lost each other."""
    if not isinstance(error, RuntimeError):
        return False
    if any(words in str(error).lower() for words in _OUT_OF_MEMORY):
        return True
    distributed = sys.modules.get("torch.distributed")
    return isinstance(error, getattr(distributed, "DistError", ()))


def _where_to_report() -> str:
    """The address for issues in the installed package's metadata, else any address there."""
    from importlib.metadata import metadata

    lines: list[str] = []
    with suppress(Exception):  # metadata may be missing or damaged
        lines = metadata("lvm_fast").get_all("Project-URL") or []
    places = {label.lower(): place for label, _, place in (line.partition(", ") for line in lines)}
    named = [places[label] for label in ("issues", "bug tracker", *places) if label in places]
    return f"at {named[0]}" if named else "to whoever gave you lvm_fast"
