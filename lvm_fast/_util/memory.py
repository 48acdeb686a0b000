"""Measures the memory that this process may still use."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_CONTROL_GROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_limit() -> int | None:
    """Bytes of this machine's memory, or of the part that its control group allows; None where nothing tells."""
    limits = []
    with suppress(OSError, ValueError, AttributeError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for file in _CONTROL_GROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such group, or "max": no limit
            limits.append(int(Path(file).read_text(encoding="ascii")))
    return min(limits, default=None)
