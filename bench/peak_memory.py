"""Measures the peak memory of a program in a process of its own, which has no freed memory to reuse."""

from __future__ import annotations

import subprocess
import sys

_MEASURE = """
{before}

def _megabytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) / 1e3

open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
_before = _megabytes("VmRSS")
{measured}
print(_megabytes("VmHWM") - _before)
"""


def peak_megabytes(before: str, measured: str) -> float:
    """Return how many MB the program `measured` takes at most beyond those held after the program `before` (Linux)."""
    script = _MEASURE.format(before=before, measured=measured)
    result = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return float(result.stdout)
