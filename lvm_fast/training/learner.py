"""One optimiser step: forward and backward over micro-batches, clipping, the update, the memory write."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.windows import Windows
from ..gru import GRU
from ..kernels import l2_normalize
from ..models.base import LatentVectorModel
from .distributed import Processes
from .loss import Candidates, next_vector_loss
from .recipe import Recipe

# context (B, N, D), lengths (B,), target (P, D), positions (P,), more candidates -> ()
LossOf = Callable[[Tensor, Tensor, Tensor, Tensor, Candidates | None], Tensor]


class Step(NamedTuple):
    """What a step came to.

    Attributes:
        loss: Mean loss over the targets of the step.
        grad_norm: Norm of the gradient before clipping.
        vectors: Context vectors read.
        targets: Vectors predicted.
    """

    loss: float
    grad_norm: float
    vectors: int
    targets: int


class Learner:
    """A model, its optimiser, and how a group of windows changes them.

    Several processes share the micro-batches of a group and add up what they find: the step is that of one process.

    Args:
        model: What learns, on its device.
        recipe: Loss, precision, batch size and optimiser settings.
        device: Where the model is.
        processes: Those that train it together; this one alone unless given.

    Raises:
        ValueError: The objective needs a causal model, and this one is not.
    """

    def __init__(
        self, model: LatentVectorModel, recipe: Recipe, device: torch.device, processes: Processes | None = None
    ) -> None:
        self.model, self.recipe, self.device = model, recipe, device
        self.processes = processes or Processes(device)
        if recipe.objective == "all_positions" and not model.is_causal():
            raise ValueError(f"train: objective = 'all_positions' needs a causal model; {model.model_type} is none")
        if recipe.recompute:  # a GRU's own wish to recompute stands in any case
            for module in model.modules():
                if isinstance(module, GRU):
                    module.recompute = True
        fused = device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused
        )
        self._loss_of = _compiled(self._loss) if recipe.compile else self._loss

    def step(self, windows: Windows, group: NDArray[np.int64], lr: float) -> Step:
        """Learn from one group of windows, the effective batch (G,).

        The gradient is the mean over the group's targets, however its last micro-batch falls short; the memory stands
        still until the weights have moved.

        Raises:
            ValueError: The loss or the gradient is not finite; weights and memory are as before.
        """
        # like lengths share a micro-batch: less padding
        group = group[np.argsort(windows.lengths[group], kind="stable")]
        counts = windows.counts[group]
        all_targets, places = int(counts.sum()), np.cumsum(counts) - counts
        candidates, loss = self._candidates(windows, group), torch.zeros((), device=self.device)
        self.model.train()
        with self.model.deferred_memory_writes():
            for first in self.processes.share(range(0, len(group), self.recipe.batch_size)):
                batch = windows.batch(group[first : first + self.recipe.batch_size])
                context, lengths, target, positions = (torch.from_numpy(array).to(self.device) for array in batch)
                own = torch.arange(len(target), device=self.device) + int(places[first])
                choices = None if candidates is None else Candidates(candidates, own)
                mean = self._loss_of(context, lengths, target, positions, choices)
                share = mean * (len(target) / all_targets)
                torch.autograd.backward(share)
                loss += share.detach()
        self.processes.add_up([loss, *self.model.waiting_writes()])
        self.processes.add_up_gradients(self.model.parameters())
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.optimizer.zero_grad()
            raise ValueError(f"the loss is {float(loss)}, the norm of its gradient {float(norm)}")
        for settings in self.optimizer.param_groups:
            settings["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.model.commit_memory()
        return Step(float(loss), float(norm), int(windows.lengths[group].sum()), all_targets)

    def _candidates(self, windows: Windows, group: NDArray[np.int64]) -> Tensor | None:
        """The unit targets of the whole effective batch (C, D), in the order of its windows, where InfoNCE wants them.

        They are data, not outputs of the model, and the loss of a prediction depends on no other prediction. So what
        GradCache (Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021) needs two
        forward passes for is exact in one: each micro-batch meets all candidates as it goes by, and its graph is free
        before the next.
        """
        if self.recipe.infonce_batch == "micro" or self.recipe.alpha_infonce == 0.0:
            return None
        targets = windows.store.vectors[windows.target_rows(group)]
        return l2_normalize(torch.from_numpy(targets).to(self.device))

    def _loss(
        self, context: Tensor, lengths: Tensor, target: Tensor, positions: Tensor, candidates: Candidates | None
    ) -> Tensor:
        recipe = self.recipe
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            if recipe.objective == "all_positions":
                delta = self.model.deltas(context, lengths).flatten(0, 1)[positions]  # (P, D)
            else:
                delta = self.model(context, lengths)  # (B, D)
        current = context.flatten(0, 1)[positions]
        return next_vector_loss(current, delta.float(), target, recipe.alpha_infonce, recipe.temperature, candidates)


def _compiled(loss_of: LossOf) -> LossOf:
    from torch._dynamo.exc import TorchDynamoException

    compiled = torch.compile(loss_of)

    def call(*given: Any) -> Tensor:
        try:
            return compiled(*given)
        except TorchDynamoException as error:
            name, reason = type(error).__name__, " ".join(str(error).split())[:300]
            raise ValueError(f"torch.compile failed ({name}); train without compile: {reason}") from error

    return call
