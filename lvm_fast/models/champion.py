"""champion: the last vectors and decayed means of all, through a linear map and a small network beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .._util.numbers import plain, real_number
from .causal import CausalModel
from .checks import check_share, check_sizes, tensor_of

_DECAYS = (0.5, 0.8, 0.95, 0.99, 1.0)


class Recent(NamedTuple):
    """What a stream keeps of B sequences.

    Attributes:
        taps: The last T vectors, the newest first, zeros before the first: (B, T, D).
        sums: The decayed sum of all vectors by decay, (B, E, D).
        weights: The sum of the decayed sum's weights, (E,).
    """

    taps: Tensor
    sums: Tensor
    weights: Tensor


class RecencyMixer(CausalModel):
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

    model_type: ClassVar[str] = "champion"

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
        dropout = check_share(self.model_type, "dropout", dropout)
        super().__init__(sizes, normalize_delta, dropout=dropout)
        self.config["decays"] = _checked(decays)
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

    def hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """The features after every vector, (B, N, K * D). See `CausalModel.hidden`."""
        steps = torch.arange(context.shape[1], device=context.device)
        shares = self._shares(steps[:, None] - steps).to(context)  # (K, N, N)
        return torch.einsum("knm,bmd->bnkd", shares, context).flatten(2)

    def last_hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """The features after each context's last vector, (B, K * D). See `CausalModel.last_hidden`."""
        steps = torch.arange(context.shape[1], device=context.device)
        last = steps[-1:, None] if lengths is None else lengths.to(context.device)[:, None] - 1  # (1 or B, 1)
        shares = self._shares(last - steps).to(context)  # (K, 1 or B, N)
        return torch.einsum("kbn,bnd->bkd", shares.expand(-1, len(context), -1), context).flatten(1)

    def _shares(self, ages: Tensor) -> Tensor:
        """The weight of vectors of these ages (..., N), whole numbers, in each feature: (K, ..., N); 0 before age 0."""
        taps = torch.arange(self.config["taps"], device=ages.device)
        taken = ages == taps.view(-1, *[1] * ages.ndim)  # (T, ..., N)
        weights = self._decays().view(-1, *[1] * ages.ndim) ** ages.clamp(min=0) * (ages >= 0)  # (E, ..., N)
        return torch.cat((taken.to(weights), weights / weights.sum(dim=-1, keepdim=True)))

    def _decays(self) -> Tensor:
        """The decays, (E,); float32 in half-precision models, too, where long sums would stand still."""
        exact = torch.promote_types(self.mix.dtype, torch.float32)
        return torch.tensor(self.config["decays"], dtype=exact, device=self.mix.device)

    def raw_delta(self, hidden: Tensor) -> Tensor:
        """See `CausalModel.raw_delta`."""
        features = hidden.view(*hidden.shape[:-1], -1, self.input_dim)  # (..., K, D)
        mixed = torch.einsum("k,...kd->...d", self.mix, features)
        raw: Tensor = mixed + self.linear(hidden) + self.network(hidden) - features[..., 0, :]
        return raw

    def start_steps(self, batch_size: int) -> Recent:
        """Nothing read yet."""
        taps = self.mix.new_zeros(batch_size, self.config["taps"], self.input_dim)
        weights = torch.zeros_like(self._decays())
        return Recent(taps, weights.new_zeros(batch_size, len(weights), self.input_dim), weights)

    def next_hidden(self, state: Recent, vector: Tensor) -> tuple[Tensor, Recent]:
        """See `CausalModel.next_hidden`."""
        decays = self._decays()
        taps = torch.cat((vector[:, None], state.taps[:, :-1]), dim=1)
        sums, weights = state.sums * decays[:, None] + vector[:, None], state.weights * decays + 1.0
        hidden = torch.cat((taps, (sums / weights[:, None]).to(taps)), dim=1).flatten(1)
        return hidden, Recent(taps, sums, weights)

    @classmethod
    def config_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """See `LatentVectorModel.config_from_state`."""
        return {
            "input_dim": len(tensor_of(cls.model_type, state, "linear.1.bias", 1)),
            "hidden_dim": len(tensor_of(cls.model_type, state, "network.2.bias", 1)),
        }


def _faint(inputs: int, outputs: int) -> nn.Linear:
    """A linear map that hardly adds anything at first: the prediction begins near the mix."""
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=1e-3)
    nn.init.zeros_(linear.bias)
    return linear


def _checked(decays: Any) -> list[float]:
    given = decays.tolist() if isinstance(decays, np.ndarray) else decays
    try:
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise ValueError
        checked = [real_number(decay, "decays", 0, 1) for decay in given]
    except ValueError:
        checked = [0.0]
    if not all(checked):
        raise ValueError(f"champion: decays = {plain(given)!r}; expected numbers above 0 and at most 1")
    return checked
