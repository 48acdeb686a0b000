"""Trackio: a local database; its own environment variable says where it lies (TRACKIO_DIR)."""

from __future__ import annotations

from collections.abc import Mapping

from . import PROJECT, RunFacts


class Trackio:
    """A run of trackio, which a resumed training continues."""

    def __init__(self, facts: RunFacts) -> None:
        import trackio

        resume = "allow" if facts.done else "never"
        self._trackio = trackio
        self._run = trackio.init(PROJECT, facts.name, config=dict(facts.settings), resume=resume, embed=False)

    def add(self, figures: Mapping[str, float], step: int) -> None:
        """Log figures at a step."""
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        """Send what is still held back, and end the run."""
        self._trackio.finish()
