"""whitened_recency: the decayed mean of the context, in the space that it is given; nothing in it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from .recency import RecencyModel, checked_decay


class WhitenedRecency(RecencyModel):
    """The mean of all vectors so far, weighted by decay^age: what any trained model has to beat.

    In a whitened space (`set_space`, or `Recipe.space`) it is the best closed form that we know.

    Args:
        input_dim: Width D of the vectors.
        decay: Above 0 and at most 1, which is the plain mean.
        normalize_delta: Return ``raw / ||raw||``; False, the default here, lets the prediction be anywhere.
    """

    model_type: ClassVar[str] = "whitened_recency"
    starts_at_closed_form: ClassVar[bool] = True

    def __init__(self, input_dim: int = 768, decay: float = 0.7, normalize_delta: bool = False) -> None:
        super().__init__({"input_dim": input_dim}, normalize_delta)
        self.config["decay"] = checked_decay(self.model_type, decay)

    @property
    def taps(self) -> int:
        """The last vector, to tell the step from it."""
        return 1

    @property
    def decays(self) -> list[float]:
        """The one decay."""
        return [self.config["decay"]]

    def raw_delta(self, hidden: Tensor) -> Tensor:
        """See `CausalModel.raw_delta`."""
        last, mean = self.features(hidden).unbind(-2)  # (..., D)
        raw: Tensor = mean - last
        return raw

    def start_decays(self) -> list[float]:
        """See `LatentVectorModel.start_decays`."""
        return [0.5, 0.6, 0.7, 0.8, 0.9]

    def start_at(self, decay: float) -> None:
        """See `LatentVectorModel.start_at`."""
        self.config["decay"] = checked_decay(self.model_type, decay)

    @classmethod
    def config_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """See `LatentVectorModel.config_from_state`."""
        return {"input_dim": len(state["space.mean"])} if "space.mean" in state else {}
