"""The processes that encode together; usually one alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Processes(Protocol):
    """What an encoding asks of the processes that share it; `DistributedContext` is one.

    Attributes:
        rank: the number of this process, from 0.
        world_size: how many there are.
    """

    rank: int
    world_size: int

    def on_rank_zero(self, call: Callable[..., Any], *given: Any) -> Any:
        """Call on rank zero alone, and return the result, or raise its error, on every rank."""

    def barrier(self) -> None:
        """Wait until all processes are here."""


class OneProcess:
    """A process that works alone."""

    rank, world_size = 0, 1

    def on_rank_zero(self, call: Callable[..., Any], *given: Any) -> Any:
        """Call it."""
        return call(*given)

    def barrier(self) -> None:
        """Do nothing."""
