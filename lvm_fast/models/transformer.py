"""transformer: a causal transformer decoder whose memory is its own input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import tensor_of
from .causal import CausalModel


class Positions(nn.Module):
    """Adds the sinusoids of Vaswani et al., Attention Is All You Need (2017), section 3.5, as a buffer (1, P, H)."""

    pe: Tensor

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        places = torch.arange(positions, dtype=torch.float32)[:, None]
        speeds = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
        angles = places * speeds  # (P, ceil(H / 2))
        sinusoids = torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)[:, :width]
        self.register_buffer("pe", sinusoids[None])

    def forward(self, inputs: Tensor, first: int = 0) -> Tensor:
        """Add to (B, N, H) the positions from `first` on."""
        return inputs + self.pe[:, first : first + inputs.shape[1]]


class KeysValues(NamedTuple):
    """What one attention has seen of n vectors: (B, heads, n, H / heads) each."""

    keys: Tensor
    values: Tensor

    def with_next(self, attention: nn.MultiheadAttention, source: Tensor) -> KeysValues:
        """Add what the attention makes of one more vector, (B, H)."""
        width = attention.embed_dim
        weight, bias = attention.in_proj_weight[width:], attention.in_proj_bias[width:]
        shape = (len(source), 2, attention.num_heads, 1, attention.head_dim)
        both = F.linear(source, weight, bias).view(shape)
        return KeysValues(torch.cat((self.keys, both[:, 0]), dim=2), torch.cat((self.values, both[:, 1]), dim=2))

    def asked_by(self, attention: nn.MultiheadAttention, query: Tensor) -> Tensor:
        """Attend with one query, (B, H) -> (B, H)."""
        width, shape = attention.embed_dim, (len(query), attention.num_heads, 1, attention.head_dim)
        projected = F.linear(query, attention.in_proj_weight[:width], attention.in_proj_bias[:width]).view(shape)
        told = F.scaled_dot_product_attention(projected, self.keys, self.values)  # (B, heads, 1, H / heads)
        result: Tensor = attention.out_proj(told.flatten(1))
        return result


class TransformerModel(CausalModel):
    """The reference's transformer, tensor for tensor.

    Target and memory of the decoder are the same sequence, with causal masks on both attentions.

    Args:
        input_dim: Width D of the vectors.
        hidden_dim: Width H of the decoder, a multiple of `num_heads`.
        num_layers: Decoder layers.
        num_heads: Attention heads.
        feedforward_dim: Width of the feed-forward networks.
        max_positions: The most vectors a context may have.
        dropout: Dropout in the decoder layers.
        normalize_delta: Return ``raw / ||raw||`` (the reference's habit); False returns ``raw``.
    """

    model_type: ClassVar[str] = "transformer"

    def __init__(
        self,
        input_dim: int = 768,
        hidden_dim: int = 512,
        num_layers: int = 4,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        max_positions: int = 100,
        dropout: float = 0.1,
        normalize_delta: bool = True,
    ) -> None:
        sizes = {
            "input_dim": input_dim,
            "hidden_dim": hidden_dim,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "feedforward_dim": feedforward_dim,
            "max_positions": max_positions,
        }
        super().__init__(sizes, normalize_delta, dropout=dropout)
        if hidden_dim % num_heads:
            raise ValueError(f"transformer: hidden_dim = {hidden_dim}; expected a multiple of num_heads = {num_heads}")
        self.max_context = max_positions
        self.input_proj = nn.Linear(input_dim, hidden_dim)
        self.pos_encoder = Positions(max_positions, hidden_dim)
        layer = nn.TransformerDecoderLayer(hidden_dim, num_heads, feedforward_dim, dropout, batch_first=True)
        self.transformer_decoder = nn.TransformerDecoder(layer, num_layers)
        self.head = nn.Sequential(
            nn.Linear(hidden_dim, hidden_dim), nn.GELU(), nn.LayerNorm(hidden_dim), nn.Linear(hidden_dim, input_dim)
        )

    def hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """See `CausalModel.hidden`."""
        inputs = self.pos_encoder(self.input_proj(context))  # (B, N, H)
        mask = nn.Transformer.generate_square_subsequent_mask(context.shape[1], context.device, inputs.dtype)
        masks = {"tgt_mask": mask, "memory_mask": mask, "tgt_is_causal": True, "memory_is_causal": True}
        states: Tensor = self.transformer_decoder(inputs, inputs, **masks)
        return states

    def raw_delta(self, hidden: Tensor) -> Tensor:
        """See `CausalModel.raw_delta`."""
        raw: Tensor = self.head(hidden)
        return raw

    def start_steps(self, batch_size: int) -> list[tuple[KeysValues, KeysValues]]:
        """What each layer's two attentions have seen: nothing."""
        heads, width = self.config["num_heads"], self.config["hidden_dim"]
        nothing = self.input_proj.weight.new_zeros(batch_size, heads, 0, width // heads)
        return [(KeysValues(nothing, nothing),) * 2] * self.config["num_layers"]

    def next_hidden(self, state: list[tuple[KeysValues, KeysValues]], vector: Tensor) -> tuple[Tensor, Any]:
        """See `CausalModel.next_hidden`."""
        seen = state[0][0].keys.shape[2]
        source = self.pos_encoder(self.input_proj(vector)[:, None], seen)[:, 0]  # (B, H)
        hidden, moved = source, []
        for layer, (own, memory) in zip(self.transformer_decoder.layers, state, strict=True):
            assert isinstance(layer, nn.TransformerDecoderLayer)
            own = own.with_next(layer.self_attn, hidden)
            hidden = layer.norm1(hidden + own.asked_by(layer.self_attn, hidden))
            memory = memory.with_next(layer.multihead_attn, source)
            hidden = layer.norm2(hidden + memory.asked_by(layer.multihead_attn, hidden))
            hidden = layer.norm3(hidden + layer.linear2(F.relu(layer.linear1(hidden))))
            moved.append((own, memory))
        return hidden, moved

    @classmethod
    def config_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """See `LatentVectorModel.config_from_state`."""
        hidden_dim, input_dim = tensor_of(cls.model_type, state, "input_proj.weight", 2).shape
        layers = "transformer_decoder.layers."
        feedforward_dim, _ = tensor_of(cls.model_type, state, f"{layers}0.linear1.weight", 2).shape
        return {
            "input_dim": input_dim,
            "hidden_dim": hidden_dim,
            "num_layers": sum(name.startswith(layers) and name.endswith(".linear1.weight") for name in state),
            "feedforward_dim": feedforward_dim,
            "max_positions": tensor_of(cls.model_type, state, "pos_encoder.pe", 3).shape[1],
        }
