"""Warnings as the command line prints them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print what the block warns the user of as one line each on standard error, once the block is through."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        print(f"lvm-fast: warning: {warning.message}", file=sys.stderr)
