"""A block of queries on a device: brackets of their scores, wide and narrow, and the exact ones of single pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .._core import Rows
from .device_rows import (
    Place,
    ScreenedRows,
    ordered_distance,
    ordered_dot,
    power_of_two,
    rounded,
    scored_rows,
    screened_rows,
)

_SLACK = 2.0**-18  # covers the float32 roundings of a judgement, as in csrc/retrieval/query_block.cpp
_TERMS = 64  # blocks of a tensor unit's sum, beside the numbers themselves
_SQUARES = 2.0**-20  # covers the float32 roundings of a candidate's square


@dataclass(frozen=True)
class QueryBlock:
    """Queries (B, D). Brackets are counted in units of a query's scale.

    By inner products, lower <= score / 2^exponent <= upper. By "l2" the score is minus the squared distance, and the
    bracket is that of q.c - ||c||^2 / 2 = (score + ||q||^2) / 2, in the same units.

    Attributes:
        rows: (B, D) float32 as they are scored, on `place.exact`.
        codes: (B, D) in the products' dtype, on the device, of norm 1 at most.
        scaled: (B, D) the same numbers in float32.
        rest: (B, 1) norm of what `codes` leaves out.
        exponent: (B,) int32, on `place.exact`.
        square: (B,) float64 squared norm, on `place.exact`.
        squares: By "l2" (B, 2) float32 on the device: 2^-exponent, and what an exact sum of squares may be off by.
    """

    place: Place
    metric: str
    rows: Tensor
    codes: Tensor
    scaled: Tensor
    rest: Tensor
    exponent: Tensor
    square: Tensor
    squares: Tensor

    @classmethod
    def of(cls, queries: Rows, metric: str, place: Place) -> QueryBlock:
        """Bring queries to the device. Raises ValueError for one with NaN or infinity, or without a direction."""
        on_exact = place._replace(device=place.exact)
        held = screened_rows(queries, metric == "cosine", on_exact, "queries")
        rows = held.scored.float()
        scaled = rows.double() * power_of_two(-held.exponent)[:, None]
        codes, rest = rounded(scaled, place.products)
        width = (rest * (1 + _SLACK)).float()[:, None]
        off = _float64_off(queries.dim) * power_of_two(held.exponent)
        squares = torch.stack([power_of_two(-held.exponent), off], 1).float()
        codes, single, width, squares = (part.to(place.device) for part in (codes, scaled.float(), width, squares))
        square = rows.double().square().sum(1)
        return cls(place, metric, rows, codes, single, width, held.exponent, square, squares)

    @classmethod
    def unchecked(cls, queries: Rows, metric: str, place: Place) -> QueryBlock:
        """Return queries that are only scored exactly, whatever numbers they hold."""
        rows = scored_rows(queries, metric == "cosine", place)
        none = torch.empty(0, device=place.device)
        return cls(place, metric, rows, none, none, none, none, none, none)

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, some: Any) -> QueryBlock:
        """Return some of the queries: a slice, or indices on the device."""
        there = some.to(self.place.exact) if isinstance(some, Tensor) else some
        return replace(
            self,
            rows=self.rows[there],
            codes=self.codes[some],
            scaled=self.scaled[some],
            rest=self.rest[some],
            exponent=self.exponent[there],
            square=self.square[there],
            squares=self.squares[some],
        )

    def in_units(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (B,) float64 as brackets count them, rounded down and up to float32, on the device."""
        units = scores * power_of_two(-self.exponent)
        if self.metric == "l2":
            units = (scores + self.square) * power_of_two(-self.exponent - 1)
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
        rounding = (self.codes.shape[1] + _TERMS) * 2.0**-22 + number.eps / 2 + 2 * number.tiny
        width = self.rest + (1 + self.rest) * ((rest + rounding) * (1 + _SLACK) + _SLACK)  # (B, 1)
        scores = (self.codes @ held.codes[first:last].T).float() * held.scale[first:last]
        norms = held.norm[None, first:last]
        if self.metric == "l2":
            inverse, off = self.squares[:, :1], self.squares[:, 1:]
            return _of_distance(scores, width * norms, inverse * held.half_square[first:last], off)
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
        if self.metric == "l2":
            inverse, off = self.squares[queries].unbind(1)
            return _of_distance(scores, error, inverse * held.half_square[ids], off)
        return scores - error, scores + error

    def exact(self, held: ScreenedRows, queries: Tensor, ids: Tensor) -> Tensor:
        """Return the exact scores of pairs (P,), on `place.exact`: (P,) float64."""
        scores = torch.empty(len(ids), device=self.place.exact, dtype=torch.float64)
        for some in self._pieces(len(ids)):
            rows = held.scored[ids[some]].to(self.place.exact).float()
            asked = self.rows[queries[some].to(self.place.exact)]
            scores[some] = -ordered_distance(asked, rows) if self.metric == "l2" else ordered_dot(asked, rows)
        return scores

    def _pieces(self, pairs: int) -> list[slice]:
        step = max(1, self.place.numbers_at_once // (4 * max(1, self.rows.shape[1])))
        return [slice(first, first + step) for first in range(0, pairs, step)]


def _of_distance(scores: Tensor, error: Tensor, half_square: Tensor, off: Tensor) -> tuple[Tensor, Tensor]:
    """Return bounds of inner products less half the candidates' squares, all in units of the queries.

    Where a number left float32's range they say nothing.
    """
    scores, error = scores - half_square, error + off + half_square * _SQUARES
    lower, upper = scores - error, scores + error
    return lower.nan_to_num_(-torch.inf, torch.inf, -torch.inf), upper.nan_to_num_(torch.inf, torch.inf, -torch.inf)


def _float64_off(dim: int) -> float:
    """Return what float64 sums of squares may be off by, as a part of the largest square."""
    return (dim + 8) * 2.0**-50


def as_tensor(array: Any, device: torch.device) -> Tensor:
    """Return an array of the caller as a tensor on a device."""
    return torch.tensor(array, device=device)
