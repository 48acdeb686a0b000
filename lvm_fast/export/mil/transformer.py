"""Builds the Core ML program of transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...models.transformer import TransformerModel
from ..coremltools_compat import mb, types
from .layers import Layers, Variable, cast, gelu, last_row, length_of
from .program import ModelProgram, ProgramOptions
from .split_precision import join_count, split_count

_MASKED = -3e4  # added to a product that must not count; its exponential is zero, in float16 too


class _Attention:
    """Adds a `torch.nn.MultiheadAttention` with the projections that `TransformerProgram.fold` makes.

    Args:
        layers: Layers with its parameters.
        prefix: The prefix of their names.
        num_heads: Heads h, each H / h wide.
    """

    def __init__(self, layers: Layers, prefix: str, num_heads: int) -> None:
        self.layers = layers
        self.prefix = prefix
        self.heads = num_heads

    def keys_and_values(self, source: Variable) -> tuple[Variable, Variable]:
        """Project to keys and values: (..., H) -> (..., H) each."""
        keys, values = mb.split(x=self.layers.dense(source, f"{self.prefix}.key_value"), num_splits=2, axis=-1)
        return keys, values

    def attend(self, source: Variable, keys: Variable, values: Variable, mask: Variable) -> Variable:
        """Attend with queries of `source` (B, M, H) to keys and values (B, N, H), with an added mask (M or 1, N)."""
        queries = self.layers.dense(source, f"{self.prefix}.query")
        width = queries.shape[-1]
        scale = np.dtype(self.layers.precision).type((width // self.heads) ** -0.5)
        queries, keys, values = (self._split_heads(x) for x in (mb.mul(x=queries, y=scale), keys, values))
        products = mb.add(x=mb.matmul(x=queries, y=keys, transpose_y=True), y=mask)  # (B, h, M, N)
        attended = mb.matmul(x=mb.softmax(x=products, axis=-1), y=values)  # (B, h, M, H / h)
        joined = mb.reshape(x=mb.transpose(x=attended, perm=[0, 2, 1, 3]), shape=[attended.shape[0], -1, width])
        return self.layers.dense(joined, f"{self.prefix}.out_proj")

    def _split_heads(self, x: Variable) -> Variable:
        """Split the heads: (B, N, H) -> (B, h, N, H / h)."""
        heads = mb.reshape(x=x, shape=[x.shape[0], -1, self.heads, x.shape[-1] // self.heads])
        return mb.transpose(x=heads, perm=[0, 2, 1, 3])


def causal_mask(rows: Variable) -> Variable:
    """Return the mask to add to the products of a sequence (B, N, H) so that no step looks ahead: (N, N)."""
    steps, number = length_of(rows), np.float16 if rows.dtype == types.fp16 else np.float32
    ones = mb.fill(shape=mb.concat(values=[steps, steps], axis=0), value=number(1))
    behind = mb.band_part(x=ones, lower=-1, upper=0)  # 1 where a key is no later than the query
    return mb.mul(x=mb.sub(x=number(1), y=behind), y=number(_MASKED))


class _Layer(NamedTuple):
    """The two attentions of a decoder layer, and the prefix of its other parameters' names."""

    own: _Attention
    memory: _Attention
    prefix: str


class TransformerProgram(ModelProgram[TransformerModel]):
    """Builds the MIL functions of a transformer; a stream keeps the keys and values of every vector as state.

    After as many vectors as the model has positions, all outputs of a stream are NaN.
    """

    def __init__(self, model: TransformerModel, options: ProgramOptions) -> None:
        super().__init__(model, options)
        prefixes = [f"transformer_decoder.layers.{layer}" for layer in range(self.config["num_layers"])]
        self._layers = [
            _Layer(self._attention(f"{prefix}.self_attn"), self._attention(f"{prefix}.multihead_attn"), prefix)
            for prefix in prefixes
        ]

    def _attention(self, prefix: str) -> _Attention:
        return _Attention(self.layers, prefix, self.config["num_heads"])

    def fold(self, model: TransformerModel) -> dict[str, NDArray[np.float32]]:
        """Return the model's tensors, with positions as (P, H) and the projections of each attention split."""
        folded = {}
        for name, array in super().fold(model).items():
            prefix, projection, kind = name.rpartition("in_proj_")
            if projection:
                width = len(array) // 3
                folded[f"{prefix}query.{kind}"], folded[f"{prefix}key_value.{kind}"] = array[:width], array[width:]
            else:
                folded[name] = array[0] if name == "pos_encoder.pe" else array
        return folded

    def raw_delta(self, context: Variable) -> Variable:
        """See `ModelProgram.raw_delta`."""
        rows = self.layers.dense(self.layers.to_precision(context), "input_proj")  # (B, N, H)
        last = mb.concat(values=[length_of(context), np.array([self.config["hidden_dim"]], np.int32)], axis=0)
        rows = mb.add(x=rows, y=mb.slice_by_index(x=self.layers.constant("pos_encoder.pe"), begin=[0, 0], end=last))
        mask = causal_mask(rows)
        hidden = rows
        for layer in self._layers:
            kept = *layer.own.keys_and_values(hidden), *layer.memory.keys_and_values(rows)
            hidden = self._decode(layer, hidden, kept, mask)
        return self._head(last_row(hidden))

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """See `ModelProgram.state_shapes`."""
        kept = [
            f"{kind}_{index}"
            for index in range(len(self._layers))
            for kind in ("keys", "values", "memory_keys", "memory_values")
        ]
        room = (1, self.config["max_positions"], self.config["hidden_dim"])
        return {**dict.fromkeys(kept, room), "read": (2, 1)}

    def push(self, vector: Variable, states: Sequence[Variable]) -> tuple[Variable, Sequence[Variable]]:
        """See `ModelProgram.push`."""
        *rooms, read = states
        layers, positions = self.layers, self.config["max_positions"]
        count = join_count(read)  # (1, 1)
        places = cast(mb.range_1d(start=0, end=positions, step=1), "float32")  # (P,)
        here = cast(mb.equal(x=places, y=count), layers.precision)  # (1, P): 1 at the new vector's place
        unseen = cast(mb.greater(x=places, y=count), layers.precision)  # (1, P)
        mask = mb.mul(x=unseen, y=np.dtype(layers.precision).type(_MASKED))
        row = layers.dense(layers.to_precision(vector), "input_proj")  # (1, H)
        row = mb.add(x=row, y=mb.matmul(x=here, y=layers.constant("pos_encoder.pe")))
        row = hidden = mb.expand_dims(x=row, axes=[0])  # (1, 1, H)
        moved: list[Variable] = []
        for index, layer in enumerate(self._layers):
            fresh = *layer.own.keys_and_values(hidden), *layer.memory.keys_and_values(row)
            kept = [
                mb.add(x=room, y=mb.matmul(x=here, y=mb.squeeze(x=new, axes=[0]), transpose_x=True))  # (1, P, H)
                for room, new in zip(rooms[4 * index : 4 * index + 4], fresh, strict=True)
            ]
            moved += kept
            hidden = self._decode(layer, hidden, kept, mask)
        room_left = cast(mb.less(x=count, y=np.float32(positions)), layers.precision)  # (1, 1)
        raw = mb.mul(x=self._head(last_row(hidden)), y=mb.real_div(x=room_left, y=room_left))  # 0 / 0 past the end
        return raw, [*moved, split_count(mb.add(x=count, y=np.float32(1)))]

    def _decode(self, layer: _Layer, x: Variable, kept: Sequence[Variable], mask: Variable) -> Variable:
        """Run a decoder layer: (B, M, H), keys and values of both attentions (B, N, H) -> (B, M, H)."""
        layers, (own, memory, prefix) = self.layers, layer
        own_keys, own_values, keys, values = kept
        x = layers.layer_norm(mb.add(x=x, y=own.attend(x, own_keys, own_values, mask)), f"{prefix}.norm1")
        x = layers.layer_norm(mb.add(x=x, y=memory.attend(x, keys, values, mask)), f"{prefix}.norm2")
        inner = mb.relu(x=layers.dense(x, f"{prefix}.linear1"))
        return layers.layer_norm(mb.add(x=x, y=layers.dense(inner, f"{prefix}.linear2")), f"{prefix}.norm3")

    def _head(self, final: Variable) -> Variable:
        """Compute the raw delta: (B, H) -> (B, D)."""
        layers = self.layers
        return layers.dense(layers.layer_norm(gelu(layers.dense(final, "head.0")), "head.2"), "head.3")
