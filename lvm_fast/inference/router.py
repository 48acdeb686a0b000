"""`Router`: several models that act as one; a context's length, and how sure the quickest is, choose which answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._util.numbers import plain, real_number, whole_number
from ..models.answering import read_by
from ..models.base import LatentVectorModel
from ..models.context import check_context
from ..models.recurrence import last_valid
from ..ops.rowwise import reconstruct
from ..retrieval.bank import VectorBank
from .packed import can_pack, check_precision
from .predictor import asked, check_finite
from .router_folder import load_parts, save_router

UNITS = {"vectors": 1, "tokens": 20}  # how many make a vector

Ask = Callable[[LatentVectorModel, Tensor, Tensor | None], Tensor]  # arm, (b, n, D), lengths (b,) -> (b, D)


class Routed(NamedTuple):
    """The answers to a batch: `answers` (B, D), and `arms` (B,) int64, which of `Router.arms` gave each."""

    answers: Tensor
    arms: NDArray[np.int64]


class Router(nn.Module):
    """Models ("arms") that share the work by the length of the context.

    A context goes to the arm with the smallest limit that it does not exceed, and what exceeds all limits goes to the
    arm with the largest. An arm never sees more vectors than its limit: of a longer context, the last ones.

    With a `threshold`, a longer context is first asked of the first arm (the quick one), on its last vectors. Where the
    prediction's best score in `bank` leads the second best by at least the threshold, it stands; else the arm of the
    context's length answers. `calibrate_router` finds a threshold on held-out chains; 0 leaves everything to the first
    arm.

    Contexts reach each arm in its own dtype, deltas come back in the contexts'. A router is pickled and copied with its
    models and its bank.

    Attributes:
        unit: "vectors" or "tokens", as the limits were given.
        bank: The candidates that uncertainty is measured against, or None.
        threshold: The least lead of a sure answer, or None to route by length alone.
        input_dim: Width D of the vectors.
        metrics: What is known of its quality (percent, with the pool); empty if nothing is.

    Example:
        >>> from lvm_fast import create_model
        >>> quick, accurate = (create_model("lstm", input_dim=8, hidden_dim=width, num_layers=1) for width in (4, 16))
        >>> router = Router({100: quick, 500: accurate})
        >>> router.route([40, 300]), router.predict(torch.ones(1, 300, 8)).shape
        (array([0, 1]), torch.Size([1, 8]))
    """

    model_type = "router"
    casts_contexts = True  # see `read_by`

    def __init__(
        self,
        arms: Mapping[int, LatentVectorModel],
        unit: str = "vectors",
        *,
        bank: VectorBank | None = None,
        threshold: float | None = None,
    ) -> None:
        """Make a router of trained models, which it puts into evaluation mode.

        Args:
            arms: Models of one input_dim by the longest context each is for, in vectors or tokens.
            unit: What the limits count: "vectors", or "tokens", of which 20 make a vector.
            bank: (N, D) vectors that the first arm's predictions are scored against, N at least 2.
            threshold: As above; needs a bank.

        Raises:
            ValueError: A limit, a model, the unit, the bank or the threshold does not fit.
        """
        super().__init__()
        if unit not in UNITS:
            raise ValueError(f"Router: unit = {unit!r}; expected {' or '.join(map(repr, UNITS))}")
        self.unit, size = str(unit), UNITS[unit]
        checked = _checked_limits(arms, size)
        self.limits = list(checked)
        for limit, arm in checked.items():
            self.add_module(f"arm_{limit // size}", _checked_arm(limit, limit // size, arm))
        first, *others = self.arms.values()
        for arm in others:
            if arm.input_dim != first.input_dim:
                raise ValueError(
                    f"Router: arms read {first.input_dim} and {arm.input_dim} dimensions; expected the same of all"
                )
        self.input_dim: int = first.input_dim
        self.metrics: dict[str, Any] = {}
        self.bank: VectorBank | None = None
        self.threshold: float | None = None
        self.trust(bank, threshold)
        self.eval()

    @property
    def arms(self) -> dict[int, LatentVectorModel]:
        """The models by the most vectors they see, ascending."""
        size = UNITS[self.unit]
        return {limit // size: self.get_submodule(f"arm_{limit // size}") for limit in self.limits}  # type: ignore[misc]

    def trust(self, bank: VectorBank | None, threshold: float | None) -> None:
        """Set the bank that the first arm's certainty is measured in, and the lead from which its answers stand.

        Raises:
            ValueError: The bank is of another width or holds a single vector, the threshold is no finite number of
                at least 0, or there is no bank for it.
        """
        if bank is not None and (bank.dim != self.input_dim or len(bank) < 2):
            raise ValueError(
                f"Router: bank holds {len(bank)} vectors of {bank.dim} dimensions; expected at least 2 of "
                f"{self.input_dim}, as the arms read"
            )
        if threshold is not None:
            threshold = _checked_threshold(threshold)
            if bank is None:
                raise ValueError("Router: a threshold needs a bank, the vectors that predictions are scored against")
        self.bank, self.threshold = bank, threshold

    def route(self, lengths: Any) -> NDArray[np.int64]:
        """Return the arm that contexts of these lengths, in vectors (B,), belong to: places in `arms`, (B,) int64."""
        places = np.searchsorted(list(self.arms), np.asarray(lengths), side="left")
        return np.minimum(places, len(self.arms) - 1).astype(np.int64)

    def margins(self, predictions: Tensor) -> NDArray[np.float32]:
        """Return the lead of each prediction's (B, D) best score in the bank over the second best: (B,), at least 0."""
        if self.bank is None:
            raise ValueError("Router.margins: the router has no bank; expected one to score predictions against")
        scores, _ = self.bank.topk(predictions.detach().float(), 2)
        margins: NDArray[np.float32] = scores[:, 0] - scores[:, 1]
        return margins

    def forward(self, context: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Predict deltas (B, D) for contexts (B, N, D), right-padded where `lengths` (B,) is given, as models do."""
        return self.routed(context, lengths).answers

    def routed(self, context: Tensor, lengths: Tensor | None = None) -> Routed:
        """Predict deltas as `forward` does, and tell which arm gave each.

        Raises:
            ValueError: The context or the lengths do not fit.
        """

        def ask(arm: LatentVectorModel, part: Tensor, counts: Tensor | None) -> Tensor:
            delta: Tensor = arm(read_by(arm, part), counts)
            return delta.to(part)

        def unit(delta: Tensor) -> Tensor:
            return reconstruct(last_valid(context, lengths), delta)

        check_context(self.model_type, self.input_dim, context, lengths)
        return self._routed(context, lengths, ask, unit)

    @overload
    def predict(self, context: Tensor, lengths: Any = None, weights: str = "float32") -> Tensor: ...
    @overload
    def predict(self, context: NDArray[Any], lengths: Any = None, weights: str = "float32") -> NDArray[np.float32]: ...

    def predict(
        self, context: Tensor | NDArray[Any], lengths: Any = None, weights: str = "float32"
    ) -> Tensor | NDArray[np.float32]:
        """Predict the next vector, each row by the arm of its own length.

        Args:
            context: (B, N, D), or (N, D) for one context: a tensor or a numpy array of any float dtype, right-padded
                where `lengths` is given.
            lengths: Valid vectors of each row, 1 to N, integers (B,), or one integer for one context; all N unless
                given.
            weights: Precision of the arms' weights, as `LatentVectorModel.predict` takes it; every arm must offer it.

        Returns:
            Unit next vectors (B, D), or (D,) for one context (N, D): float32, a tensor or a numpy array as the context
            was.

        Raises:
            ValueError: As `LatentVectorModel.predict`.
        """
        question = asked(self.model_type, self.input_dim, context, lengths)
        contexts, counts = question.contexts, question.lengths
        check_context(self.model_type, self.input_dim, contexts, counts)
        check_finite(contexts, counts)
        check_precision("predict", weights)
        for arm in self.arms.values():  # whichever of them will answer
            can_pack("predict", arm, weights)

        def ask(arm: LatentVectorModel, part: Tensor, counts: Tensor | None) -> Tensor:
            return arm.predict(part, counts, weights)

        with torch.no_grad():
            return question.answer(self._routed(contexts, counts, ask, lambda answers: answers).answers)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Save ``router.json``, a model card, the bank if there is one, and each arm in a folder of its own.

        The folder appears as a whole; a router that is there already is replaced.

        Raises:
            FileExistsError: The folder holds something that is no router.
            OSError: The folder cannot be written, or the disk is full.
        """
        save_router(self, folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Router:
        """Load a router onto the CPU, in evaluation mode.

        Raises:
            FileNotFoundError: The folder holds no router, or an arm of it is missing.
            ValueError: A file is damaged, or the parts do not fit together.
        """
        parts = load_parts(folder)
        try:
            router = cls(parts.arms, parts.unit, bank=parts.bank, threshold=parts.threshold)
        except ValueError as error:
            raise ValueError(f"{parts.place}: {error}") from error
        router.metrics = parts.metrics
        return router

    def _routed(self, context: Tensor, lengths: Tensor | None, ask: Ask, unit: Callable[[Tensor], Tensor]) -> Routed:
        rows, longest, _ = context.shape
        counts = np.full(rows, longest) if lengths is None else lengths.cpu().numpy()
        arms = self.route(counts)
        waiting = np.ones(rows, np.bool_)
        parts: list[tuple[NDArray[np.int64], Tensor]] = []
        if self.threshold is not None and arms.any():
            first = self._ask(0, context, counts, ask)
            parts.append((np.arange(rows), first))
            arms[self.margins(unit(first)) >= self.threshold] = 0
            waiting = arms > 0
        for arm in np.unique(arms[waiting]).tolist():
            chosen = np.flatnonzero(waiting & (arms == arm))
            own = context if len(chosen) == rows else context[torch.from_numpy(chosen).to(context.device)]
            parts.append((chosen, self._ask(arm, own, counts[chosen], ask)))
        answers = parts[0][1].new_empty((rows, self.input_dim))
        for chosen, part in parts:
            answers[torch.from_numpy(chosen).to(part.device)] = part
        return Routed(answers, arms)

    def _ask(self, place: int, context: Tensor, counts: NDArray[np.int64], ask: Ask) -> Tensor:
        """Return one arm's answers for contexts (b, N, D), of which it sees its last vectors."""
        longest, arm = list(self.arms.items())[place]
        seen = np.minimum(counts, longest)  # (b,)
        most = int(seen.max())
        if (counts == counts[0]).all():
            return ask(arm, context[:, counts[0] - most : counts[0]], None)
        steps = (counts - seen)[:, None] + np.arange(most)  # (b, most); beyond a row's end stands its last vector
        places = torch.from_numpy(np.minimum(steps, counts[:, None] - 1)).to(context.device)
        rows = torch.arange(len(context), device=context.device)[:, None]
        return ask(arm, context[rows, places], torch.from_numpy(seen).to(context.device))


def reach_of(model: Any) -> int | None:
    """Return the most vectors that a model or router reads; None where there is no end."""
    if isinstance(model, Router):
        return max(model.arms)
    most: int | None = getattr(model, "max_context", None)
    return most


def _checked_limits(arms: Any, unit: int) -> dict[int, Any]:
    """Return the arms by their limits, ascending."""
    if not isinstance(arms, Mapping) or not arms:
        got = "empty" if isinstance(arms, Mapping) else f"a {type(arms).__name__}"
        raise ValueError(f"Router: arms is {got}; expected models by the longest context of each: {{100: fast}}")
    checked = {_checked_limit(limit, unit): arm for limit, arm in arms.items()}
    for limit, following in pairwise(sorted(checked)):
        if limit // unit == following // unit:
            both = f"{limit} and {following}, both {limit // unit} vectors"
            raise ValueError(f"Router: arms has the limits {both}; expected different ones")
    return dict(sorted(checked.items()))


def _checked_limit(limit: Any, least: int) -> int:
    try:
        return whole_number(limit, "limit", least)
    except ValueError:
        expected = f"a whole number of at least {least}"
        raise ValueError(f"Router: arms has the limit {plain(limit)!r}; expected {expected}") from None


def _checked_threshold(threshold: Any) -> float:
    try:
        return real_number(threshold, "threshold", 0)
    except ValueError:
        expected = "a finite number of at least 0, or None"
        raise ValueError(f"Router: threshold = {plain(threshold)!r}; expected {expected}") from None


def _checked_arm(limit: int, longest: int, arm: Any) -> LatentVectorModel:
    if not isinstance(arm, LatentVectorModel):
        raise ValueError(
            f"Router: arms[{limit}] is a {type(arm).__name__}; expected a model, as create_model makes them"
        )
    most = reach_of(arm)
    if most is not None and most < longest:
        raise ValueError(f"Router: arms[{limit}] reads at most {most} vectors; expected a model that reads {longest}")
    return arm
