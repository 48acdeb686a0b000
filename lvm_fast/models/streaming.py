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

    def reset(self, rows: Any = None) -> None:
        """Forget every vector pushed so far; of these sequences only, where they are given."""

    @overload
    def push(self, vector: Tensor, rows: Any = None) -> Tensor: ...
    @overload
    def push(self, vector: NDArray[Any], rows: Any = None) -> NDArray[np.float32]: ...
