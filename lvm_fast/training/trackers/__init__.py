"""Sends the figures of a training to the trackers that people use; each is optional, and none can end a training.

A new tracker is one file with a class as `Tracker` describes it, and one line here.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..._util.atomic_files import atomic_write_text
from ..._util.registry import Registry

NAMES = "trackers.json"  # in the folder of a run: what it is called where
PROJECT = "lvm_fast"


class RunFacts(NamedTuple):
    """What a tracker is told of a run.

    Attributes:
        folder: Its folder.
        name: A name that no other run has; the same where the run is resumed.
        settings: Its recipe, plain values.
        done: Optimiser steps done before, where it is resumed.
    """

    folder: Path
    name: str
    settings: Mapping[str, Any]
    done: int


class Tracker(Protocol):
    """A tracker; its constructor takes `RunFacts`."""

    def add(self, figures: Mapping[str, float], step: int) -> None:
        """Note figures, such as ``"epoch/hit5"``, at an optimiser step."""

    def close(self) -> None:
        """Send what is still held back, and end the run there."""


TRACKERS: Registry[Callable[[RunFacts], Tracker]] = Registry(
    "tracker",
    __name__,
    {
        "tensorboard": ".tensorboard:TensorBoard",
        "wandb": ".wandb:WeightsAndBiases",
        "mlflow": ".mlflow:MLflow",
        "trackio": ".trackio:Trackio",
    },
)


def check_trackers(names: Sequence[str]) -> None:
    """Raise ModuleNotFoundError for the first tracker whose package is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise ModuleNotFoundError(
                f"train: trackers names {name}, which is missing; pip install 'lvm_fast[{name}]' brings it", name=name
            )


def facts_of(folder: Path, settings: Mapping[str, Any], done: int) -> RunFacts:
    """Return what trackers are told of the run in a folder; its name is made once, and kept there."""
    path = folder / NAMES
    try:
        name = str(json.loads(path.read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError, TypeError):
        name = f"{folder.name or 'run'}-{secrets.token_hex(4)}"
        atomic_write_text(path, json.dumps({"name": name}) + "\n")
    return RunFacts(folder, name, settings, done)


class Quiet:
    """A tracker that only says in a line when it fails; then it notes no more.

    Args:
        title: What the line calls it.
        open: Opens the tracker.
        say: Is told the line.
        package: The package whose absence is not worth a word; None where it is.
    """

    def __init__(
        self, title: str, open: Callable[[], Tracker], say: Callable[[str], None], package: str | None = None
    ) -> None:
        self._title, self._say, self._package = title, say, package
        self._tracker: Tracker | None = None
        with self._attempt():
            self._tracker = open()

    def add(self, kind: str, row: Mapping[str, Any]) -> None:
        """Note the numbers of a row at ``row["step"]``."""
        if self._tracker is not None:
            with self._attempt():
                figures = {f"{kind}/{name}": float(row[name]) for name in row.keys() - {"epoch", "step"}}
                self._tracker.add(figures, int(row["step"]))

    def close(self) -> None:
        """Send what is still held back."""
        if self._tracker is not None:
            with self._attempt():
                self._tracker.close()

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever a tracker does, training goes on
            self._tracker = None
            if not (isinstance(error, ModuleNotFoundError) and error.name == self._package):
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                self._say(f"warning: no {self._title} events: {reason}")


def open_trackers(
    names: Sequence[str], folder: Path, settings: Mapping[str, Any], done: int, say: Callable[[str], None]
) -> list[Quiet]:
    """Open the trackers of a run; `say` is told in a line of each that fails."""
    if not names:
        return []
    facts = facts_of(folder, settings, done)
    return [Quiet(name, lambda name=name: TRACKERS.load(name)(facts), say) for name in names]  # type: ignore[misc]
