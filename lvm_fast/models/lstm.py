"""lstm: an LSTM and a projection of its last state."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from ..layers.lstm import LSTM, State
from ..ops.packed_model import PackedModel
from .causal import CausalModel
from .checks import check_fraction, check_sizes, recurrent_sizes
from .packing import layers_of, pair_of, tensors_of
from .recurrence import between_layers, last_state_of, states_of


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
    stepped_by_hand = (LSTM,)
    packs: ClassVar[bool] = True

    def __init__(
        self,
        input_dim: int = 768,
        hidden_dim: int = 512,
        num_layers: int = 2,
        dropout: float = 0.2,
        normalize_delta: bool = True,
    ) -> None:
        sizes = check_sizes(self.model_type, input_dim=input_dim, hidden_dim=hidden_dim, num_layers=num_layers)
        input_dim, hidden_dim, num_layers = sizes.values()
        dropout = check_fraction(self.model_type, "dropout", dropout)
        super().__init__(sizes, normalize_delta, dropout=dropout)
        between = between_layers(dropout, num_layers)
        self.lstm = LSTM(input_dim, hidden_dim, num_layers, batch_first=True, dropout=between)
        self.output_proj = nn.Linear(hidden_dim, input_dim)

    def hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """See `CausalModel.hidden`."""
        return states_of(self.lstm, context, lengths)

    def last_hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """See `CausalModel.last_hidden`."""
        return last_state_of(self.lstm, context, lengths)

    def raw_delta(self, hidden: Tensor) -> Tensor:
        """See `CausalModel.raw_delta`."""
        raw: Tensor = self.output_proj(hidden)
        return raw

    def start_steps(self, batch_size: int) -> State:
        """Hidden and cell state of every layer, (B, H) each."""
        return self.lstm.start(batch_size)

    def next_hidden(self, state: State, vector: Tensor) -> tuple[Tensor, State]:
        """See `CausalModel.next_hidden`."""
        return self.lstm.advance(state, vector)

    def packed_from(self) -> tuple[Hashable, list[Tensor]]:
        """See `LatentVectorModel.packed_from`."""
        return self.normalize_delta, tensors_of([self.lstm, self.output_proj])

    def packed(self, precision: str) -> PackedModel:
        """Pack the weights for the core. See `LatentVectorModel.packed`."""
        return PackedModel(
            precision,
            cell="lstm",
            input=self.input_dim,
            layers=layers_of(self.lstm),
            output=pair_of(self.output_proj),
            unit_delta=self.normalize_delta,
        )

    @classmethod
    def config_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """See `LatentVectorModel.config_from_state`."""
        return recurrent_sizes(cls.model_type, state, "lstm")
