"""Attention with several heads as MIL operations: over a whole sequence, and over what a state has kept of it."""

from __future__ import annotations

import numpy as np

from ..coremltools_compat import mb, types
from .layers import Layers, Variable, length_of

NEVER = -3e4  # added to a product that must not count; its exponential is zero, in float16 too


class Attention:
    """A `torch.nn.MultiheadAttention` in the form that `projections` gives it.

    Args:
        layers: What holds its parameters.
        prefix: What comes before their names.
        num_heads: Heads h, each H / h wide.
    """

    def __init__(self, layers: Layers, prefix: str, num_heads: int) -> None:
        self.layers = layers
        self.prefix = prefix
        self.heads = num_heads

    def keys_and_values(self, source: Variable) -> tuple[Variable, Variable]:
        """(..., H) -> (..., H) each."""
        keys, values = mb.split(x=self.layers.dense(source, f"{self.prefix}.key_value"), num_splits=2, axis=-1)
        return keys, values

    def answer(self, asked: Variable, keys: Variable, values: Variable, mask: Variable) -> Variable:
        """Queries from (B, M, H), keys and values (B, N, H), a mask to add (M, N) or (1, N) -> (B, M, H)."""
        queries = self.layers.dense(asked, f"{self.prefix}.query")
        width = queries.shape[-1]
        scale = np.dtype(self.layers.precision).type((width // self.heads) ** -0.5)
        queries, keys, values = (self._apart(x) for x in (mb.mul(x=queries, y=scale), keys, values))
        products = mb.add(x=mb.matmul(x=queries, y=keys, transpose_y=True), y=mask)  # (B, h, M, N)
        told = mb.matmul(x=mb.softmax(x=products, axis=-1), y=values)  # (B, h, M, H / h)
        together = mb.reshape(x=mb.transpose(x=told, perm=[0, 2, 1, 3]), shape=[told.shape[0], -1, width])
        return self.layers.dense(together, f"{self.prefix}.out_proj")

    def _apart(self, x: Variable) -> Variable:
        """The heads apart: (B, N, H) -> (B, h, N, H / h)."""
        heads = mb.reshape(x=x, shape=[x.shape[0], -1, self.heads, x.shape[-1] // self.heads])
        return mb.transpose(x=heads, perm=[0, 2, 1, 3])


def causal_mask(rows: Variable) -> Variable:
    """What to add to the products of queries and keys of one sequence (B, N, H), so that none looks ahead: (N, N)."""
    steps, number = length_of(rows), np.float16 if rows.dtype == types.fp16 else np.float32
    ones = mb.fill(shape=mb.concat(values=[steps, steps], axis=0), value=number(1))
    behind = mb.band_part(x=ones, lower=-1, upper=0)  # 1 where a key is no later than the query
    return mb.mul(x=mb.sub(x=number(1), y=behind), y=number(NEVER))
