"""The logs of a run: lines for people, rows for programs, curves for trackers, a bar for who is watching."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .._util.atomic_files import atomic_write_text
from .._util.terminal import progress_bar
from .trackers import TRACKERS, Quiet, RunFacts, open_trackers

if TYPE_CHECKING:
    from .recipe import Recipe

LOG = "train.log"
METRICS = "metrics.jsonl"


class RunLog:
    """Writes the logs of a run into its folder; a context manager. What the package logs meanwhile goes in, too.

    Args:
        folder: Where ``train.log`` and ``metrics.jsonl`` go; a resumed run appends to them.
        steps: Optimiser steps of the whole run, for the progress bar.
        done: Steps done before; later rows of an interrupted epoch are dropped.
        recipe: Which trackers and progress it asks for; trackers are told all of it.
    """

    def __init__(self, folder: Path, steps: int, done: int, recipe: Recipe) -> None:
        _drop_rows_after(done, folder / METRICS)
        self._lines = (folder / LOG).open("a", encoding="utf-8", errors="backslashreplace")
        self._rows = (folder / METRICS).open("a", encoding="utf-8")
        self._bar = progress_bar(steps, "step", None if recipe.progress else False, initial=done)
        self._listener = _Listener(self)
        self._trackers = open_trackers(recipe.trackers, folder, recipe.to_dict(), done, self.say)
        if recipe.tensorboard and "tensorboard" not in recipe.trackers:
            self._trackers.append(TensorBoardEvents(folder, done, self.say))

    def say(self, line: str) -> None:
        """Append a line to ``train.log`` and print it; training goes on where nobody listens any more."""
        self._lines.write(line + "\n")
        self._lines.flush()
        if sys.stdout is not None:
            with suppress(OSError):
                self._bar.write(line, file=sys.stdout)

    def record(self, kind: str, row: dict[str, Any]) -> None:
        """Append a row to ``metrics.jsonl``, and its numbers to the trackers at ``row["step"]``."""
        self._rows.write(json.dumps({"kind": kind, **row}) + "\n")
        self._rows.flush()
        for tracker in self._trackers:
            tracker.add(kind, row)

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
        for tracker in self._trackers:
            tracker.close()
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


class TensorBoardEvents(Quiet):
    """Writes TensorBoard's event files where it is installed and works; whatever it does, training goes on.

    Args:
        folder: Of the run; they go into ``tensorboard`` in it.
        done: Steps done before; later events of an interrupted epoch are dropped.
        say: Is told in a line when TensorBoard is there but fails; then there are no more events.
    """

    def __init__(self, folder: Path, done: int, say: Callable[[str], None]) -> None:
        facts = RunFacts(folder, folder.name, {}, done)
        super().__init__("TensorBoard", lambda: TRACKERS.load("tensorboard")(facts), say, package="tensorboard")


def _drop_rows_after(step: int, path: Path) -> None:
    if path.exists():
        rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [row for row in rows if row.endswith("\n") and json.loads(row)["step"] <= step]
        atomic_write_text(path, "".join(kept))
