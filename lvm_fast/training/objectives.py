"""The losses of a step: of a prediction, its distance from the true next vector and InfoNCE; and of a gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.chain_store import ChainStore
from ..data.number_formats import Int64
from ..models.base import LatentVectorModel
from ..models.mixture import MixtureOfExperts, rows_of_each
from ..ops.infonce import candidate_logsumexp
from ..ops.rowwise import l2_normalize, reconstruct
from .recipe_sections import ObjectiveSection


class Negatives(NamedTuple):
    """The wrong answers of a batch of predictions. All vectors have unit length.

    Attributes:
        shared: Candidates of every prediction (C, D); the batch's own targets where None.
        masked: Predictions and the shared candidates that do not count for them, int64 (2, K): the right answer and its
            near-copies. Given with `shared`.
        hard: Wrong answers of each prediction alone (B, M, D).
        is_there: Which of them are there, bool (B, M); the others are padding. Given with `hard`.
    """

    shared: Tensor | None = None
    masked: Tensor | None = None
    hard: Tensor | None = None
    is_there: Tensor | None = None


def next_vector_loss(
    current: Tensor,
    delta: Tensor,
    target: Tensor,
    alpha: float,
    temperature: float,
    negatives: Negatives | None = None,
    adapted: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Compute MSE + 0.5 (1 - cos) + alpha InfoNCE of the reconstructed unit prediction and the unit target.

    InfoNCE is the cross-entropy of the right answer among itself and the wrong ones. Without `negatives` it has the
    reference's plain form: every other target of the batch is a wrong answer, even one that equals the right one. A
    wrong answer that is there twice, shared and hard, counts twice.

    Args:
        current: Last context vectors (B, D).
        delta: Predicted steps (B, D).
        target: True next vectors (B, D).
        alpha: Weight of InfoNCE; 0 leaves it out.
        temperature: Cosines are divided by it before the softmax.
        negatives: The wrong answers; the other targets unless given.
        adapted: How the model adapts what its predictions are compared with, (..., D) -> (..., D), if it does.

    Returns:
        The mean over the batch, ().

    Source of InfoNCE: van den Oord et al., Representation Learning with Contrastive Predictive Coding (2018), eq. 4.
    """
    predicted, wanted = reconstruct(current, delta), l2_normalize(target)  # (B, D)
    cosine = (predicted * wanted).sum(dim=1)  # (B,)
    loss = F.mse_loss(predicted, wanted) + 0.5 * (1.0 - cosine.mean())
    if alpha == 0.0:
        return loss
    if adapted is not None:
        wanted, negatives = adapted(wanted), _adapted(negatives or Negatives(), adapted)
        cosine = (predicted * wanted).sum(dim=1)
    right = cosine / temperature
    wrong = _negative_logits(predicted, wanted, temperature, negatives or Negatives())  # (B, ...)
    everything = torch.cat([right[:, None], *wrong], dim=1).logsumexp(dim=1)
    return loss + alpha * (everything - right).mean()


def _adapted(negatives: Negatives, adapted: Callable[[Tensor], Tensor]) -> Negatives:
    vectors = {name: getattr(negatives, name) for name in ("shared", "hard")}
    return negatives._replace(**{name: adapted(rows) for name, rows in vectors.items() if rows is not None})


def _negative_logits(predicted: Tensor, wanted: Tensor, temperature: float, negatives: Negatives) -> list[Tensor]:
    """Compute logits of the wrong answers: one that stands for all shared ones (B, 1), and the hard ones (B, M)."""
    shared, masked, hard, is_there = negatives
    if shared is None or masked is None:
        shared, masked = (
            wanted if wanted.requires_grad else wanted.detach(),
            torch.arange(len(wanted), device=wanted.device).expand(2, -1),
        )
    logits = [candidate_logsumexp(predicted, shared, masked, 1.0 / temperature)[0][:, None]]
    if hard is not None and is_there is not None:
        scores = torch.einsum("bd,bmd->bm", predicted / temperature, hard)
        logits.append(scores.masked_fill(~is_there, -torch.inf))
    return logits


def balance_loss(scores: Tensor, load: Tensor) -> Tensor:
    """Compute E sum_i f_i P_i: 1 where gate and load are even, more where the gate favours busy experts.

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
    """Adds the losses of a gate to those of a step's predictions: for a model in one piece, nothing.

    One step after the other: `begin`, `loss_at` for each micro-batch, `end`.
    """

    def begin(self) -> None:
        """Begin a step."""

    def domains_of(self, store: ChainStore, rows: Int64) -> Tensor | None:
        """Return the domain of each of these rows of the store (P,), on the device; None where there are no domains."""
        return None

    def loss_at(self, positions: Tensor, domains: Tensor | None) -> Tensor | float:
        """Compute the weighted losses of the model's last pass.

        Args:
            positions: Of the flat context (P,).
            domains: Those of the predictions there (P,), where there are any.

        Returns:
            The mean over the predictions, ().
        """
        return 0.0

    def waiting(self) -> list[Tensor]:
        """Return the sums that `end` will take; the processes that train one model add them up in place first."""
        return []

    def end(self) -> None:
        """End a step."""

    def state(self) -> dict[str, Any]:
        """Return what is kept from step to step, for a checkpoint."""
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

    def __init__(
        self, recipe: ObjectiveSection, model: MixtureOfExperts, device: torch.device, domains: Int64 | None
    ) -> None:
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

    def loss_at(self, positions: Tensor, domains: Tensor | None) -> Tensor:
        """See `GateLoss.loss_at`."""
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


def gate_loss(
    recipe: ObjectiveSection, model: LatentVectorModel, device: torch.device, domains: Int64 | None = None
) -> GateLoss:
    """Make what a model's gate, if it has one, adds to the loss; see `MixtureLoss` for the arguments."""
    return MixtureLoss(recipe, model, device, domains) if isinstance(model, MixtureOfExperts) else GateLoss()
