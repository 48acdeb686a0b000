"""The folder of an encoding that is not finished: who works in it, and what is taken away in the end."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..chain_store import ChainStore
from ..source import chunks_path
from .kept_rows import PATTERN

TEXTS = "texts_digest"  # the entry of a store's metadata that names the texts beside it
_LOCK, _GATE, _TEXTS, _STORE = "lock", "precision.json", "texts.jsonl.gz", "store.safetensors"
_UNFINISHED = re.compile(rf"\.[0-9a-f]{{8}}\.({re.escape(_GATE)}|{re.escape(_TEXTS)}|{re.escape(_STORE)})")


class PartialFolder:
    """The folder `<store>.partial` beside a store.

    Attributes:
        path: the folder.
        gate: the file with what the check of the precision found.
    """

    def __init__(self, output: Path) -> None:
        self._output, self._target = output, Path(os.path.realpath(output))
        self.path = self._target.with_name(f"{self._target.name}.partial")
        self.gate = self.path / _GATE
        self.new_texts, self.new_store = self.path / _TEXTS, self.path / _STORE

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other processes away while the block runs. A crash between the two last renames is made good first.

        Raises:
            BlockingIOError: another process encodes to this store.
            OSError: the folder cannot be made.
        """
        self.path.mkdir(exist_ok=True)
        lock = self.path / _LOCK
        with _locked(lock):
            try:
                self._finish_renaming()
                yield
            finally:
                self._tidy()
                lock.unlink()
                with suppress(OSError):  # vectors are kept, or what is not ours
                    self.path.rmdir()

    def publish(self) -> None:
        """Give the new store and the new texts their names, then remove what was kept."""
        os.replace(self.new_store, self._target)
        os.replace(self.new_texts, os.path.realpath(chunks_path(self._output)))
        self.forget()

    def forget(self) -> None:
        """Remove the vectors that were kept, those of other runs too."""
        for path in [*self.path.glob(PATTERN), self.gate, self.new_texts, self.new_store]:
            path.unlink(missing_ok=True)

    def _finish_renaming(self) -> None:
        """Put the texts beside the store where a killed process has renamed the store alone."""
        with suppress(OSError, ValueError):
            if ChainStore.open(self._target).metadata.get(TEXTS) == file_digest(self.new_texts):
                os.replace(self.new_texts, os.path.realpath(chunks_path(self._output)))
                self.forget()

    def _tidy(self) -> None:
        """Remove what a process was writing when it was killed."""
        for path in self.path.iterdir():
            if _UNFINISHED.fullmatch(path.name):
                path.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_there = path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())
        except BlockingIOError:
            is_there = False
        if not is_there:  # or the other has finished this moment, and removed it
            raise BlockingIOError(errno.EAGAIN, "another process is encoding to this store", str(path))
        yield


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file (64 hex digits)."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
