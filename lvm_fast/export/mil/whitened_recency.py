"""whitened_recency as a Core ML program."""

from __future__ import annotations

from ...models.whitened_recency import WhitenedRecency
from ..coremltools_compat import mb
from .layers import Variable
from .recency import RecencyProgram


class WhitenedRecencyProgram(RecencyProgram[WhitenedRecency]):
    """Builds the MIL functions of a whitened_recency."""

    exact = frozenset({"decays"})  # powers are taken of them

    def head(self, features: Variable) -> Variable:
        """See `RecencyProgram.head`: the mean without the last vector."""
        last, mean = mb.split(x=features, num_splits=2, axis=1)
        return mb.squeeze(x=mb.sub(x=mean, y=last), axes=[1])
