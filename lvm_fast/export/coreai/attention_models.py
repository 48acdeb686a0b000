"""Exports transformer and amn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ...models.amn import AMN
from ...models.transformer import TransformerModel
from .layers import Layers
from .program import ModelProgram
from .states import COUNT, State

_KEPT = ("keys", "values", "memory_keys", "memory_values")  # of each decoder layer


class TransformerProgram(ModelProgram[TransformerModel]):
    """transformer as a Core AI program; a stream keeps the keys and values of every vector as state.

    Past the model's positions there is no room for more, and all that a stream says is NaN.
    """

    uncompressed = frozenset({"pos_encoder.pe"})
    any_length = frozenset({"pos_encoder.pe", "input_proj.bias"})

    def fold(self, model: TransformerModel) -> dict[str, NDArray[np.float32]]:
        """Return the model's tensors, but for positions as (P, H) and each attention's projections, which are apart."""
        folded = {}
        for name, array in super().fold(model).items():
            prefix, projection, kind = name.rpartition("in_proj_")
            if projection:
                width = len(array) // 3
                folded[f"{prefix}query.{kind}"], folded[f"{prefix}key_value.{kind}"] = array[:width], array[width:]
            else:
                folded[name] = array[0] if name == "pos_encoder.pe" else array
        return folded

    def by_length(self, length: int) -> dict[str, NDArray[np.float32]]:
        """Return the positions of N vectors, with the bias that is added beside them, (N, H)."""
        return {"places": self._folded["pos_encoder.pe"][:length] + self._folded["input_proj.bias"]}

    def read(self, layers: Layers, context: Tensor) -> Tensor:
        """See `ModelProgram.read`."""
        steps = context.shape[1]
        rows = layers.narrow(context) @ layers["input_proj.weight"].T + self._places(layers, steps)  # (B, N, H)
        places = torch.arange(steps)
        is_past = places[:, None] >= places  # (N, N): a key is no later than the query
        hidden = rows
        for prefix in self._prefixes():
            kept = self._keys_and_values(layers, prefix, hidden, rows)
            hidden = self._decode(layers, prefix, hidden, list(kept), is_past)
        return self._head(layers, hidden[:, -1])

    def states(self) -> dict[str, State]:
        """See `ModelProgram.states`; ``read`` counts the vectors."""
        room = State((1, self.config["max_positions"], self.config["hidden_dim"]))
        numbers = range(self.config["num_layers"])
        return {**{f"{kind}_{number}": room for number in numbers for kind in _KEPT}, "read": COUNT}

    def push(self, layers: Layers, vector: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """See `ModelProgram.push`."""
        *rooms, read = states
        count, positions = read[:, :1], self.config["max_positions"]  # (1, 1)
        places = torch.arange(positions).to(count.dtype)  # (P,)
        here, is_past = places == count, places <= count  # (1, P)
        row = layers.dense(layers.narrow(vector), "input_proj")  # (1, H)
        row = row + layers.narrow(here) @ layers["pos_encoder.pe"]
        row = hidden = row[:, None]  # (1, 1, H)
        moved: list[Tensor] = []
        for number, prefix in enumerate(self._prefixes()):
            fresh = self._keys_and_values(layers, prefix, hidden, row)
            before = rooms[len(_KEPT) * number :]
            kept = [torch.where(here[..., None], new, room) for new, room in zip(fresh, before)]  # noqa: B905 (P, H)
            moved += kept
            hidden = self._decode(layers, prefix, hidden, kept, is_past)
        raw = self._head(layers, hidden[:, -1])
        return torch.where(count < positions, raw, torch.full_like(raw, torch.nan)), [*moved, read + 1]

    def _places(self, layers: Layers, steps: int) -> Tensor:
        """See `by_length`."""
        known = f"places_{steps}" if isinstance(steps, int) else ""
        return layers[known] if known in layers else layers["pos_encoder.pe"][:steps] + layers["input_proj.bias"]

    def _prefixes(self) -> list[str]:
        return [f"transformer_decoder.layers.{number}" for number in range(self.config["num_layers"])]

    def _keys_and_values(self, layers: Layers, prefix: str, own: Tensor, memory: Tensor) -> Iterator[Tensor]:
        """Yield what the attentions of a layer keep of its own rows and of the memory's, (B, N, H) each: `_KEPT`."""
        for attention, source in (("self_attn", own), ("multihead_attn", memory)):
            both = layers.dense(source, f"{prefix}.{attention}.key_value")  # (B, N, 2H)
            width = self.config["hidden_dim"]
            yield from (both[..., :width], both[..., width:])

    def _decode(self, layers: Layers, prefix: str, x: Tensor, kept: Sequence[Tensor], is_past: Tensor) -> Tensor:
        """Apply a decoder layer: (B, M, H), keys and values of both attentions (B, N, H) -> (B, M, H)."""
        own, memory = kept[:2], kept[2:]
        x = layers.layer_norm(x + self._answer(layers, f"{prefix}.self_attn", x, own, is_past), f"{prefix}.norm1")
        said = self._answer(layers, f"{prefix}.multihead_attn", x, memory, is_past)
        x = layers.layer_norm(x + said, f"{prefix}.norm2")
        inner = layers.dense(x, f"{prefix}.linear1").relu()
        return layers.layer_norm(x + layers.dense(inner, f"{prefix}.linear2"), f"{prefix}.norm3")

    def _answer(self, layers: Layers, prefix: str, asked: Tensor, kept: Sequence[Tensor], is_past: Tensor) -> Tensor:
        """Apply an attention: queries from (B, M, H), keys and values (B, N, H), which count (M, N) -> (B, M, H)."""
        query, keys, values = (self._apart(x) for x in (layers.dense(asked, f"{prefix}.query"), *kept))
        told = F.scaled_dot_product_attention(query, keys, values, attn_mask=is_past)  # (B, h, M, H / h)
        return layers.dense(told.transpose(1, 2).flatten(2), f"{prefix}.out_proj")

    def _apart(self, x: Tensor) -> Tensor:
        """Take the heads apart: (B, N, H) -> (B, h, N, H / h)."""
        return x.view(*x.shape[:2], self.config["num_heads"], -1).transpose(1, 2)

    def _head(self, layers: Layers, final: Tensor) -> Tensor:
        """Return the raw delta: (B, H) -> (B, D)."""
        return layers.dense(layers.layer_norm(F.gelu(layers.dense(final, "head.0")), "head.2"), "head.3")


class AMNProgram(ModelProgram[AMN]):
    """amn as a Core AI program."""

    cannot_stream = "each step asks all vectors so far anew, and a state has a fixed size"

    def read(self, layers: Layers, context: Tensor) -> Tensor:
        """See `ModelProgram.read`."""
        rows = layers.narrow(context)  # (B, N, D)
        mean = rows.mean(dim=1, keepdim=True)  # (B, 1, D)
        query, keys = layers.dense(mean, "query_encoder"), layers.dense(rows, "context_encoder")
        # the converter's attention wants values as wide as queries
        products = query * self.config["attention_dim"] ** -0.5 @ keys.transpose(1, 2)  # (B, 1, N)
        told = products.softmax(dim=-1) @ rows  # (B, 1, D)
        inner = torch.cat((mean, told), dim=-1).squeeze(1)  # (B, 2D)
        for dense, norm in (("0", "2"), ("3", "5")):
            inner = F.gelu(layers.dense(inner, f"residual_net.{dense}"))
            inner = layers.layer_norm(inner, f"residual_net.{norm}")
        return mean.squeeze(1) + layers.dense(inner, "residual_net.6")
