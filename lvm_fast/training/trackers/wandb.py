"""Weights & Biases; its own environment variables say where runs go (WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from . import PROJECT, RunFacts


class WeightsAndBiases:
    """A run of wandb, which a resumed training continues."""

    def __init__(self, facts: RunFacts) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=facts.name,
            name=facts.name,
            dir=str(facts.folder),
            config=dict(facts.settings),
            resume="allow",
        )

    def add(self, figures: Mapping[str, float], step: int) -> None:
        """Log figures at a step."""
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        """End the run."""
        self._run.finish()
