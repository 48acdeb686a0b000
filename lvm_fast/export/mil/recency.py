"""What recency models have in common as Core ML programs: the last vectors, and decayed means of all."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...models.recency import RecencyModel
from ..coremltools_compat import mb
from .layers import Variable, cast, length_of
from .program import Form, ModelProgram
from .split_precision import count_of, counted, parts_of, whole

Model = TypeVar("Model", bound=RecencyModel)


class RecencyProgram(ModelProgram[Model]):
    """Builds the MIL functions of a recency model: one product of each vector's shares with the vectors, and a head.

    A stream keeps decayed means, not sums, which would outgrow float16; and keeps them in two parts, since the mean of
    thousands of vectors moves by less than float16 can tell. A model type is a subclass with `head`.
    """

    def __init__(self, model: Model, form: Form) -> None:
        super().__init__(model, form)
        self._taps, self._decays = model.taps, len(model.decays)

    def fold(self, model: Model) -> dict[str, NDArray[np.float32]]:
        """The model's tensors, and its decays, (E, 1)."""
        return {**super().fold(model), "decays": np.array(model.decays, np.float32)[:, None]}

    @abstractmethod
    def head(self, features: Variable) -> Variable:
        """The K = T + E features of width D, the last vector first, (B, K, D) -> raw delta (B, D)."""

    def read(self, context: Variable) -> Variable:
        """See `ModelProgram.read`."""
        rows = self.layers.narrow(context)  # (B, N, D)
        steps = length_of(context)
        places = mb.range_1d(start=0, end=mb.squeeze(x=steps, axes=[0]), step=1)  # (N,)
        ages = mb.sub(x=mb.sub(x=steps, y=1), y=places)  # (N,), 0 for the last vector
        taken = mb.equal(x=np.arange(self._taps, dtype=np.int32)[:, None], y=ages)  # (T, N)
        decays = cast(self.layers.constant("decays"), "float32")
        weights = mb.pow(x=decays, y=cast(ages, "float32"))  # (E, N)
        ones = mb.fill(shape=mb.concat(values=[steps, np.array([1], np.int32)], axis=0), value=np.float32(1))
        shares = mb.real_div(x=weights, y=mb.matmul(x=weights, y=ones))  # coremltools cannot read sums of constants
        both = mb.concat(values=[cast(taken, "float32"), shares], axis=0)  # (K, N)
        return self.head(mb.matmul(x=self.layers.narrow(both), y=rows))

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """See `ModelProgram.state_shapes`."""
        taps, decays = self._taps, self._decays
        return {"taps": (1, taps, self.dim), "means": (2, decays, self.dim), "weights": (2, decays, 1)}

    def push(self, vector: Variable, states: Sequence[Variable]) -> tuple[Variable, Sequence[Variable]]:
        """See `ModelProgram.push`."""
        taps, means, weights = states
        row, taken = mb.expand_dims(x=self.layers.narrow(vector), axes=[1]), self._taps  # (1, 1, D)
        if taken > 1:
            older = mb.slice_by_index(x=taps, begin=[0, 0, 0], end=[1, taken - 1, self.dim])
            taps = mb.concat(values=[row, older], axis=1)
        else:
            taps = row
        decays = cast(self.layers.constant("decays"), "float32")
        weight = mb.add(x=mb.mul(x=count_of(weights), y=decays), y=np.float32(1))  # (1, E, 1)
        before = whole(means)  # (1, E, D)
        step = mb.sub(x=mb.expand_dims(x=vector, axes=[1]), y=before)
        mean = mb.add(x=before, y=mb.real_div(x=step, y=weight))
        features = mb.concat(values=[taps, self.layers.narrow(mean)], axis=1)
        return self.head(features), [taps, parts_of(mean), counted(weight)]
