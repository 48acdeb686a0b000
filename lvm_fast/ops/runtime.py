"""Settings of the compute core: how many threads it uses, and which instruction set."""

from __future__ import annotations

from .._core import num_threads as num_threads
from .._core import set_num_threads as set_threads_of_core
from .._core import set_simd_level as set_level_of_core
from .._core import simd_level as simd_level
from .._core import simd_levels as simd_levels
from .._util.numbers import whole_number


def set_num_threads(count: int) -> None:
    """Set how many threads the core may use, the caller's included.

    Args:
        count: From 1 to 1,024.

    Raises:
        ValueError: another number, or none.
        RuntimeError: called by a signal handler in the middle of a call of the core.
    """
    number = whole_number(count, "set_num_threads")
    if not 1 <= number <= 1024:
        raise ValueError(f"set_num_threads: expected a whole number from 1 to 1024, got '{number}'")
    set_threads_of_core(number)


def set_simd_level(name: str) -> None:
    """Force an instruction set, one of `simd_levels()`. Raises ValueError for another."""
    try:
        set_level_of_core(name)
    except TypeError:  # no text
        levels = ", ".join(simd_levels())
        raise ValueError(f"set_simd_level: expected an instruction set of this CPU ({levels}), got {name!r}") from None
