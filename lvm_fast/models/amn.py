"""amn: the mean of the context asks the context, and a small network adds to the mean what it finds there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .answering import zeros_for
from .cache import Cache
from .causal import CausalModel
from .checks import check_sizes, tensor_of
from .context import padding


class Read(NamedTuple):
    """The vectors that a stream has read of B sequences, n each, and their keys."""

    context: Cache  # rows (B, D)
    keys: Cache  # rows (B, A)


class AMN(CausalModel):
    """The reference's amn, tensor for tensor.

    With b the mean of the vectors so far, w is their sum weighted by ``softmax(query(b) . key(x_i) / sqrt(A))``; the
    hidden state is [b, w], and raw = b + a network of [b, w].

    Args:
        input_dim: Width D of the vectors.
        attention_dim: Width A of queries and keys.
        hidden_dim: Width of the network's first layer.
        bottleneck_dim: Width of its second layer.
        normalize_delta: Return ``raw / ||raw||`` (the reference's habit); False returns ``raw``.
    """

    model_type: ClassVar[str] = "amn"

    def __init__(
        self,
        input_dim: int = 768,
        attention_dim: int = 256,
        hidden_dim: int = 512,
        bottleneck_dim: int = 256,
        normalize_delta: bool = True,
    ) -> None:
        sizes = check_sizes(
            self.model_type,
            input_dim=input_dim,
            attention_dim=attention_dim,
            hidden_dim=hidden_dim,
            bottleneck_dim=bottleneck_dim,
        )
        input_dim, attention_dim, hidden_dim, bottleneck_dim = sizes.values()
        super().__init__(sizes, normalize_delta)
        self.context_encoder = nn.Linear(input_dim, attention_dim)
        self.query_encoder = nn.Linear(input_dim, attention_dim)
        self.residual_net = nn.Sequential(
            nn.Linear(2 * input_dim, hidden_dim),
            nn.GELU(),
            nn.LayerNorm(hidden_dim),
            nn.Linear(hidden_dim, bottleneck_dim),
            nn.GELU(),
            nn.LayerNorm(bottleneck_dim),
            nn.Linear(bottleneck_dim, input_dim),
        )

    def hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """See `CausalModel.hidden`: [mean, weighted sum] of every prefix; the attention is O(N^2)."""
        counts = torch.arange(1, context.shape[1] + 1, device=context.device, dtype=context.dtype)
        means = context.cumsum(dim=1) / counts[:, None]  # (B, N, D)
        queries, keys = self.query_encoder(means), self.context_encoder(context)  # (B, N, A)
        sums = F.scaled_dot_product_attention(queries, keys, context, is_causal=True)  # (B, N, D)
        return torch.cat((means, sums), dim=-1)

    def last_hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """See `CausalModel.last_hidden`: one query a context."""
        if lengths is None:
            return self._ask(context, self.context_encoder(context), context.mean(dim=1), None)
        beyond = padding(context, lengths)  # (B, N)
        mean = context.masked_fill(beyond[..., None], 0.0).sum(dim=1) / lengths.to(context.device)[:, None]
        return self._ask(context, self.context_encoder(context), mean, ~beyond[:, None])

    def _ask(self, context: Tensor, keys: Tensor, mean: Tensor, valid: Tensor | None) -> Tensor:
        """(B, N, D), (B, N, A), (B, D), (B, 1, N) -> (B, 2D)."""
        query = self.query_encoder(mean)[:, None]  # (B, 1, A)
        attended = F.scaled_dot_product_attention(query, keys, context, attn_mask=valid)  # (B, 1, D)
        return torch.cat((mean, attended[:, 0]), dim=-1)

    def raw_delta(self, hidden: Tensor) -> Tensor:
        """See `CausalModel.raw_delta`."""
        raw: Tensor = hidden[..., : self.input_dim] + self.residual_net(hidden)
        return raw

    def start_steps(self, batch_size: int) -> Read:
        """Nothing read yet."""
        like = zeros_for(self, 0)
        return Read(
            Cache.like(like, batch_size, self.input_dim), Cache.like(like, batch_size, self.config["attention_dim"])
        )

    def next_hidden(self, state: Read, vector: Tensor) -> tuple[Tensor, Read]:
        """See `CausalModel.next_hidden`."""
        read = Read(state.context.with_next(vector), state.keys.with_next(self.context_encoder(vector)))
        context, keys = read.context.rows, read.keys.rows
        return self._ask(context, keys, context.mean(dim=1), None), read

    @classmethod
    def config_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """See `LatentVectorModel.config_from_state`."""
        attention_dim, input_dim = tensor_of(cls.model_type, state, "context_encoder.weight", 2).shape
        bottleneck_dim, hidden_dim = tensor_of(cls.model_type, state, "residual_net.3.weight", 2).shape
        return {
            "input_dim": input_dim,
            "attention_dim": attention_dim,
            "hidden_dim": hidden_dim,
            "bottleneck_dim": bottleneck_dim,
        }
