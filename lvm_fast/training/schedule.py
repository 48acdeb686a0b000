"""The learning rate of every optimiser step."""

from __future__ import annotations

import math


def learning_rate(step: int, steps: int, warmup: int, highest: float, floor: float) -> float:
    """Linear warm-up, then half a cosine down to the floor.

    Args:
        step: The optimiser step to come, 0 to ``steps - 1``.
        steps: Steps of the whole training.
        warmup: Steps of warm-up; the last of them runs at `highest`.
        highest: Highest rate.
        floor: Rate of the last step, as a share of `highest`.
    """
    if step < warmup:
        return highest * (step + 1) / warmup
    progress = (step + 1 - warmup) / max(1, steps - warmup)  # (0, 1]
    return highest * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress))))
