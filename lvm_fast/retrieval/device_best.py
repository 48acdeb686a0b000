"""The best candidates of a block of queries on a device: brackets say which may be among them, float64 which are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .device_block import QueryBlock, as_tensor
from .device_rows import ScreenedRows

_LEAST_GROUPS = 512  # of a tile, whose highest lower bounds raise the threshold
_SPARE = 256  # candidates a query that wait for their exact scores, beside twice as many as are wanted


class BestOfBlock:
    """The `limit` best of each query with low <= score < high; better are higher scores, and of equal ones lower ids.

    Args:
        block: B queries.
        held: The bank's rows.
        limit: How many.
        low, high: (B,) float64.
    """

    def __init__(
        self,
        block: QueryBlock,
        held: ScreenedRows,
        limit: int,
        low: NDArray[np.float64],
        high: NDArray[np.float64],
    ) -> None:
        self._block, self._held, self._limit = block, held, limit
        self.rescored = 0
        place = block.place
        self._low, self._high = as_tensor(low, place.exact), as_tensor(high, place.exact)
        low_down, low_up = block.in_units(self._low)
        high_down, high_up = block.in_units(self._high)
        self._certain = low_up[:, None], high_down[:, None]
        self._reach = high_up[:, None]
        self._is_open_ended = bool((self._low == -torch.inf).all() and (self._high == torch.inf).all())
        self._least = low_down  # (B,) what cannot reach this is not among the best
        self._floors = torch.full((len(block), limit), -torch.inf, device=place.device)
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []  # query, id, upper bound
        self._waiting_count = 0
        none = torch.empty(0, dtype=torch.int64, device=place.exact)
        self._known = none, none, none.double()  # query, id, exact score: sorted, `limit` a query at most

    def see(self, lower: Tensor, upper: Tensor, first: int, forbidden: Tensor | None) -> None:
        """Take the brackets (B, n) of candidates `first` and following, some of them forbidden."""
        if forbidden is not None:
            lower = lower.masked_fill(forbidden, -torch.inf)
            upper = upper.masked_fill(forbidden, torch.nan)  # which reaches nothing
        self._raise_least(lower, upper)
        is_open = upper >= self._least[:, None]
        if not self._is_open_ended:
            is_open &= lower < self._reach
        queries, columns = is_open.nonzero(as_tuple=True)
        self._waiting.append((queries, first + columns, upper[queries, columns]))
        self._waiting_count += len(queries)
        if self._waiting_count > len(self._block) * (2 * self._limit + _SPARE):
            self._thin_out()

    def lists(self) -> tuple[Tensor, Tensor]:
        """Return scores (B, limit) float64, padded with -infinity, and ids, padded with -1."""
        self._settle()
        queries, ids, best = self._known
        shape, device = (len(self._block), self._limit), self._block.place.exact
        scores = torch.full(shape, -torch.inf, dtype=torch.float64, device=device)
        places = torch.full(shape, -1, dtype=torch.int64, device=device)
        nth = _nth_of_query(queries, len(self._block))
        scores[queries, nth], places[queries, nth] = best, ids
        return scores, places

    def _raise_least(self, lower: Tensor, upper: Tensor) -> None:
        """Let the k-th best lower bound of those certainly wanted be the threshold: one candidate a group counts."""
        if not self._is_open_ended:
            low, high = self._certain
            lower = lower.masked_fill((lower < low) | ~(upper < high), -torch.inf)
        size = max(1, lower.shape[1] // max(4 * self._limit, _LEAST_GROUPS))
        padded = functional.pad(lower, (0, -lower.shape[1] % size), value=-torch.inf)
        highest = padded.view(len(lower), -1, size).amax(2)
        self._floors = torch.cat([self._floors, highest], 1).topk(self._limit, dim=1).values
        self._least = torch.maximum(self._least, self._floors[:, -1])

    def _thin_out(self) -> None:
        self._drop_hopeless()
        if self._waiting_count > len(self._block) * (self._limit + _SPARE // 2):
            self._settle()

    def _drop_hopeless(self) -> None:
        queries, ids, upper = (torch.cat(column) for column in zip(*self._waiting, strict=True))
        kept = upper >= self._least[queries]
        self._waiting = [(queries[kept], ids[kept], upper[kept])]
        self._waiting_count = len(self._waiting[0][0])

    def _settle(self) -> None:
        """Score exactly what waits, and keep the best."""
        self._drop_hopeless()
        ((queries, ids, _),) = self._waiting
        self._waiting_count, self._waiting = 0, [(queries[:0], ids[:0], self._least[:0])]
        self.rescored += len(ids)
        scores = self._block.exact(self._held, queries, ids)
        exact = self._block.place.exact
        queries, ids = queries.to(exact), ids.to(exact)
        wanted = (scores >= self._low[queries]) & (scores < self._high[queries])
        found = (queries[wanted], ids[wanted], scores[wanted])
        pooled = tuple(torch.cat(pair) for pair in zip(self._known, found, strict=True))
        self._keep_best(*pooled)

    def _keep_best(self, queries: Tensor, ids: Tensor, scores: Tensor) -> None:
        order = torch.argsort(ids, stable=True)
        order = order[torch.argsort(scores[order], descending=True, stable=True)]
        order = order[torch.argsort(queries[order], stable=True)]
        queries, ids, scores = queries[order], ids[order], scores[order]
        nth = _nth_of_query(queries, len(self._block))
        kept = nth < self._limit
        self._known = queries[kept], ids[kept], scores[kept]
        last = nth == self._limit - 1
        worst = torch.full_like(self._low, -torch.inf)
        worst[queries[last]] = scores[last]
        self._least = torch.maximum(self._least, self._block.in_units(worst)[0])


def _nth_of_query(queries: Tensor, count: int) -> Tensor:
    """Return the place of each entry among those of its query, where `queries` (P,) is sorted and below `count`."""
    sizes = torch.bincount(queries, minlength=count)
    starts = sizes.cumsum(0) - sizes
    return torch.arange(len(queries), device=queries.device) - starts[queries]
