"""centred: vectors without their mean."""

from __future__ import annotations

from .moments import Moments


class Centred:
    """``unit(unit(x) - mean)``, with no matrix; the strength means nothing."""

    has_matrix = False

    @staticmethod
    def matrix(moments: Moments, strength: float) -> None:
        """None: the mean alone is taken away."""
