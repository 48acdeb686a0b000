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
from ..data.windows import Windows
from ..layers.gru import GRU
from ..models.answering import answering
from ..models.base import LatentVectorModel
from ..ops.rowwise import reconstruct
from .distributed import Processes
from .negatives.hard_negatives import OwnNegatives
from .negatives.step_negatives import WrongAnswers
from .objectives.gate_loss import gate_loss
from .objectives.loss import Negatives, next_vector_loss
from .recipe import Recipe

# context (B, N, D), lengths (B,), target (P, D), positions (P,), wrong answers, domains (P,) -> ()
LossOf = Callable[[Tensor, Tensor, Tensor, Tensor, Negatives | None, Tensor | None], Tensor]


class Step(NamedTuple):
    """What a step came to.

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
    """A model, its optimiser, and how a group of windows changes them.

    Several processes share the micro-batches of a group and add up what they find: the step is that of one process.

    Args:
        model: What learns, on its device.
        recipe: Loss, precision, batch size and optimiser settings.
        device: Where the model is.
        processes: Those that train it together; this one alone unless given.
        own_negatives: Wrong answers that each prediction has of its own, where there are any.
        domains: The domain of each chain of the training store, (C,), for the gate of a mixture of experts to learn.

    Attributes:
        precision: The recipe's, but float32 on a device without bfloat16 products of its own.
        wrong_answers: What InfoNCE tells the right answers from.
        learns: Whether there is anything to train.
        gate: What the gate of a mixture of experts adds to the loss.

    Raises:
        ValueError: The objective needs a causal model, and this one is not.
    """

    def __init__(
        self,
        model: LatentVectorModel,
        recipe: Recipe,
        device: torch.device,
        processes: Processes | None = None,
        own_negatives: OwnNegatives | None = None,
        domains: NDArray[np.int64] | None = None,
    ) -> None:
        self.model, self.recipe, self.device = model, recipe, device
        self.processes = processes or Processes(device)
        self.precision = recipe.precision if multiplies_bfloat16(device) else "float32"
        if recipe.objective == "all_positions" and not model.is_causal():
            raise ValueError(f"train: objective = 'all_positions' needs a causal model; {model.model_type} is none")
        if recipe.recompute:  # a GRU's own wish to recompute stands in any case
            for module in model.modules():
                if isinstance(module, GRU):
                    module.recompute = True
        fused = device.type in ("cpu", "cuda")
        self.learns = any(True for _ in model.parameters())
        self.optimizer = torch.optim.AdamW(
            list(model.parameters()) or [torch.zeros(0)], lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused
        )
        self._adapted = model.adapted if model.adapts() else None
        self._loss_of = _compiled(self._loss) if recipe.compile else self._loss
        self.wrong_answers = WrongAnswers(recipe, device, getattr(torch, self.precision), own_negatives)
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
        self.wrong_answers.begin(windows.store, windows.target_rows(group))
        self.gate.begin()
        self.model.train()
        with self.model.deferred_memory_writes():
            for first in self.processes.share(range(0, len(group), self.recipe.batch_size)):
                chosen = group[first : first + self.recipe.batch_size]
                context, lengths, target, positions = self._to_device(windows.batch(chosen))
                rows = windows.target_rows(chosen)
                negatives = self.wrong_answers.of(rows, target)
                domains = self.gate.domains_of(windows.store, rows)
                mean = self._loss_of(context, lengths, target, positions, negatives, domains)
                share = mean * (len(target) / all_targets)
                torch.autograd.backward(share)
                loss += share.detach()
        self.processes.add_up([loss, *self.model.waiting_writes(), *self.gate.waiting()])
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
        self.wrong_answers.end(windows.target_rows(group))
        self.gate.end()
        return Step(float(loss), float(norm), int(windows.lengths[group].sum()), all_targets)

    def predict(self, windows: Windows, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """Unit predictions of the targets of these windows (P, D), in evaluation mode and without gradients."""
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
        alpha, temperature = self.recipe.alpha_infonce, self.recipe.temperature
        loss = next_vector_loss(current, delta, target, alpha, temperature, negatives, self._adapted)
        return loss + self.gate.of(positions, domains)

    def _steps(
        self, model: LatentVectorModel, context: Tensor, lengths: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The vectors at these positions of the flat context, and the steps predicted from there, (P, D) each."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            if self.recipe.objective == "all_positions":
                delta = model.deltas(context, lengths).flatten(0, 1)[positions]
            else:
                delta = model(context, lengths)
        return context.flatten(0, 1)[positions], delta.float()

    def _to_device(self, arrays: Iterable[NDArray[Any]]) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(array).to(self.device) for array in arrays)


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
