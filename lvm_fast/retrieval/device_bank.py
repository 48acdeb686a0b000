"""The scoring engine of a bank on a GPU: screens in half precision, certifies, and scores in float64 what stays open.

It answers what `_core.Bank` answers, bit for bit; `docs/explanation/scoring.md` tells how.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._core import Bank, Filter, Rows
from .._util.device import choose_device, full_precision_products
from .device_best import BestOfBlock
from .device_block import QueryBlock, as_tensor
from .device_filter import TileFilter
from .device_rows import Place, ScreenedRows, screened_rows

_MOST_DIMS = 65_536
_MOST_QUERIES = 2048  # of a block
_MOST_LISTED = 1 << 20  # ids of a block's lists


class DeviceBank:
    """Answers as `_core.Bank` does, on a device of torch.

    Args:
        rows: (N, D) the candidates; they stay in memory, and go to the device as they are scored and in half precision.
        metric: "ip", "cosine" or "l2".
        place: Where and how; see `Place.of`.

    Raises:
        ValueError: as `_core.Bank`.
    """

    def __init__(self, rows: Rows, metric: str, place: Place) -> None:
        if rows.dim > _MOST_DIMS:
            raise ValueError(f"vectors: expected at most {_MOST_DIMS} columns, got {rows.dim}")
        self._metric, self._place = metric, place
        self._tally = np.zeros(3, np.int64)
        self.refill(rows)

    def refill(self, rows: Rows) -> None:
        """Refer to other rows of the same width from now on."""
        with _exactly(self._place):
            self._held: ScreenedRows = screened_rows(rows, self._metric == "cosine", self._place, "vectors")
        self._rows = rows
        self._rest = float(self._held.rest.max())

    def packed(self) -> dict[str, NDArray[Any]]:
        """Return the packed form that the core makes of the rows, for a file."""
        return Bank(self._rows, self._metric).packed()

    def take_tally(self) -> tuple[int, int, int]:
        """Return how many pairs were screened, refined and rescored since the last call."""
        screened, refined, rescored = self._tally.tolist()
        self._tally[:] = 0
        return screened, refined, rescored

    def pair_scores(self, queries: Rows, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the exact score of each query (B, D) with one candidate; (B,)."""
        outside = np.flatnonzero((ids < 0) | (ids >= self._rows.rows))
        if len(outside):
            b = outside[0]
            raise ValueError(f"targets[{b}] = {ids[b]}: expected an id in [0, {self._rows.rows})")
        with _exactly(self._place):
            block = QueryBlock.unchecked(queries, self._metric, self._place)
            places = torch.arange(len(ids), device=self._place.device)
            scores = block.exact(self._held, places, as_tensor(ids, self._place.device))
        return _array(scores)

    def rank(
        self,
        queries: Rows,
        scores: NDArray[np.float64],
        ids: NDArray[np.int64],
        first_id: int,
        max_rank: int,
        filter: Filter,
    ) -> NDArray[np.int64]:
        """Count the candidates that beat a score of each query: (B,). Candidate i has the id first_id + i."""
        ranks = np.empty(queries.rows, np.int64)
        with _exactly(self._place):
            for some, block in self._blocks(queries, _MOST_QUERIES):
                wanted = TileFilter(filter, some, self._place.device)
                counts = self._count_better(block, scores[some], ids[some] - first_id, max_rank, wanted)
                ranks[some] = np.minimum(_array(counts), max_rank)
        return ranks

    def best(
        self,
        queries: Rows,
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        limit: int,
        filter: Filter,
        prefixes: Rows | None = None,
        tails: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the best with low <= score < high: scores padded with -infinity and ids with -1, (B, limit).

        A device screens without prefixes, which change no answer.
        """
        scores, ids = np.full((queries.rows, limit), -np.inf), np.full((queries.rows, limit), -1, np.int64)
        with _exactly(self._place):
            for some, block in self._blocks(queries, max(1, min(_MOST_QUERIES, _MOST_LISTED // limit))):
                best = BestOfBlock(block, self._held, limit, low[some], high[some])
                left_out = TileFilter(filter, some, self._place.device)
                for first, last in self._tiles(len(block)):
                    brackets = block.brackets(self._held, self._rest, first, last)
                    best.see(*brackets, first, left_out.forbidden(first, last))
                    self._note(len(block) * (last - first))
                scores[some], ids[some] = map(_array, best.lists())
                self._note(0, rescored=best.rescored)
        return scores, ids

    def sum_exp(
        self, queries: Rows, factor: float, best: NDArray[np.float64], held: NDArray[np.uint8] | None
    ) -> NDArray[np.float64]:
        """Return the sum over the held candidates of exp(factor * (score - best)) with float32 scores: (B,)."""
        sums = np.empty(queries.rows, np.float64)
        with _exactly(self._place):
            for some, block in self._blocks(queries, _MOST_QUERIES):
                wide = block.rows.to(self._place.device)
                tops = as_tensor(best[some], self._place.exact).float().to(self._place.device)[:, None]
                total = torch.zeros(len(block), dtype=torch.float64, device=self._place.exact)
                left_out = TileFilter(Filter(held=held), some, self._place.device)
                for first, last in self._tiles(len(block)):
                    exponents = (wide @ self._held.scored[first:last].float().T - tops) * factor
                    excess = exponents - exponents  # NaN where a score is not finite
                    removed = left_out.forbidden(first, last)
                    if removed is not None:
                        exponents, excess = exponents.masked_fill(removed, -torch.inf), excess.masked_fill(removed, 0)
                    part = exponents.exp().sum(1) + excess.sum(1)
                    total += part.to(self._place.exact).double()
                sums[some] = _array(total)
        return sums

    def _blocks(self, queries: Rows, most: int) -> Iterator[tuple[slice, QueryBlock]]:
        whole = QueryBlock.of(queries, self._metric, self._place)
        for first in range(0, len(whole), most):
            some = slice(first, first + most)
            yield some, whole.part(some)

    def _tiles(self, queries: int) -> Iterator[tuple[int, int]]:
        size = self._rows.rows
        step = max(1, self._place.numbers_at_once // max(queries, self._rows.dim))
        return ((first, min(first + step, size)) for first in range(0, size, step))

    def _count_better(
        self,
        block: QueryBlock,
        scores: NDArray[np.float64],
        ids: NDArray[np.int64],
        max_rank: int,
        filter: TileFilter,
    ) -> Tensor:
        """Count the candidates of each query that beat a score, up to `max_rank` and somewhat more: (B,)."""
        device, exact = self._place.device, self._place.exact
        wanted, own = as_tensor(scores, exact), as_tensor(ids, device)
        counts = torch.zeros(len(block), dtype=torch.int64, device=device)
        left, panel = torch.arange(len(block), device=device), block
        down, up = panel.in_units(wanted)
        for first, last in self._tiles(len(block)):
            lower, upper = panel.brackets(self._held, self._rest, first, last)
            better, may = lower > up[:, None], upper >= down[:, None]
            forbidden = filter.forbidden(first, last)
            if forbidden is not None:
                allowed = ~(forbidden[left] if len(forbidden) == len(block) else forbidden)
                better, may = better & allowed, may & allowed
            counts[left] += better.sum(1)
            rows, columns = (may & ~better).nonzero(as_tuple=True)
            self._note(len(left) * (last - first), len(rows))
            counts += self._better_of(block, left[rows], first + columns, wanted, own)
            unsettled = (counts[left] < max_rank).nonzero()[:, 0]
            if len(unsettled) == 0:
                break
            if len(unsettled) <= len(left) // 2:
                left = left[unsettled]
                panel = block.part(left)
                down, up = panel.in_units(wanted[left.to(exact)])
        return counts

    def _better_of(self, block: QueryBlock, queries: Tensor, ids: Tensor, wanted: Tensor, own: Tensor) -> Tensor:
        """Count, of the open pairs (P,) of queries and candidates, those that beat each query's target: (B,)."""
        down, up = block.in_units(wanted)
        lower, upper = block.narrow(self._held, queries, ids)
        better = lower > up[queries]
        counts = torch.bincount(queries[better], minlength=len(block))
        is_open = (upper >= down[queries]) & ~better
        queries, ids = queries[is_open], ids[is_open]
        self._note(0, rescored=len(ids))
        scores = block.exact(self._held, queries, ids)
        target = wanted[queries.to(self._place.exact)]
        is_before = (ids < own[queries]).to(self._place.exact)
        beats = ((scores > target) | ((scores == target) & is_before)).to(self._place.device)
        return counts + torch.bincount(queries[beats], minlength=len(block))

    def _note(self, screened: int, refined: int = 0, rescored: int = 0) -> None:
        self._tally += (screened, refined, rescored)


def engine_on(device: str, rows: Rows, metric: str) -> Bank | DeviceBank:
    """Return a bank's engine on "cuda", "cuda:1", "mps", "cpu" or "auto". Raises ValueError where there is none."""
    chosen = choose_device(device)
    return Bank(rows, metric) if chosen.type == "cpu" else DeviceBank(rows, metric, Place.of(chosen))


@contextmanager
def _exactly(place: Place) -> Iterator[None]:
    """Within it, products are what their dtype says: no autocast, no reduced precision, no gradients."""
    with torch.no_grad(), torch.autocast(place.device.type, enabled=False), full_precision_products():
        yield


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array
