"""Curves for TensorBoard, an optional package: whatever it does, training goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Events:
    """TensorBoard's event files of a run, where it is installed and works.

    Args:
        folder: Where they go.
        done: Steps done before; later events of an interrupted epoch are dropped.
        say: Is told in a line when TensorBoard is there but fails; then there are no more events.
    """

    def __init__(self, folder: Path, done: int, say: Callable[[str], None]) -> None:
        self._say = say
        self._writer: Any = None
        with self._attempt():
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)

    def add(self, kind: str, row: dict[str, Any]) -> None:
        """Write the numbers of a row at ``row["step"]``."""
        if self._writer is not None:
            with self._attempt():
                for name in row.keys() - {"epoch", "step"}:
                    self._writer.add_scalar(f"{kind}/{name}", row[name], row["step"])

    def close(self) -> None:
        """Write what is still held back."""
        if self._writer is not None:
            with self._attempt():
                self._writer.close()

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._writer = None
            if not (isinstance(error, ModuleNotFoundError) and error.name == "tensorboard"):  # merely not installed
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                self._say(f"warning: no TensorBoard events: {reason}")
