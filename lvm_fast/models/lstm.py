"""lstm: an LSTM and a projection of its last state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from .base import tensor_of
from .causal import CausalModel


class LSTMModel(CausalModel):
    """The reference's lstm, tensor for tensor.

    Args:
        input_dim: Width D of the vectors.
        hidden_dim: Width H of the LSTM.
        num_layers: LSTM layers.
        dropout: Dropout between LSTM layers.
        normalize_delta: Return ``raw / ||raw||`` (the reference's habit); False returns ``raw``.
    """

    model_type: ClassVar[str] = "lstm"

    def __init__(
        self,
        input_dim: int = 768,
        hidden_dim: int = 512,
        num_layers: int = 2,
        dropout: float = 0.2,
        normalize_delta: bool = True,
    ) -> None:
        sizes = {"input_dim": input_dim, "hidden_dim": hidden_dim, "num_layers": num_layers}
        super().__init__(sizes, normalize_delta, dropout=dropout)
        between = dropout if num_layers > 1 else 0.0  # torch warns of dropout that has no place
        self.lstm = nn.LSTM(input_dim, hidden_dim, num_layers, batch_first=True, dropout=between)
        self.output_proj = nn.Linear(hidden_dim, input_dim)

    def hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """See `CausalModel.hidden`."""
        states: Tensor = self.lstm(context)[0]
        return states

    def raw_delta(self, hidden: Tensor) -> Tensor:
        """See `CausalModel.raw_delta`."""
        raw: Tensor = self.output_proj(hidden)
        return raw

    def start_steps(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Hidden and cell states of every layer, (L, B, H) each."""
        shape = (self.lstm.num_layers, batch_size, self.lstm.hidden_size)
        return self.output_proj.weight.new_zeros(shape), self.output_proj.weight.new_zeros(shape)

    def next_hidden(self, state: tuple[Tensor, Tensor], vector: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """See `CausalModel.next_hidden`."""
        states, moved = self.lstm(vector[:, None], state)
        return states[:, 0], moved

    @classmethod
    def config_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """See `LatentVectorModel.config_from_state`."""
        _, input_dim = tensor_of(cls.model_type, state, "lstm.weight_ih_l0", 2).shape
        _, hidden_dim = tensor_of(cls.model_type, state, "lstm.weight_hh_l0", 2).shape
        layers = sum(name.startswith("lstm.weight_hh_l") for name in state)
        return {"input_dim": input_dim, "hidden_dim": hidden_dim, "num_layers": layers}
