"""recency_residual: the closed form, and what is left to learn beside it, begun at zero."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.dropout import dropout
from .checks import check_fraction, check_sizes, tensor_of
from .recency import RecencyModel, checked_decay, checked_decays

_SAME = 1e-6  # how far float32 may be from a decay
_LONGEST_START = 0.9  # beyond it a mean hardly moves
_DECAYS = (0.5, 0.7, 0.85, 0.95, 0.99, 1.0)


class RecencyResidual(RecencyModel):
    """A mix of recency features, begun at the closed form, and low-rank maps of query and keys, begun at zero.

    After every vector there are K = T + E unit features of width D: the last T vectors, and for each of E decays d the
    direction of the sum of all vectors so far, weighted by d^age. The query is ``q = unit(b + U V f + c)``, where b is
    the unit mix ``sum_k w_k f_k`` and f all features side by side; c favours some candidates whatever was read. What it
    is compared with is ``unit(z + P R z)``. U, c and P are zero at first: the fresh model is the closed form
    `whitened_recency`, and training adds what the data can tell.
    Made for a whitened space.

    Args:
        input_dim: Width D of the vectors.
        hidden_dim: Rank of U V, the query's residual.
        key_dim: Rank of P R, the keys' residual.
        taps: Last vectors T.
        decays: Decays of the sums, each above 0 and at most 1; 1 is the plain sum.
        decay: The decay of the closed form that it begins at, one of `decays`.
        dropout: Dropout of the features before U V, and of the vectors before P R.
        normalize_delta: Return ``raw / ||raw||``; False, the default here, lets the prediction be anywhere.
    """

    model_type: ClassVar[str] = "recency_residual"
    starts_at_closed_form: ClassVar[bool] = True

    def __init__(
        self,
        input_dim: int = 768,
        hidden_dim: int = 64,
        key_dim: int = 64,
        taps: int = 4,
        decays: Sequence[float] = _DECAYS,
        decay: float = 0.7,
        dropout: float = 0.3,
        normalize_delta: bool = False,
    ) -> None:
        sizes = check_sizes(self.model_type, input_dim=input_dim, hidden_dim=hidden_dim, key_dim=key_dim, taps=taps)
        input_dim, hidden_dim, key_dim, taps = sizes.values()
        dropout = check_fraction(self.model_type, "dropout", dropout)
        super().__init__(sizes, normalize_delta, dropout=dropout)
        self.config["decays"] = checked_decays(self.model_type, decays)
        kinds = taps + len(self.decays)
        self.mix = nn.Parameter(torch.zeros(kinds))
        self.start_at(decay)
        self.dropout = nn.Dropout(dropout)
        self.query_down, self.query_up = _residual(kinds * input_dim, hidden_dim, input_dim, bias=True)
        self.key_down, self.key_up = _residual(input_dim, key_dim, input_dim)

    def raw_delta(self, hidden: Tensor) -> Tensor:
        """See `CausalModel.raw_delta`."""
        features = _unit(self.features(hidden))  # (..., K, D)
        base = _unit(torch.einsum("k,...kd->...d", self.mix, features))
        rest = self.query_up(self.query_down(self._dropped(features.flatten(-2))))
        raw: Tensor = _unit(base + rest) - self.features(hidden)[..., 0, :]
        return raw

    def adapted(self, vectors: Tensor) -> Tensor:
        """See `LatentVectorModel.adapted`."""
        return _unit(vectors + self.key_up(self.key_down(self._dropped(vectors))))

    def _dropped(self, rows: Tensor) -> Tensor:
        """Return the rows after dropout: drawn in the core where it can, in a tenth of torch's time."""
        p = self.dropout.p
        dropped: Tensor
        if self.training and p and rows.device.type == "cpu" and rows.dtype == torch.float32:
            dropped = dropout(rows, p, torch.randint(-(2**63), 2**63 - 1, (1,)))
        else:
            dropped = self.dropout(rows)
        return dropped

    def to_vectors(self, query: Tensor) -> Tensor:
        """See `LatentVectorModel.to_vectors`: a query meets ``z + P R z`` as ``q + R' P' q`` meets z."""
        rows = query.to(self.key_up.weight.dtype)
        pulled = rows + rows @ self.key_up.weight @ self.key_down.weight
        return super().to_vectors(_unit(pulled))

    def start_decays(self) -> list[float]:
        """See `LatentVectorModel.start_decays`."""
        return [decay for decay in self.decays if decay <= _LONGEST_START]

    def start_at(self, decay: float) -> None:
        """See `LatentVectorModel.start_at`. Raises ValueError where it is none of the decays."""
        wanted = checked_decay(self.model_type, decay)
        start = min(self.decays, key=lambda each: abs(each - wanted))
        if abs(start - wanted) > _SAME:
            raise ValueError(f"{self.model_type}: decay = {wanted}; expected one of decays, {self.decays}")
        self.config["decay"] = start
        with torch.no_grad():
            self.mix.zero_()
            self.mix[self.taps + self.decays.index(start)] = 1.0

    def shrunk(self, factor: float) -> RecencyResidual:
        """Return a copy in which the residuals of query and keys count so much: 0 is the mix alone."""
        copied = copy.deepcopy(self)
        with torch.no_grad():
            for up in (copied.query_up, copied.key_up):
                up.weight.mul_(factor)
            copied.query_up.bias.mul_(factor)
        return copied

    @classmethod
    def config_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """See `LatentVectorModel.config_from_state`."""
        hidden_dim, _ = tensor_of(cls.model_type, state, "query_down.weight", 2).shape
        key_dim, input_dim = tensor_of(cls.model_type, state, "key_down.weight", 2).shape
        return {"input_dim": input_dim, "hidden_dim": hidden_dim, "key_dim": key_dim}


def _unit(rows: Tensor) -> Tensor:
    """Unit rows; zeros stay zeros in float16 and bfloat16, too, which cannot hold the bound that guards the division."""
    exact = torch.promote_types(rows.dtype, torch.float32)
    return F.normalize(rows.to(exact), dim=-1).to(rows.dtype)


def _residual(inputs: int, rank: int, outputs: int, bias: bool = False) -> tuple[nn.Linear, nn.Linear]:
    """Return a map of low rank that is zero at first."""
    down, up = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=bias)
    nn.init.normal_(down.weight, std=inputs**-0.5)
    nn.init.zeros_(up.weight)
    if bias:
        nn.init.zeros_(up.bias)
    return down, up
