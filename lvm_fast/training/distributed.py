"""The processes that train one model together, as `torchrun` starts them; usually one alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from .._util.device import choose_device
from ..ops import runtime

Result = TypeVar("Result")
Item = TypeVar("Item")


class DistributedContext:
    """Shares out the work among the processes that train one model, and brings their results together.

    Every process holds the whole model and maps the whole store, so the targets of an effective batch, the candidates
    of InfoNCE, are at hand everywhere; only the forward and backward passes are shared out. With one process nothing
    here does anything. All processes call every method but `shard` together.

    Attributes:
        device: Where this process works.
        rank: Its number, from 0.
        world_size: How many there are.
    """

    def __init__(self, device: torch.device) -> None:
        joined = dist.is_available() and dist.is_initialized()
        self.device = device
        self.rank, self.world_size = (dist.get_rank(), dist.get_world_size()) if joined else (0, 1)

    def __str__(self) -> str:
        return str(self.device) if self.world_size == 1 else f"{self.world_size} processes ({self.device.type})"

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def shard(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return the items that are this process's: each item is one process's."""
        return items[self.rank :: self.world_size]

    def all_reduce_sum(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor, in place, by its sum over the processes."""
        if self.world_size > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def all_reduce_sum_array(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the sum of an array over the processes."""
        if self.world_size == 1:
            return array
        tensor = torch.from_numpy(array).to(self.device)
        dist.all_reduce(tensor)
        total: NDArray[np.float32] = tensor.cpu().numpy()
        return total

    def all_reduce_sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes; a parameter that has none anywhere keeps none."""
        if self.world_size == 1:
            return
        owners = list(parameters)
        has_one = torch.tensor([owner.grad is not None for owner in owners], dtype=torch.float32, device=self.device)
        grads = [torch.zeros_like(owner) if owner.grad is None else owner.grad for owner in owners]
        everything = torch.cat([has_one, *(grad.flatten() for grad in grads)])  # one message
        dist.all_reduce(everything)
        holders, *sums = torch.split(everything, [len(owners), *(owner.numel() for owner in owners)])
        for owner, holder, total in zip(owners, holders.tolist(), sums, strict=True):
            owner.grad = total.view_as(owner) if holder else None

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.world_size > 1:
            dist.barrier()

    def on_rank_zero(self, call: Callable[..., Result], *given: Any) -> Result:
        """Call on rank zero alone, and return the result, or raise its ValueError or OSError, on every rank."""
        if self.world_size == 1:
            return call(*given)
        outcome: list[Any] = [None, None]  # the result, or the error
        if self.is_rank_zero:
            try:
                outcome[0] = call(*given)
            except (ValueError, OSError) as error:
                outcome[1] = (OSError if isinstance(error, OSError) else ValueError)(str(error))
                dist.broadcast_object_list(outcome)
                raise
        dist.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        result: Result = outcome[0]
        return result

    def seed_dropout(self, seed: int, epoch: int) -> None:
        """Give every process random numbers of its own; those of the first go on as checkpoints have them."""
        if not self.is_rank_zero:
            torch.manual_seed(int(np.random.SeedSequence((seed, epoch, self.rank)).generate_state(1)[0]))


@contextmanager
def distributed_context(device: str) -> Iterator[DistributedContext]:
    """Join the processes that `torchrun` has started, or the process group there is; without either, stay alone.

    Args:
        device: As `choose_device` takes it; "cuda" means a GPU of its own for each process.

    Raises:
        ValueError: There is no such device, or it cannot work with others of its kind.
    """
    joined = dist.is_available() and dist.is_initialized()
    world_size = dist.get_world_size() if joined else int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if world_size == 1:
        yield DistributedContext(chosen)
        return
    chosen = _device_of_its_own(chosen, world_size)
    if not joined:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    threads = runtime.num_threads()
    if "LVM_FAST_NUM_THREADS" not in os.environ:
        runtime.set_num_threads(max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    try:
        yield DistributedContext(chosen)
    finally:
        runtime.set_num_threads(threads)
        if not joined:
            dist.destroy_process_group()


def _device_of_its_own(device: torch.device, count: int) -> torch.device:
    if device.type == "mps":
        raise ValueError(
            f"device = 'mps' with {count} processes: MPS has no collectives, so they cannot share their gradients; "
            "train with one process, or on the CPU (--device cpu)"
        )
    if str(device) != "cuda":  # the CPU, or a GPU called by its number
        return device
    local_rank, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local_rank >= gpus:
        raise ValueError(f"device = 'cuda': process {local_rank + 1} of this machine; expected one a GPU, here {gpus}")
    chosen = torch.device("cuda", local_rank)
    torch.cuda.set_device(chosen)
    return chosen
