"""What training asks of a gate: to share predictions out evenly, and to know the domain of each."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data.chain_store import ChainStore
from ...data.number_formats import Int64
from ...models.base import LatentVectorModel
from ...models.mixture import MixtureOfExperts, rows_of_each
from ..recipe import Recipe


def balance_loss(scores: Tensor, load: Tensor) -> Tensor:
    """E sum_i f_i P_i: 1 where gate and load are even, more where the gate favours experts that have much to do.

    Args:
        scores: The gate's scores of E experts for each prediction, (P, E).
        load: f_i, the experts' shares of all choices, (E,), one together; data, not differentiable.

    Returns:
        The mean over the predictions, (); P_i is the mean probability of expert i.

    Source: Fedus et al., Switch Transformers (2021), eq. 4, which is that of Lepikhin et al., GShard (2020), section
    2.2; with all `top_k` choices of a prediction counted, as is usual where there are several.
    """
    return len(load) * (scores.softmax(dim=1) @ load).mean()


class GateLoss:
    """What a step's predictions add to the loss for their gate: of a model in one piece, nothing.

    One step after the other: `begin`, `of` for each micro-batch, `end`.
    """

    def begin(self) -> None:
        """Begin a step."""

    def domains_of(self, store: ChainStore, rows: Int64) -> Tensor | None:
        """The domain of each of these rows of the store (P,), on the device; None where there are no domains."""
        return None

    def of(self, positions: Tensor, domains: Tensor | None) -> Tensor | float:
        """The weighted losses of the model's last pass, at these positions of the flat context (P,), of these domains.

        Returns:
            The mean over the predictions, ().
        """
        return 0.0

    def waiting(self) -> list[Tensor]:
        """What `end` will take: sums that processes which train one model add up in place first."""
        return []

    def end(self) -> None:
        """End a step."""

    def state(self) -> dict[str, Any]:
        """What is kept from step to step, for a checkpoint."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""


class MixtureLoss(GateLoss):
    """The balance loss of a mixture of experts, and the cross-entropy of the gate with the domains, if there are any.

    The load is that of the step before, over its whole effective batch and all processes; even before the first step.
    So the balance loss is a mean over predictions like every other loss, and micro-batches and processes add up to the
    gradient of one big batch. A micro-batch's own load would be noise, and so strict that no micro-batch of one domain
    could go to that domain's experts (Qiu et al., Demons in the Detail, 2025). From step to step it hardly changes.

    Args:
        recipe: Weights of the losses.
        model: The mixture.
        device: Where it is.
        domains: The domain of each chain of the training store, (C,), as the number of its expert; or None.
    """

    def __init__(self, recipe: Recipe, model: MixtureOfExperts, device: torch.device, domains: Int64 | None) -> None:
        self._model, self._device, self._domains = model, device, domains
        self._balance_weight, self._domain_weight = recipe.balance_weight, recipe.domain_weight
        self._load = torch.full((model.num_experts,), 1.0 / model.num_experts, dtype=torch.float32, device=device)
        self._counts = torch.zeros_like(self._load)

    def begin(self) -> None:
        """See `GateLoss.begin`."""
        self._counts.zero_()  # a step that failed has counted, too

    def domains_of(self, store: ChainStore, rows: Int64) -> Tensor | None:
        """See `GateLoss.domains_of`."""
        if self._domains is None:
            return None
        return torch.from_numpy(self._domains[store.chain_of(rows)]).to(self._device)

    def of(self, positions: Tensor, domains: Tensor | None) -> Tensor:
        """See `GateLoss.of`."""
        scores = self._model.take_gate_scores()  # (B, E), or (B, N, E) of a pass over every position
        scores = scores if scores.ndim == 2 else scores.flatten(0, 1)[positions]  # (P, E)
        with torch.no_grad():
            self._counts += rows_of_each(scores.topk(self._model.top_k, dim=1).indices, len(self._counts))
        loss = self._balance_weight * balance_loss(scores, self._load)
        return loss if domains is None else loss + self._domain_weight * F.cross_entropy(scores, domains)

    def waiting(self) -> list[Tensor]:
        """See `GateLoss.waiting`."""
        return [self._counts]

    def end(self) -> None:
        """See `GateLoss.end`."""
        self._load = self._counts / self._counts.sum()

    def state(self) -> dict[str, Any]:
        """See `GateLoss.state`."""
        return {"load": self._load}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `GateLoss.load_state`."""
        self._load = state["load"].to(self._device)


def gate_loss(recipe: Recipe, model: LatentVectorModel, device: torch.device, domains: Int64 | None = None) -> GateLoss:
    """Make what a model's gate, if it has one, adds to the loss; see `MixtureLoss` for the arguments."""
    return MixtureLoss(recipe, model, device, domains) if isinstance(model, MixtureOfExperts) else GateLoss()
