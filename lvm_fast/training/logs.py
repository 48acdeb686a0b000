"""The logs of a run: lines for people, rows for programs, curves for TensorBoard, a bar for who is watching."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from .._util.atomic_files import atomic_write_text
from .._util.terminal import progress_bar

LOG = "train.log"
METRICS = "metrics.jsonl"


class RunLog:
    """Writes the logs of a run into its folder; a context manager. What the package logs meanwhile goes in, too.

    Args:
        folder: Where ``train.log`` and ``metrics.jsonl`` go; a resumed run appends to them.
        steps: Optimiser steps of the whole run, for the progress bar.
        done: Steps done before; later rows of an interrupted epoch are dropped.
        tensorboard: Also write TensorBoard events, where it is installed.
        progress: Show how far the run is.
    """

    def __init__(self, folder: Path, steps: int, done: int, tensorboard: bool, progress: bool = True) -> None:
        _drop_rows_after(done, folder / METRICS)
        self._lines = (folder / LOG).open("a", encoding="utf-8", errors="backslashreplace")
        self._rows = (folder / METRICS).open("a", encoding="utf-8")
        self._bar = progress_bar(steps, "step", None if progress else False, initial=done)
        self._listener = _Listener(self)
        self._events = TensorBoardEvents(folder / "tensorboard", done, self.say) if tensorboard else None

    def say(self, line: str) -> None:
        """Append a line to ``train.log`` and print it; training goes on where nobody listens any more."""
        self._lines.write(line + "\n")
        self._lines.flush()
        if sys.stdout is not None:
            with suppress(OSError):
                self._bar.write(line, file=sys.stdout)

    def record(self, kind: str, row: dict[str, Any]) -> None:
        """Append a row to ``metrics.jsonl``, and its numbers to TensorBoard at ``row["step"]``."""
        self._rows.write(json.dumps({"kind": kind, **row}) + "\n")
        self._rows.flush()
        if self._events is not None:
            self._events.add(kind, row)

    def advance(self, figures: str) -> None:
        """Move the progress bar by a step and show figures beside it."""
        self._bar.set_postfix_str(figures, refresh=False)
        self._bar.update()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.leave()
        self._bar.close()
        if self._events is not None:
            self._events.close()
        self._rows.close()
        self._lines.close()


class _Listener(logging.Handler):
    """Says in a run's log what the package logs, from information on."""

    def __init__(self, log: RunLog) -> None:
        super().__init__()
        self._log, self._package = log, logging.getLogger("lvm_fast")
        self._level_before = self._package.level
        self._package.setLevel(logging.INFO)
        self._package.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._log.say(record.getMessage())

    def leave(self) -> None:
        self._package.removeHandler(self)
        self._package.setLevel(self._level_before)


class SilentLog(RunLog):
    """The log of a process that leaves logging to rank zero."""

    def __init__(self) -> None:
        pass

    def say(self, line: str) -> None:
        """Do nothing."""

    def record(self, kind: str, row: dict[str, Any]) -> None:
        """Do nothing."""

    def advance(self, figures: str) -> None:
        """Do nothing."""

    def __exit__(self, *_: object) -> None:
        pass


class TensorBoardEvents:
    """Writes TensorBoard's event files where it is installed and works; whatever it does, training goes on.

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


def _drop_rows_after(step: int, path: Path) -> None:
    if path.exists():
        rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [row for row in rows if row.endswith("\n") and json.loads(row)["step"] <= step]
        atomic_write_text(path, "".join(kept))
