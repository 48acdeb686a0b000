"""A model's space as a part of the model: it is saved, moved and streamed with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..spaces.registry import SPACES
from ..spaces.space import Space, check_dim, check_kind
from .hubness import check_hubness

USUAL = 0.25  # share of the mean in a vector that goes back


class SpaceMap(nn.Module):
    """Maps vectors of the encoder to unit vectors of the space in which a model reads, predicts and is compared.

    Args:
        dim: Width D of the vectors.
        facts: "kind" (a name of `SPACES`), "hubness" where keys are corrected for it, and whatever else is known of the
            fit.

    Attributes:
        mean: (D,).
        matrix: (D, D), symmetric; None where the space is only centred.
        query_bank: Predictions that correct keys for hubness, unit vectors of the encoder's own space, (M, D); None
            without a correction.

    Raises:
        ValueError: There is no such kind, or no such correction.
    """

    def __init__(self, dim: int, facts: Mapping[str, Any]) -> None:
        super().__init__()
        kind = facts.get("kind")
        check_kind(kind, "space: kind", SPACES.names())
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("matrix", torch.eye(dim) if SPACES.load(str(kind)).has_matrix else None)
        hubness = facts.get("hubness")
        queries = None if hubness is None else torch.zeros(check_hubness(hubness)["queries"], dim)
        self.register_buffer("query_bank", queries)
        self.mean: Tensor
        self.matrix: Tensor | None
        self.query_bank: Tensor | None

    def fill(self, space: Space) -> None:
        """Take over the numbers of a fitted space. Raises ValueError where it is of another width."""
        check_dim(len(self.mean), space, "space")
        self.mean.copy_(torch.from_numpy(space.mean))
        if self.matrix is not None and space.matrix is not None:
            self.matrix.copy_(torch.from_numpy(space.matrix))

    def forward(self, vectors: Tensor) -> Tensor:
        """Map vectors to unit rows in the space, (..., D) -> (..., D), in float32 or better; the mean becomes zeros."""
        exact = torch.promote_types(vectors.dtype, torch.float32)
        rows = F.normalize(vectors.to(exact), dim=-1) - self.mean.to(exact)
        if self.matrix is not None:
            rows = rows @ self.matrix.to(exact)
        return F.normalize(rows, dim=-1)

    def back(self, query: Tensor) -> Tensor:
        """Map a query to the vector of the encoder's own space that finds by plain cosine what it finds here, (..., D).

        A query q meets a vector x in ``q . A (x - mean) = (A q) . x - const``, but for the length of ``A (x - mean)``.
        So ``A q`` ranks candidates nearly as q does in the space; a share of the mean, which favours what is usual,
        makes up for the lengths. ``unit(s unit(A q) + 0.25 mean)``, with s the typical length of ``x - mean`` for unit
        x, found as much as q in the space, or more, on two corpora (docs/explanation/champion.md).
        """
        exact = torch.promote_types(query.dtype, torch.float32)
        rows, mean = query.to(exact), self.mean.to(exact)
        if self.matrix is not None:
            rows = rows @ self.matrix.to(exact)
        spread = (1.0 - mean.square().sum()).clamp(min=0.0).sqrt()  # the root of E ||x - mean||^2
        return F.normalize(spread * F.normalize(rows, dim=-1) + USUAL * mean, dim=-1)

    def as_space(self, facts: Mapping[str, Any]) -> Space:
        """Return the space in numpy."""
        mean = self.mean.detach().float().cpu().numpy()
        matrix = None if self.matrix is None else self.matrix.detach().float().cpu().numpy()
        return Space(facts["kind"], facts.get("strength", 0.0), mean, matrix, facts.get("rows", 0))
