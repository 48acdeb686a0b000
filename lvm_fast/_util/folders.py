"""Folders that processes do not share: one at a time works in a folder, and a new one is nobody else's."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

_HELD_ELSEWHERE = (errno.EWOULDBLOCK, errno.EACCES)


@contextmanager
def locked_folder(folder: str | os.PathLike[str], *, wait: bool) -> Iterator[None]:
    """Hold a folder while the block runs: by a lock on itself, so no file is left, and a killed process frees it.

    A file system without such locks (some network ones) lets everybody in.

    Args:
        folder: It must be there.
        wait: Wait until another process lets go; else that is an error.

    Raises:
        BlockingIOError: Another process holds it, and `wait` is False.
        OSError: The folder cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD_ELSEWHERE:
                raise BlockingIOError(error.errno, "another process works in this folder", os.fspath(folder)) from None
        yield
    finally:
        os.close(handle)


def new_folder(path: str | os.PathLike[str]) -> Path:
    """Make the first folder of ``path``, ``path-2``, ``path-3``, ... that is not there; two processes get two.

    Raises:
        OSError: It cannot be made.
    """
    wanted = Path(path)
    for number in count(1):
        folder = wanted.with_name(f"{wanted.name}-{number}") if number > 1 else wanted
        with suppress(FileExistsError):
            folder.mkdir()
            break
    return folder
