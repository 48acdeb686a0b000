"""One optimiser step: forward and backward over micro-batches, clipping, the update, the memory write."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._util.device import multiplies_bfloat16
from .._util.torch_compat import compiler_errors
from ..data.windows import Windows
from ..layers.recurrent import Recurrent
from ..models.answering import answering
from ..models.base import LatentVectorModel
from ..ops.rowwise import reconstruct
from .distributed import DistributedContext
from .negatives.hard_negatives import HardNegatives
from .negatives.shared_candidates import shared_candidates
from .negatives.step_negatives import StepNegatives
from .objectives import Negatives, gate_loss, next_vector_loss
from .recipe_sections import StepSections

# context (B, N, D), lengths (B,), target (P, D), positions (P,), negatives, domains (P,) -> ()
LossOf = Callable[[Tensor, Tensor, Tensor, Tensor, Negatives | None, Tensor | None], Tensor]


class Step(NamedTuple):
    """The figures of one step.

    Attributes:
        loss: Mean loss over the targets of the step, that of a gate included.
        grad_norm: Norm of the gradient before clipping.
        vectors: Context vectors read.
        targets: Vectors predicted.
    """

    loss: float
    grad_norm: float
    vectors: int
    targets: int


class Learner:
    """Takes the optimiser steps of a model: each learns from one group of windows.

    Several processes share the micro-batches of a group and add up what they find: the step is that of one process.

    Args:
        model: What learns, on its device.
        recipe: Loss, negatives, precision, batch size and optimiser settings.
        device: Where the model is.
        distributed: The processes that train it together; this one alone unless given.
        hard_negatives: Wrong answers of each prediction alone, where there are any.
        domains: The domain of each chain of the training store, (C,), for the gate of a mixture of experts to learn.

    Attributes:
        precision: The recipe's, but float32 on a device without bfloat16 products of its own.
        negatives: What InfoNCE tells the right answers from.
        learns: Whether there is anything to train.
        gate: What the gate of a mixture of experts adds to the loss.

    Raises:
        ValueError: The objective needs a causal model, and this one is not.
    """

    def __init__(
        self,
        model: LatentVectorModel,
        recipe: StepSections,
        device: torch.device,
        distributed: DistributedContext | None = None,
        hard_negatives: HardNegatives | None = None,
        domains: NDArray[np.int64] | None = None,
    ) -> None:
        self.model, self.device, self.batch_size = model, device, recipe.batch_size
        self.distributed = distributed or DistributedContext(device)
        self._recipe = recipe
        self.precision = recipe.precision if multiplies_bfloat16(device) else "float32"
        if recipe.objective == "all_positions" and not model.is_causal():
            raise ValueError(f"train: objective = 'all_positions' needs a causal model; {model.model_type} is none")
        if recipe.recompute:  # a layer's own wish to recompute stands in any case
            for module in model.modules():
                if isinstance(module, Recurrent):
                    module.recompute = True
        fused = device.type in ("cpu", "cuda")
        self.learns = any(True for _ in model.parameters())
        self.optimizer = torch.optim.AdamW(
            list(model.parameters()) or [torch.zeros(0)], lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused
        )
        self._adapted = model.adapted if model.adapts() else None
        self._loss_of = _compiled(self._loss) if recipe.compile else self._loss
        dtype = getattr(torch, self.precision)
        shares = recipe.infonce_batch != "micro" and recipe.alpha_infonce > 0.0
        shared = shared_candidates(recipe, device, dtype) if shares else None
        self.negatives = StepNegatives(device, shared, hard_negatives)
        self.gate = gate_loss(recipe, model, device, domains)

    def step(self, windows: Windows, group: NDArray[np.int64], lr: float) -> Step:
        """Learn from one group of windows, the effective batch (G,).

        The gradient is the mean over the group's targets, however its last micro-batch falls short; the memory stands
        still until the weights have moved.

        Raises:
            ValueError: The loss or the gradient is not finite; weights and memory are as before.
        """
        # like lengths share a micro-batch: less padding
        group = group[np.argsort(windows.lengths[group], kind="stable")]
        all_targets = int(windows.counts[group].sum())
        loss = torch.zeros((), dtype=torch.float32, device=self.device)
        self.negatives.begin(windows.store, windows.target_rows(group))
        self.gate.begin()
        self.model.train()
        with self.model.deferred_memory_writes():
            for first in self.distributed.shard(range(0, len(group), self.batch_size)):
                chosen = group[first : first + self.batch_size]
                # (B, N, D), (B,), (P, D), (P,): P targets, one a window or one a position
                context, lengths, target, positions = self._to_device(windows.batch(chosen))
                rows = windows.target_rows(chosen)  # (P,)
                negatives = self.negatives.for_targets(rows, target)
                domains = self.gate.domains_of(windows.store, rows)
                mean = self._loss_of(context, lengths, target, positions, negatives, domains)
                part = mean * (len(target) / all_targets)
                torch.autograd.backward(part)
                loss += part.detach()
        self.distributed.all_reduce_sum([loss, *self.model.waiting_writes(), *self.gate.waiting()])
        self.distributed.all_reduce_sum_gradients(self.model.parameters())
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._recipe.clip_norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.optimizer.zero_grad()
            raise ValueError(
                f"the loss is {float(loss)}, the norm of its gradient {float(norm)}; expected finite numbers"
            )
        for settings in self.optimizer.param_groups:
            settings["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.model.commit_memory()
        self.negatives.end(windows.target_rows(group))
        self.gate.end()
        return Step(float(loss), float(norm), int(windows.lengths[group].sum()), all_targets)

    def predict(self, windows: Windows, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """Predict the targets of these windows, unit vectors (P, D), in evaluation mode and without gradients."""
        context, lengths, _, positions = self._to_device(windows.batch(chosen))
        with torch.no_grad():
            predicted: Tensor = reconstruct(*self._steps(answering(self.model), context, lengths, positions))
        array: NDArray[np.float32] = predicted.cpu().numpy()
        return array

    def _loss(
        self,
        context: Tensor,
        lengths: Tensor,
        target: Tensor,
        positions: Tensor,
        negatives: Negatives | None,
        domains: Tensor | None = None,
    ) -> Tensor:
        current, delta = self._steps(self.model, context, lengths, positions)
        alpha, temperature = self._recipe.alpha_infonce, self._recipe.temperature
        loss = next_vector_loss(current, delta, target, alpha, temperature, negatives, self._adapted)
        return loss + self.gate.loss_at(positions, domains)

    def _steps(
        self, model: LatentVectorModel, context: Tensor, lengths: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the vectors at these positions of the flat context, and the deltas predicted there, (P, D) each."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            if self._recipe.objective == "all_positions":
                delta = model.deltas(context, lengths).flatten(0, 1)[positions]  # (B, N, D) -> (P, D)
            else:
                delta = model(context, lengths)  # (B, D)
        return context.flatten(0, 1)[positions], delta.float()

    def _to_device(self, arrays: Iterable[NDArray[Any]]) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(array).to(self.device) for array in arrays)


def _compiled(loss_of: LossOf) -> LossOf:
    compiled = torch.compile(loss_of)

    def call(*given: Any) -> Tensor:
        try:
            return compiled(*given)
        except compiler_errors() as error:
            name, reason = type(error).__name__, " ".join(str(error).split())[:300]
            raise ValueError(f"torch.compile failed ({name}); train without compile: {reason}") from error

    return call
