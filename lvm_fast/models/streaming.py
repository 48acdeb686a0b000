"""The type of a model's stream; `lvm_fast.inference.stream` implements it."""

from __future__ import annotations

from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class VectorStream(Protocol):
    """Reads one vector of each of B sequences at a time and predicts the next.

    Attributes:
        batch_size: Sequences B.
        weights: The precision of the weights.
        input_dim: Width D of the vectors.
    """

    batch_size: int
    weights: str
    input_dim: int

    def reset(self) -> None:
        """Forget every vector pushed so far."""

    @overload
    def push(self, vector: Tensor) -> Tensor: ...
    @overload
    def push(self, vector: NDArray[Any]) -> NDArray[np.float32]: ...
