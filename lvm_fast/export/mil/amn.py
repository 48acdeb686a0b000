"""Builds the Core ML program of amn."""

from __future__ import annotations

import numpy as np

from ...models.amn import AMN
from ..coremltools_compat import mb
from .layers import Variable, gelu
from .program import ModelProgram


class AMNProgram(ModelProgram[AMN]):
    """Builds the MIL functions of an amn."""

    cannot_stream = "each step asks all vectors so far anew, and a state has a fixed size"

    def raw_delta(self, context: Variable) -> Variable:
        """See `ModelProgram.raw_delta`."""
        layers = self.layers
        rows = layers.to_precision(context)  # (B, N, D)
        mean = mb.reduce_mean(x=rows, axes=[1], keep_dims=True)  # (B, 1, D)
        query = layers.dense(mean, "query_encoder")  # (B, 1, A)
        query = mb.mul(x=query, y=np.dtype(layers.precision).type(self.config["attention_dim"] ** -0.5))
        products = mb.matmul(x=query, y=layers.dense(rows, "context_encoder"), transpose_y=True)  # (B, 1, N)
        attended = mb.matmul(x=mb.softmax(x=products, axis=-1), y=rows)  # (B, 1, D)
        both = mb.squeeze(x=mb.concat(values=[mean, attended], axis=-1), axes=[1])  # (B, 2D)
        inner = layers.layer_norm(gelu(layers.dense(both, "residual_net.0")), "residual_net.2")
        inner = layers.layer_norm(gelu(layers.dense(inner, "residual_net.3")), "residual_net.5")
        return mb.add(x=mb.squeeze(x=mean, axes=[1]), y=layers.dense(inner, "residual_net.6"))
