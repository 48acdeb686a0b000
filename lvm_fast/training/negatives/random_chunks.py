"""Random chunks of the training store, fresh ones each step."""

from __future__ import annotations

import numpy as np

from ...data.number_formats import Int64


class RandomChunks:
    """A draw a step, without repeats, that seed and step number decide: every process draws the same."""

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed, self._steps = size, seed, 0

    def rows(self, total: int) -> Int64:
        """Rows that join the candidates of the step to come, out of so many."""
        rng = np.random.default_rng((self._seed, self._steps))
        return rng.choice(total, min(self._size, total), replace=False, shuffle=False)

    def end(self, targets: Int64) -> None:
        """Go on to the next draw."""
        self._steps += 1

    def state(self) -> int:
        """How many draws were made, for a checkpoint."""
        return self._steps

    def load_state(self, state: int) -> None:
        """Go on from a checkpoint."""
        self._steps = state
