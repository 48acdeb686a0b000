"""specialist_gru: a GRU for all, and a mixture of experts as its head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from ..layers.gru import GRU
from .answering import zeros_for
from .checks import check_fraction, check_sizes, recurrent_sizes
from .mixture import MixtureOfExperts
from .recurrence import between_layers, last_state_of, states_of


class SpecialistGRU(MixtureOfExperts):
    """LayerNorm -> GRU -> gate -> two of sixteen experts -> unit delta.

    The reference planned it as its phase 4 and never wrote it; trunk and dropout are those of memory_gru.

    Args:
        input_dim: Width D of the vectors.
        hidden_dim: Width H of the hidden states.
        num_layers: GRU layers.
        num_experts: Experts E.
        expert_dim: Width of an expert's hidden layer.
        top_k: Experts that run for each hidden state.
        domains: What each expert is called, E different names; none for "expert 0" and so on.
        dropout: Dropout between GRU layers and in the experts.
        normalize_delta: Return ``raw / ||raw||`` (the reference's habit); False returns ``raw``.
    """

    model_type: ClassVar[str] = "specialist_gru"

    def __init__(
        self,
        input_dim: int = 768,
        hidden_dim: int = 512,
        num_layers: int = 4,
        num_experts: int = 16,
        expert_dim: int = 256,
        top_k: int = 2,
        domains: Sequence[str] = (),
        dropout: float = 0.1,
        normalize_delta: bool = True,
    ) -> None:
        sizes = check_sizes(
            self.model_type,
            input_dim=input_dim,
            hidden_dim=hidden_dim,
            num_layers=num_layers,
            num_experts=num_experts,
            expert_dim=expert_dim,
            top_k=top_k,
        )
        dropout = check_fraction(self.model_type, "dropout", dropout)
        super().__init__(sizes, domains, normalize_delta, dropout)
        input_dim, hidden_dim, num_layers, *_ = sizes.values()
        self.input_norm = nn.LayerNorm(input_dim)
        between = between_layers(dropout, num_layers)
        self.gru = GRU(input_dim, hidden_dim, num_layers, batch_first=True, dropout=between)

    def hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """See `CausalModel.hidden`."""
        return states_of(self.gru, self.input_norm(context), lengths)

    def last_hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """See `CausalModel.last_hidden`."""
        return last_state_of(self.gru, self.input_norm(context), lengths)

    def start_steps(self, batch_size: int) -> Tensor:
        """Return the state of every layer, (L, B, H)."""
        return zeros_for(self, self.config["num_layers"], batch_size, self.config["hidden_dim"])

    def next_hidden(self, state: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        """See `CausalModel.next_hidden`."""
        states, moved = self.gru(self.input_norm(vector)[:, None], state)
        return states[:, 0], moved

    @classmethod
    def config_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """See `LatentVectorModel.config_from_state`."""
        return {**recurrent_sizes(cls.model_type, state, "gru"), **cls.head_sizes(state)}
