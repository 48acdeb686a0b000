"""recency_residual as a Core ML program."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...models.recency_residual import RecencyResidual
from ..coremltools_compat import mb
from .layers import Variable, cast, unit
from .recency import RecencyProgram
from .space import Wide


class RecencyResidualProgram(RecencyProgram[RecencyResidual]):
    """Builds the MIL functions of a recency_residual; what it makes of keys is in the bank, and in the way back."""

    exact = frozenset({"decays"})  # powers are taken of them

    def fold(self, model: RecencyResidual) -> dict[str, NDArray[np.float32]]:
        """See `RecencyProgram.fold`; the mix is (1, K), and the maps of the keys are left out."""
        folded = {name: array for name, array in super().fold(model).items() if not name.startswith("key_")}
        return {**folded, "mix": folded["mix"][None]}

    def pull(self, model: RecencyResidual) -> Wide:
        """See `ModelProgram.pull`: a query meets ``z + P R z`` as ``q + R' P' q`` meets z."""
        up, down = (part.weight.detach().double().cpu().numpy() for part in (model.key_up, model.key_down))
        pulled: Wide = np.eye(model.input_dim) + up @ down
        return pulled

    def head(self, features: Variable) -> Variable:
        """See `RecencyProgram.head`; lengths and sums are float32, products in the precision."""
        layers = self.layers
        batch, kinds, dim = features.shape
        units = layers.narrow(unit(features))  # (B, K, D)
        base = unit(mb.squeeze(x=mb.matmul(x=layers.constant("mix"), y=units), axes=[1]))  # (B, D)
        flat = mb.reshape(x=units, shape=[batch, kinds * dim])
        rest = layers.dense(layers.product(flat, "query_down.weight"), "query_up")
        query = unit(mb.add(x=base, y=cast(rest, "float32")))
        current = mb.slice_by_index(x=features, begin=[0, 0, 0], end=[batch, 1, dim], squeeze_mask=[False, True, False])
        return mb.sub(x=query, y=cast(current, "float32"))
