"""hierarchical_gru: a GRU within chunks of ten vectors, and a GRU over what it says of each chunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.gru import GRU
from .answering import zeros_for
from .causal import CausalModel
from .checks import check_fraction, check_sizes, configured, recurrent_sizes, size
from .recurrence import between_layers, last_valid, states_of, widening_head


class Encoder(nn.Module):
    """A GRU of width H whose last layer's states are normed."""

    def __init__(self, input_dim: int, hidden_dim: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        between = between_layers(dropout, num_layers)
        self.gru = GRU(input_dim, hidden_dim, num_layers, batch_first=True, dropout=between)
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, N, I) -> (B, N, H)."""
        normed: Tensor = self.norm(states_of(self.gru, inputs))
        return normed

    def advance(self, state: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """One step: states of every layer (L, B, H), inputs (B, I) -> outputs (B, H), the next states (L, B, H)."""
        states, moved = self.gru(inputs[:, None], state)
        return self.norm(states[:, 0]), moved


class Place(NamedTuple):
    """The state of a stream: the states of the chunk so far, of the chunks before it, and its vectors read."""

    local: Tensor  # (L, B, H)
    before: Tensor  # (L, B, H)
    read: int


class HierarchicalGRU(CausalModel):
    """The reference's hierarchical_gru, tensor for tensor.

    Chunks are counted from a context's first vector, and the last one may be partial: the hidden state after a vector
    is the global encoder's answer to the chunks before and the summary of the vector's own chunk so far, followed by
    the vector itself.

    Args:
        input_dim: Width D of the vectors.
        hidden_dim: Width H of both GRUs.
        num_layers: Layers of each GRU.
        chunk_size: Vectors a chunk.
        dropout: Dropout between GRU layers and in the projection.
        normalize_delta: Return ``raw / ||raw||`` (the reference's habit); False returns ``raw``.
    """

    model_type: ClassVar[str] = "hierarchical_gru"
    stepped_by_hand = (Encoder,)
    chunk_size: int = configured("chunk_size", size)

    def __init__(
        self,
        input_dim: int = 768,
        hidden_dim: int = 512,
        num_layers: int = 2,
        chunk_size: int = 10,
        dropout: float = 0.1,
        normalize_delta: bool = True,
    ) -> None:
        sizes = check_sizes(
            self.model_type, input_dim=input_dim, hidden_dim=hidden_dim, num_layers=num_layers, chunk_size=chunk_size
        )
        input_dim, hidden_dim, num_layers, _ = sizes.values()
        dropout = check_fraction(self.model_type, "dropout", dropout)
        super().__init__(sizes, normalize_delta, dropout=dropout)
        self.local_encoder = Encoder(input_dim, hidden_dim, num_layers, dropout)
        self.global_encoder = Encoder(hidden_dim, hidden_dim, num_layers, dropout)
        self.output_proj = widening_head(hidden_dim, input_dim, dropout)
        self.residual_proj = nn.Linear(input_dim, input_dim)

    def hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """See `CausalModel.hidden`: from the states before each chunk, one step on each summary within it."""
        batch, steps, _ = context.shape
        summaries = self._summaries(context)  # (B, C, chunk, H)
        after = self.global_encoder.gru.layer_states(summaries[:, :, -1])  # (L, B, C, H)
        before = F.pad(after[:, :, :-1], (0, 0, 1, 0))[:, :, :, None]  # (L, B, C, 1, H)
        before = before.expand(-1, -1, -1, self.chunk_size, -1).flatten(1, 3)  # (L, B C chunk, H)
        answers, _ = self.global_encoder.advance(before, summaries.flatten(0, 2))  # (B C chunk, H)
        return torch.cat((answers.view(batch, -1, answers.shape[1])[:, :steps], context), dim=-1)

    def last_hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """See `CausalModel.last_hidden`: one run over the summaries of whole chunks and of the last one."""
        batch, steps, _ = context.shape
        summaries = self._summaries(context)  # (B, C, chunk, H)
        counts = torch.full((batch,), steps) if lengths is None else lengths
        counts = counts.to(context.device)
        starts = self.chunk_size * torch.arange(summaries.shape[1], device=context.device)  # (C,)
        own = (counts[:, None] - starts).clamp(1, self.chunk_size)  # (B, C): vectors of each chunk
        ends = last_valid(summaries.flatten(0, 1), own.flatten()).view(batch, len(starts), -1)  # (B, C, H)
        final = last_valid(self.global_encoder(ends), (counts - 1) // self.chunk_size + 1)  # (B, H)
        return torch.cat((final, last_valid(context, lengths)), dim=-1)

    def _summaries(self, context: Tensor) -> Tensor:
        """Run the local encoder over each chunk so far: (B, N, D) -> (B, C, chunk, H), the last chunk filled up."""
        batch, steps, dim = context.shape
        whole = F.pad(context, (0, 0, 0, -steps % self.chunk_size))  # (B, C chunk, D)
        summaries: Tensor = self.local_encoder(whole.reshape(-1, self.chunk_size, dim))  # (B C, chunk, H)
        return summaries.view(batch, -1, self.chunk_size, summaries.shape[2])

    def raw_delta(self, hidden: Tensor) -> Tensor:
        """See `CausalModel.raw_delta`."""
        answer, current = hidden[..., : -self.input_dim], hidden[..., -self.input_dim :]
        raw: Tensor = self.output_proj(answer) + self.residual_proj(current)
        return raw

    def start_steps(self, batch_size: int) -> Place:
        """At the first vector of the first chunk."""
        zeros = zeros_for(self, self.config["num_layers"], batch_size, self.config["hidden_dim"])
        return Place(zeros, zeros, 0)

    def next_hidden(self, state: Place, vector: Tensor) -> tuple[Tensor, Place]:
        """See `CausalModel.next_hidden`."""
        summary, local = self.local_encoder.advance(state.local, vector)
        answer, after = self.global_encoder.advance(state.before, summary)
        is_full = state.read + 1 == self.chunk_size
        moved = Place(torch.zeros_like(local), after, 0) if is_full else Place(local, state.before, state.read + 1)
        return torch.cat((answer, vector), dim=-1), moved

    @classmethod
    def config_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """See `LatentVectorModel.config_from_state`."""
        return recurrent_sizes(cls.model_type, state, "local_encoder.gru")
