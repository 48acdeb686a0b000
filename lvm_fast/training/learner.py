"""One optimiser step: forward and backward over micro-batches, clipping, the update, the memory write."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.windows import Windows
from ..models.base import LatentVectorModel
from ..models.recurrence import last_valid
from .loss import next_vector_loss
from .recipe import Recipe

LossOf = Callable[[Tensor, Tensor, Tensor], Tensor]  # context (B, N, D), lengths (B,), target (B, D) -> ()


class Step(NamedTuple):
    """What a step came to.

    Attributes:
        loss: Mean loss over the windows of the step.
        grad_norm: Norm of the gradient before clipping.
        vectors: Context vectors read.
    """

    loss: float
    grad_norm: float
    vectors: int


class Learner:
    """A model, its optimiser, and how a group of windows changes them.

    Args:
        model: What learns, on its device.
        recipe: Loss, precision, batch size and optimiser settings.
        device: Where the model is.
    """

    def __init__(self, model: LatentVectorModel, recipe: Recipe, device: torch.device) -> None:
        self.model, self.recipe, self.device = model, recipe, device
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
        self._loss_of = _compiled(self._loss) if recipe.compile else self._loss

    def step(self, windows: Windows, group: NDArray[np.int64], lr: float) -> Step:
        """Learn from one group of windows, the effective batch (G,).

        The gradient is the mean over the group, however its last micro-batch falls short; the memory stands still
        until the weights have moved.

        Raises:
            ValueError: The loss or the gradient is not finite; weights and memory are as before.
        """
        group = group[
            np.argsort(windows.lengths[group], kind="stable")
        ]  # like lengths share a micro-batch: less padding
        loss, vectors = torch.zeros((), device=self.device), 0
        self.model.train()
        with self.model.deferred_memory_writes():
            for first in range(0, len(group), self.recipe.batch_size):
                micro = group[first : first + self.recipe.batch_size]
                batch = windows.batch(micro)
                context, lengths, target = (torch.from_numpy(array).to(self.device) for array in batch)
                share = self._loss_of(context, lengths, target) * (len(micro) / len(group))
                torch.autograd.backward(share)
                loss += share.detach()
                vectors += int(batch.lengths.sum())
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.optimizer.zero_grad()
            raise ValueError(f"the loss is {float(loss)}, the norm of its gradient {float(norm)}")
        for settings in self.optimizer.param_groups:
            settings["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.model.commit_memory()
        return Step(float(loss), float(norm), vectors)

    def _loss(self, context: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        recipe = self.recipe
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            delta = self.model(context, lengths)
        current = last_valid(context, lengths)
        return next_vector_loss(current, delta.float(), target, recipe.alpha_infonce, recipe.temperature)


def _compiled(loss_of: LossOf) -> LossOf:
    from torch._dynamo.exc import TorchDynamoException

    compiled = torch.compile(loss_of)

    def call(context: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        try:
            return compiled(context, lengths, target)
        except TorchDynamoException as error:
            name, reason = type(error).__name__, " ".join(str(error).split())[:300]
            raise ValueError(f"torch.compile failed ({name}); train without compile: {reason}") from error

    return call
