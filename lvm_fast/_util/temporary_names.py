"""Temporary names beside what is saved. Their process holds them by a lock, so what a killed one left can be told."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ASIDE = "aside."  # what stands there until the block ends, and comes back after a kill


def _name_beside(target: Path) -> Path:
    """Return a hidden name beside `target` that nothing has, with its suffix."""
    return target.with_name(f".{secrets.token_hex(4)}.{target.name}")


@contextmanager
def held_beside(target: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """Make a temporary file or folder beside `target` and hold it while the block runs; nothing removes it at the end.

    What processes that are gone have left beside `target` is removed first. A file system without locks holds nothing,
    and nothing is removed there.

    Args:
        target: The name that it will take.
        make: Makes the file or folder of a name.

    Raises:
        OSError: It cannot be made.
    """
    for left in _left_beside(target):
        with suppress(OSError), _held(left):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    while True:
        temporary = _name_beside(target)
        make(temporary)
        with suppress(BlockingIOError, FileNotFoundError):  # another process took it for left, before it was held
            held = _hold(temporary)
            break
    try:
        yield temporary
    finally:
        os.close(held)


@contextmanager
def set_aside(path: str | os.PathLike[str]) -> Iterator[None]:
    """Remove a file, where there is one, with the block: it has another name meanwhile, and stays if the block raises.

    Where a process was killed within its block, the file comes back first.

    Raises:
        OSError: The file cannot be renamed.
    """
    place = Path(path)
    for left in _left_beside(place.with_name(_ASIDE + place.name)):
        with suppress(OSError), _held(left):
            left.unlink() if os.path.lexists(place) else left.rename(place)
    if not os.path.lexists(place):
        yield
        return
    aside = _name_beside(place.with_name(_ASIDE + place.name))
    with _held(place):
        place.rename(aside)
        try:
            yield
        except BaseException:
            aside.rename(place)
            raise
        aside.unlink()


def _left_beside(target: Path) -> list[Path]:
    """Return the temporary names of `target`, in use or left."""
    pattern = re.compile(rf"\.[0-9a-f]{{8}}\.{re.escape(target.name)}")
    with suppress(OSError):  # a folder that cannot be read: the save itself says what is wrong
        return [target.parent / name for name in os.listdir(target.parent) if pattern.fullmatch(name)]
    return []


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a file or folder while the block runs; an OSError where another process does, or no lock can be had."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _hold(path: Path) -> int:
    """Lock a file or folder just made, where its file system can, and return the handle that keeps the lock."""
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            return handle
        if not os.path.samestat(path.stat(), os.fstat(handle)):
            raise FileNotFoundError(path)
    except BaseException:
        os.close(handle)
        raise
    return handle
