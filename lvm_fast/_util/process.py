"""Settings of a whole process that make training quicker; for commands, which own their process."""

from __future__ import annotations

import contextlib
import ctypes
import os


def prepare_for_training() -> None:
    """Keep freed memory, and let torch's idle threads sleep: call it before torch is first imported.

    torch's OpenMP threads would else spin for a while after each operator, on cores that the compute core needs.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let glibc (malloc.h) neither map large blocks apart nor trim its heap: fresh pages cost more than their use."""
    most_mmaps, trim_threshold = -4, -1
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(most_mmaps, 0)
        libc.mallopt(trim_threshold, -1)
