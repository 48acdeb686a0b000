"""Atomic saves: a file or folder appears whole under its name, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .exchange import exchange
from .temporary_names import held_beside

_DISK_IS_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_CANNOT_SAVE = "cannot save: "


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary file beside `path` to write to; on success it is synced and takes the name `path`.

    The temporary file exists (empty) from the start, keeps the suffix of `path`, and is removed when the block raises.
    A symbolic link is written through. What killed processes left of such files is removed first.

    Raises:
        OSError: the folder is missing or not writable, `path` is a folder or a device, or the disk is full; each names
            `path`.
    """
    target = Path(os.path.realpath(path))
    with _new_file_beside(path, target) as temporary:
        try:
            with _naming_target(path):
                yield temporary
                _sync(temporary)
                os.replace(temporary, target)
            _sync_folder(target.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise the OSError of `atomic_path` now, before the work that ends with saving to `path`; nothing is left."""
    with _new_file_beside(path, Path(os.path.realpath(path))) as temporary:
        temporary.unlink()


def check_output(
    path: str | os.PathLike[str], called: str, inputs: Iterable[str | os.PathLike[str]] = (), overwrite: bool = False
) -> None:
    """Refuse a place where a file cannot go, before the work that makes it; nothing is left.

    Args:
        path: Where the file is to go.
        called: What messages call it, such as ``mine: output``.
        inputs: The files that it is made of.
        overwrite: Whether it may replace a file.

    Raises:
        ValueError: It is one of the inputs.
        FileExistsError: There is a file, and `overwrite` is False.
        OSError: It cannot be written.
    """
    check_not_an_input(path, called, inputs)
    check_writable(path)
    if os.path.exists(path) and not overwrite:
        raise FileExistsError(
            f"{called} = {os.fspath(path)!r} exists already; pass overwrite=True (--overwrite) to replace it"
        )


def check_not_an_input(path: str | os.PathLike[str], called: str, inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Raise ValueError where `path`, a file to write, is one of the inputs, by whatever name.

    A link and a hard link are the same file, and so is a name in another case where the file system tells none apart.
    """
    for source in inputs:
        if os.path.exists(path) and os.path.exists(source) and os.path.samefile(path, source):
            also = "" if os.fspath(source) == os.fspath(path) else f", {os.fspath(source)!r}"
            raise ValueError(f"{called} = {os.fspath(path)!r} is an input too{also}; expected another file")


def check_holds_no_input(path: str | os.PathLike[str], called: str, inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Raise ValueError where `path`, a folder to replace as a whole, is one of the inputs or holds one."""
    for source in inputs:
        for place in Path(os.path.realpath(source), "_").parents:
            if os.path.exists(path) and os.path.exists(place) and os.path.samefile(path, place):
                raise ValueError(
                    f"{called} = {os.fspath(path)!r} holds {os.fspath(source)!r}, an input; expected another"
                )


def check_folder_writable(path: str | os.PathLike[str]) -> None:
    """Raise the OSError of `atomic_folder` now, where no folder can be made beside `path`; nothing is left."""
    with _naming_target(path), held_beside(Path(os.path.realpath(path)), Path.mkdir) as temporary:
        temporary.rmdir()


def check_room(folder: str | os.PathLike[str], size: int) -> None:
    """Raise the OSError of a full disk now, before a file of so many bytes goes into `folder`; nothing is left.

    It is for writers that end the process where they find no room.
    """
    block = os.urandom(1 << 20)  # which no file system can compress
    with held_beside(Path(folder, "room"), _make_file) as trial:
        try:
            with open(trial, "wb", buffering=0) as file:
                while size > 0:
                    size -= file.write(block[:size])
                os.fsync(file.fileno())
        finally:
            trial.unlink(missing_ok=True)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically. Raises OSError as `atomic_path` does."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode())


@contextmanager
def made_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the folder `path`, made where it is not there; when the block raises, what was made and is empty goes again.

    Raises:
        OSError: the folder cannot be made.
    """
    folder = Path(path)
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException:
        with suppress(OSError):  # not empty
            for place in new:
                place.rmdir()
        raise


@contextmanager
def atomic_folder(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Give a fresh, empty folder beside `path` to fill; on success it is synced and takes the name `path`.

    With `overwrite=True` a file or folder already at `path` is replaced as a whole. What killed processes left of such
    folders is removed first.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
        OSError: the parent folder is missing or not writable, or the disk is full; each names `path`.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not overwrite:
        raise FileExistsError(errno.EEXIST, "already exists; pass overwrite=True to replace it", str(path))
    with _naming_target(path), held_beside(target, Path.mkdir) as held:
        temporary = held / target.name  # within the held one, for writers that make their folder anew
        try:
            temporary.mkdir()
            yield temporary
            for item in sorted(temporary.rglob("*")):
                if item.is_file():
                    _sync(item)
            _replace_folder(temporary, target)
        finally:
            shutil.rmtree(held, ignore_errors=True)
    _sync_folder(target.parent)


def size_of(path: str | os.PathLike[str]) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    place = Path(path)
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


@contextmanager
def _new_file_beside(path: str | os.PathLike[str], target: Path) -> Iterator[Path]:
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "expected a file to write, found a folder", str(path))
    if target.exists() and not target.is_file():
        raise FileExistsError(errno.EEXIST, "expected a plain file to write, found a device or the like", str(path))
    with _naming_target(path), held_beside(target, _make_file) as temporary:
        yield temporary


def _make_file(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def _replace_folder(new: Path, target: Path) -> None:
    """Rename `new` to `target`; what stood there goes to the name of `new`, or beside it."""
    if not target.exists():
        new.rename(target)
    elif not exchange(new, target):
        old = new.with_name(f"old-{new.name}")
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise


@contextmanager
def _naming_target(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make errors about the temporary name, or about a full disk, name the path the caller knows."""
    try:
        yield
    except OSError as error:
        if (error.strerror or "").startswith(_CANNOT_SAVE):  # by a save within this one, which names its own path
            raise
        place = Path(os.fsdecode(error.filename or "_"))
        hidden = place.name.startswith(".") or place.parent.name.startswith(".")
        if not hidden and error.errno not in _DISK_IS_FULL:
            raise
        raise type(error)(error.errno, f"{_CANNOT_SAVE}{error.strerror}", str(path)) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(path: Path) -> None:
    """Make the rename itself durable; some file systems refuse this, and then the rename is as safe as they allow."""
    with suppress(OSError):
        _sync(path)
