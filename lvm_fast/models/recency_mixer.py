"""recency_mixer: the last vectors and decayed means of all, through a linear map and a small network beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .checks import check_fraction, check_sizes, tensor_of
from .recency import RecencyModel, checked_decays

_DECAYS = (0.5, 0.8, 0.95, 0.99, 1.0)


class RecencyMixer(RecencyModel):
    """The last few vectors and decayed means of all -> a linear map, and a network with one hidden layer, beside them.

    After every vector there are K = T + E features of width D: the last T vectors, and for each of E decays d the mean
    of all vectors so far, weighted by d^age. The prediction is ``sum_k w_k f_k + linear(f) + network(f)``. The linear
    map matters most: it weighs the directions that tell chunks apart, and takes away what all of them share.

    Args:
        input_dim: Width D of the vectors.
        hidden_dim: Width of the network's hidden layer.
        taps: Last vectors T.
        decays: Decays of the means, each above 0 and at most 1; 1 is the plain mean.
        dropout: Dropout of the features and of the hidden layer.
        normalize_delta: Return ``raw / ||raw||``; False, the default here, lets the prediction be anywhere.
    """

    model_type: ClassVar[str] = "recency_mixer"

    def __init__(
        self,
        input_dim: int = 768,
        hidden_dim: int = 1024,
        taps: int = 4,
        decays: Sequence[float] = _DECAYS,
        dropout: float = 0.3,
        normalize_delta: bool = False,
    ) -> None:
        sizes = check_sizes(self.model_type, input_dim=input_dim, hidden_dim=hidden_dim, taps=taps)
        input_dim, hidden_dim, taps = sizes.values()
        dropout = check_fraction(self.model_type, "dropout", dropout)
        super().__init__(sizes, normalize_delta, dropout=dropout)
        self.config["decays"] = checked_decays(self.model_type, decays)
        kinds = taps + len(self.config["decays"])
        self.mix = nn.Parameter(torch.tensor([1.0] + [0.3] * (kinds - 1)))
        self.linear = nn.Sequential(nn.Dropout(dropout), _faint(kinds * input_dim, input_dim))
        self.network = nn.Sequential(
            nn.LayerNorm(kinds * input_dim),
            nn.Dropout(dropout),
            nn.Linear(kinds * input_dim, hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            _faint(hidden_dim, input_dim),
        )

    def raw_delta(self, hidden: Tensor) -> Tensor:
        """See `CausalModel.raw_delta`."""
        features = self.features(hidden)  # (..., K, D)
        mixed = torch.einsum("k,...kd->...d", self.mix, features)
        raw: Tensor = mixed + self.linear(hidden) + self.network(hidden) - features[..., 0, :]
        return raw

    @classmethod
    def config_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """See `LatentVectorModel.config_from_state`."""
        return {
            "input_dim": len(tensor_of(cls.model_type, state, "linear.1.bias", 1)),
            "hidden_dim": len(tensor_of(cls.model_type, state, "network.2.bias", 1)),
        }


def _faint(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear map that hardly adds anything at first: the prediction begins near the mix."""
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=1e-3)
    nn.init.zeros_(linear.bias)
    return linear
