"""Memory of mapped files: pages are asked for before they are read, and given back to the system afterwards."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def will_need(arrays: Iterable[NDArray[Any]]) -> None:
    """Let the system begin to read what contiguous arrays of mapped files hold; others are left alone."""
    _advise(arrays, getattr(mmap, "MADV_WILLNEED", None))


def give_back(arrays: Iterable[NDArray[Any]]) -> None:
    """Let the system take back the memory of contiguous arrays of files mapped for reading: read again, it comes again.

    Systems without such advice keep what they like.
    """
    _advise(arrays, getattr(mmap, "MADV_DONTNEED", None))


def _advise(arrays: Iterable[NDArray[Any]], advice: int | None) -> None:
    if advice is None:
        return
    for array in arrays:
        mapped = _map_of(array)
        if mapped is None or array.nbytes == 0:
            continue
        start = array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
        page = start // mmap.PAGESIZE * mmap.PAGESIZE
        mapped.madvise(advice, page, start + array.nbytes - page)


def _map_of(array: Any) -> mmap.mmap | None:
    """Return the map whose memory an array shows."""
    while array is not None and not isinstance(array, mmap.mmap):
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return array
