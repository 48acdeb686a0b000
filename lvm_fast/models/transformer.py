"""transformer: a causal transformer decoder whose memory is its own input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from .answering import zeros_for
from .cache import Cache
from .causal import CausalModel
from .checks import check_fraction, check_sizes, numbered, tensor_of


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


class Seen(NamedTuple):
    """The keys and values that one attention has made of the vectors so far; rows (B, heads, H / heads)."""

    keys: Cache
    values: Cache

    def with_next(self, attention: nn.MultiheadAttention, source: Tensor) -> Seen:
        """Add what the attention makes of one more vector, (B, H)."""
        width = attention.embed_dim
        both = F.linear(source, attention.in_proj_weight[width:], attention.in_proj_bias[width:])  # (B, 2H)
        key, value = both.view(-1, 2, attention.num_heads, attention.head_dim).unbind(1)
        return Seen(self.keys.with_next(key), self.values.with_next(value))

    def answer(self, attention: nn.MultiheadAttention, asked: Tensor) -> Tensor:
        """Attend with one query, (B, H) -> (B, H)."""
        width = attention.embed_dim
        query = F.linear(asked, attention.in_proj_weight[:width], attention.in_proj_bias[:width])
        query = query.view(-1, attention.num_heads, 1, attention.head_dim)
        keys, values = self.keys.rows.transpose(1, 2), self.values.rows.transpose(1, 2)  # (B, heads, n, H / heads)
        attended = F.scaled_dot_product_attention(query, keys, values)  # (B, heads, 1, H / heads)
        answer: Tensor = attention.out_proj(attended.flatten(1))
        return answer


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
    stepped_by_hand = (
        nn.TransformerDecoder,
        nn.TransformerDecoderLayer,
        nn.MultiheadAttention,
        NonDynamicallyQuantizableLinear,  # an attention's
        nn.Dropout,
    )

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
        sizes = check_sizes(
            self.model_type,
            input_dim=input_dim,
            hidden_dim=hidden_dim,
            num_layers=num_layers,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            max_positions=max_positions,
        )
        input_dim, hidden_dim, num_layers, num_heads, feedforward_dim, max_positions = sizes.values()
        dropout = check_fraction(self.model_type, "dropout", dropout)
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

    def start_steps(self, batch_size: int) -> list[tuple[Seen, Seen]]:
        """Make empty caches for each layer's two attentions."""
        like, heads, width = zeros_for(self, 0), self.config["num_heads"], self.config["hidden_dim"]

        def nothing() -> Seen:
            return Seen(*(Cache.like(like, batch_size, heads, width // heads) for _ in range(2)))

        return [(nothing(), nothing()) for _ in self.transformer_decoder.layers]

    def next_hidden(self, state: list[tuple[Seen, Seen]], vector: Tensor) -> tuple[Tensor, list[tuple[Seen, Seen]]]:
        """See `CausalModel.next_hidden`; what `TransformerDecoderLayer` does to the last of the vectors so far."""
        count = state[0][0].keys.used
        self.check_length(count + 1)
        source = self.pos_encoder(self.input_proj(vector)[:, None], count)[:, 0]  # (B, H)
        hidden, moved = source, []
        for layer, (own, memory) in zip(self.transformer_decoder.layers, state, strict=True):
            assert isinstance(layer, nn.TransformerDecoderLayer)
            own = own.with_next(layer.self_attn, hidden)
            hidden = layer.norm1(hidden + own.answer(layer.self_attn, hidden))
            memory = memory.with_next(layer.multihead_attn, source)
            hidden = layer.norm2(hidden + memory.answer(layer.multihead_attn, hidden))
            hidden = layer.norm3(hidden + layer.linear2(layer.activation(layer.linear1(hidden))))
            moved.append((own, memory))
        return hidden, moved

    @classmethod
    def config_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """See `LatentVectorModel.config_from_state`."""
        hidden_dim, input_dim = tensor_of(cls.model_type, state, "input_proj.weight", 2).shape
        feedforward_dim, _ = tensor_of(cls.model_type, state, "transformer_decoder.layers.0.linear1.weight", 2).shape
        return {
            "input_dim": input_dim,
            "hidden_dim": hidden_dim,
            "num_layers": numbered(state, r"transformer_decoder\.layers\.(\d+)\."),
            "feedforward_dim": feedforward_dim,
            "max_positions": tensor_of(cls.model_type, state, "pos_encoder.pe", 3).shape[1],
        }
