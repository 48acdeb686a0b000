"""TensorBoard: event files in the folder ``tensorboard`` of a run."""

from __future__ import annotations

from collections.abc import Mapping

from . import RunFacts


class TensorBoard:
    """Writes event files; later events of an interrupted epoch are dropped."""

    def __init__(self, facts: RunFacts) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder, purged = facts.folder / "tensorboard", facts.done + 1 if facts.done else None
        self._writer = SummaryWriter(str(folder), purge_step=purged)

    def add(self, figures: Mapping[str, float], step: int) -> None:
        """Write figures at a step."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is still held back."""
        self._writer.close()
