"""recency_mixer as a Core ML program."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...models.recency_mixer import RecencyMixer
from ..coremltools_compat import mb
from .layers import Variable, gelu
from .recency import RecencyProgram


class RecencyMixerProgram(RecencyProgram[RecencyMixer]):
    """Builds the MIL functions of a recency_mixer: recency features, a linear map of them and a network beside it."""

    def fold(self, model: RecencyMixer) -> dict[str, NDArray[np.float32]]:
        """See `RecencyProgram.fold`; the mix is (1, K)."""
        folded = super().fold(model)
        return {**folded, "mix": folded["mix"][None]}

    def head(self, features: Variable) -> Variable:
        """See `RecencyProgram.head`."""
        layers = self.layers
        batch, kinds, dim = features.shape
        flat = mb.reshape(x=features, shape=[batch, kinds * dim])
        mixed = mb.squeeze(x=mb.matmul(x=layers.constant("mix"), y=features), axes=[1])
        inner = gelu(layers.dense(layers.layer_norm(flat, "network.0"), "network.2"))
        raw = mb.add(x=mb.add(x=mixed, y=layers.dense(flat, "linear.1")), y=layers.dense(inner, "network.5"))
        current = mb.slice_by_index(x=features, begin=[0, 0, 0], end=[batch, 1, dim], squeeze_mask=[False, True, False])
        return mb.sub(x=raw, y=current)
