"""A block of queries on a device: brackets of their scores, wide and narrow, and the exact ones of single pairs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._core import Rows
from .device_rows import Place, ScreenedRows, ordered_dot, power_of_two, rounded, scored_rows, screened_rows

_SLACK = 2.0**-18  # covers the float32 roundings of a judgement, as in csrc/retrieval/query_block.cpp
_TERMS = 64  # blocks of a tensor unit's sum, beside the numbers themselves


class QueryBlock(NamedTuple):
    """Queries (B, D). Brackets are counted in units of a query's scale: lower <= score / 2^exponent <= upper.

    Attributes:
        rows: (B, D) float32 as they are scored, on `place.exact`.
        codes: (B, D) in the products' dtype, on the device, of norm 1 at most.
        scaled: (B, D) the same numbers in float32.
        rest: (B, 1) norm of what `codes` leaves out.
        exponent: (B,) int32, on `place.exact`.
    """

    place: Place
    rows: Tensor
    codes: Tensor
    scaled: Tensor
    rest: Tensor
    exponent: Tensor

    @classmethod
    def of(cls, queries: Rows, normalize: bool, place: Place) -> QueryBlock:
        """Bring queries to the device. Raises ValueError for one with NaN or infinity, or without a direction."""
        on_exact = place._replace(device=place.exact)
        held = screened_rows(queries, normalize, on_exact, "queries")
        rows = held.scored.float()
        scaled = rows.double() * power_of_two(-held.exponent)[:, None]
        codes, rest = rounded(scaled, place.products)
        width = (rest * (1 + _SLACK)).float()[:, None]
        codes, single, width = (part.to(place.device) for part in (codes, scaled.float(), width))
        return cls(place, rows, codes, single, width, held.exponent)

    @classmethod
    def unchecked(cls, queries: Rows, normalize: bool, place: Place) -> QueryBlock:
        """Return queries that are only scored exactly, whatever numbers they hold."""
        rows = scored_rows(queries, normalize, place)
        none = torch.empty(0, device=place.device)
        return cls(place, rows, none, none, none, none)

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, some: Any) -> QueryBlock:
        """Return some of the queries: a slice, or indices on the device."""
        there = some.to(self.place.exact) if isinstance(some, Tensor) else some
        chosen = (self.codes[some], self.scaled[some], self.rest[some])
        return QueryBlock(self.place, self.rows[there], *chosen, self.exponent[there])

    def in_units(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (B,) float64 in units of the queries, rounded down and up to float32, on the device."""
        units = scores * power_of_two(-self.exponent)
        near = units.float()
        infinity = torch.full_like(near, torch.inf)
        down = torch.where(near.double() > units, near.nextafter(-infinity), near)
        up = torch.where(near.double() < units, near.nextafter(infinity), near)
        return down.to(self.place.device), up.to(self.place.device)

    def brackets(self, held: ScreenedRows, rest: float, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Return lower and upper bounds of the scores of candidates first to last - 1: (B, n) float32 each.

        By Cauchy-Schwarz |q.c - q'.c'| <= ||q - q'|| ||c|| + ||q'|| ||c - c'||; then comes what the product rounds.

        Args:
            held: The bank's rows.
            rest: The largest of `held.rest`.
            first: The first candidate.
            last: The one after the last.
        """
        number = torch.finfo(self.place.products)
        # a sum of products in float32, truncated as tensor units do, and the result in the products' dtype
        rounded = (self.codes.shape[1] + _TERMS) * 2.0**-22 + number.eps / 2 + 2 * number.tiny
        width = self.rest + (1 + self.rest) * ((rest + rounded) * (1 + _SLACK) + _SLACK)  # (B, 1)
        scores = (self.codes @ held.codes[first:last].T).float() * held.scale[first:last]
        norms = held.norm[None, first:last]
        return torch.addcmul(scores, width, norms, value=-1), torch.addcmul(scores, width, norms)

    def narrow(self, held: ScreenedRows, queries: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return narrower bounds of pairs (P,), from float32 products: (P,) each; of odd rows they say nothing."""
        width = (self.scaled.shape[1] + _TERMS) * 2.0**-23 + _SLACK
        scores = torch.empty(len(ids), device=self.place.device, dtype=torch.float32)
        for some in self._pieces(len(ids)):
            scale = held.scale[ids[some], None]
            rows = held.scored[ids[some]].float() / torch.where(scale > 0, scale, torch.inf)
            scores[some] = (self.scaled[queries[some]] * rows).sum(1) * scale[:, 0]
        error = held.norm[ids] * width
        return scores - error, scores + error

    def exact(self, held: ScreenedRows, queries: Tensor, ids: Tensor) -> Tensor:
        """Return the exact scores of pairs (P,), on `place.exact`: (P,) float64."""
        scores = torch.empty(len(ids), device=self.place.exact, dtype=torch.float64)
        for some in self._pieces(len(ids)):
            rows = held.scored[ids[some]].to(self.place.exact).float()
            scores[some] = ordered_dot(self.rows[queries[some].to(self.place.exact)], rows)
        return scores

    def _pieces(self, pairs: int) -> list[slice]:
        step = max(1, self.place.numbers_at_once // (4 * max(1, self.rows.shape[1])))
        return [slice(first, first + step) for first in range(0, pairs, step)]


def as_tensor(array: Any, device: torch.device) -> Tensor:
    """Return an array of the caller as a tensor on a device."""
    return torch.tensor(array, device=device)
