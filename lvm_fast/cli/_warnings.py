"""Warnings as the command line prints them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ._errors import printable


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print what the block warns the user of as one line each on standard error, as it comes, the same only once."""

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        del category, filename, lineno, file, line  # what Python would say too
        print(f"lvm-fast: warning: {printable(' '.join(str(message).split()))}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield
