"""transformer as a Core ML program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...models.transformer import TransformerModel
from ..coremltools_compat import mb
from .attention import NEVER, Attention, causal_mask
from .layers import Variable, cast, gelu, last_row, length_of
from .program import Form, ModelProgram
from .split_precision import count_of, counted


class _Layer(NamedTuple):
    """The two attentions of a decoder layer, and what comes before the names of its other parameters."""

    own: Attention
    memory: Attention
    prefix: str


class TransformerProgram(ModelProgram[TransformerModel]):
    """Builds the MIL functions of a transformer; a stream keeps the keys and values of every vector as state.

    Past the model's positions there is no room for more, and all that a stream says is NaN.
    """

    def __init__(self, model: TransformerModel, form: Form) -> None:
        super().__init__(model, form)
        prefixes = [f"transformer_decoder.layers.{layer}" for layer in range(self.config["num_layers"])]
        self._layers = [
            _Layer(self._attention(f"{prefix}.self_attn"), self._attention(f"{prefix}.multihead_attn"), prefix)
            for prefix in prefixes
        ]

    def _attention(self, prefix: str) -> Attention:
        return Attention(self.layers, prefix, self.config["num_heads"])

    def fold(self, model: TransformerModel) -> dict[str, NDArray[np.float32]]:
        """The model's tensors, but for positions as (P, H) and the projections of each attention, which are apart."""
        folded = {}
        for name, array in super().fold(model).items():
            prefix, projection, kind = name.rpartition("in_proj_")
            if projection:
                width = len(array) // 3
                folded[f"{prefix}query.{kind}"], folded[f"{prefix}key_value.{kind}"] = array[:width], array[width:]
            else:
                folded[name] = array[0] if name == "pos_encoder.pe" else array
        return folded

    def read(self, context: Variable) -> Variable:
        """See `ModelProgram.read`."""
        rows = self.layers.dense(self.layers.narrow(context), "input_proj")  # (B, N, H)
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
        count = count_of(read)  # (1, 1)
        places = cast(mb.range_1d(start=0, end=positions, step=1), "float32")  # (P,)
        here = cast(mb.equal(x=places, y=count), layers.precision)  # (1, P): 1 at the new vector's place
        unseen = cast(mb.greater(x=places, y=count), layers.precision)  # (1, P)
        mask = mb.mul(x=unseen, y=np.dtype(layers.precision).type(NEVER))
        row = layers.dense(layers.narrow(vector), "input_proj")  # (1, H)
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
        return raw, [*moved, counted(mb.add(x=count, y=np.float32(1)))]

    def _decode(self, layer: _Layer, x: Variable, kept: Sequence[Variable], mask: Variable) -> Variable:
        """A decoder layer: (B, M, H), keys and values of both attentions (B, N, H) -> (B, M, H)."""
        layers, (own, memory, prefix) = self.layers, layer
        own_keys, own_values, keys, values = kept
        x = layers.layer_norm(mb.add(x=x, y=own.answer(x, own_keys, own_values, mask)), f"{prefix}.norm1")
        x = layers.layer_norm(mb.add(x=x, y=memory.answer(x, keys, values, mask)), f"{prefix}.norm2")
        inner = mb.relu(x=layers.dense(x, f"{prefix}.linear1"))
        return layers.layer_norm(mb.add(x=x, y=layers.dense(inner, f"{prefix}.linear2")), f"{prefix}.norm3")

    def _head(self, final: Variable) -> Variable:
        """(B, H) -> raw delta (B, D)."""
        layers = self.layers
        return layers.dense(layers.layer_norm(gelu(layers.dense(final, "head.0")), "head.2"), "head.3")
