"""Which model types export, and what builds their programs. A new type is one new file and one line here."""

from __future__ import annotations

from typing import Any, TypeAlias

from ...inference.router import Router
from ...models.base import LatentVectorModel
from ..coremltools_compat import Function
from ..exportable import Exportable
from .amn import AMNProgram
from .gru import GRUProgram
from .hierarchical_gru import HierarchicalGRUProgram
from .layers import Arrays
from .lstm import LSTMProgram
from .memory_gru import MemoryGRUProgram
from .program import Form, ModelProgram
from .recency_mixer import RecencyMixerProgram
from .recency_residual import RecencyResidualProgram
from .specialist_gru import SpecialistGRUProgram
from .transformer import TransformerProgram
from .whitened_recency import WhitenedRecencyProgram

_PROGRAMS: dict[str, type[ModelProgram[Any]]] = {
    "memory_gru": MemoryGRUProgram,
    "lstm": LSTMProgram,
    "gru": GRUProgram,
    "transformer": TransformerProgram,
    "amn": AMNProgram,
    "hierarchical_gru": HierarchicalGRUProgram,
    "recency_mixer": RecencyMixerProgram,
    "specialist_gru": SpecialistGRUProgram,
    "whitened_recency": WhitenedRecencyProgram,
    "recency_residual": RecencyResidualProgram,
}


class RouterProgram:
    """The programs of a router's arms side by side; which of them a function is depends on the context's length."""

    def __init__(self, router: Router, form: Form) -> None:
        self._router = router
        self._arms = [
            build_program(arm, form._replace(scope=f"arm_{longest}.")) for longest, arm in router.arms.items()
        ]
        self.target = form.target

    def constants(self, context_length: int | None) -> Arrays:
        """See `ModelProgram.constants`."""
        return self._arm(context_length).constants(context_length)

    def wide(self, context_length: int | None) -> frozenset[str]:
        """See `ModelProgram.wide`."""
        return self._arm(context_length).wide(context_length)

    def predict(self, context_length: int | None, longest: int = 0, batch: int = 1) -> Function:
        """See `ModelProgram.predict`; the length has to be known."""
        return self._arm(context_length).predict(context_length, longest, batch)

    def step(self) -> Function:
        """A router has none; `check_streaming` says so."""
        raise NotImplementedError

    def _arm(self, context_length: int | None) -> Program:
        return self._arms[int(self._router.route([context_length])[0])]


Program: TypeAlias = ModelProgram[Any] | RouterProgram


def build_program(model: Exportable, form: Form) -> Program:
    """The program of a model, or those of a router.

    Raises:
        ValueError: The model's type does not export, or a constant is too large for the precision.
    """
    return RouterProgram(model, form) if isinstance(model, Router) else _program_class(model)(model, form)


def why_no_step(model: Exportable) -> str | None:
    """Why a model has no `step`; None where it has one. Raises ValueError where its type does not export."""
    if isinstance(model, Router):
        return "its model depends on how long the context is; export an arm for streaming"
    return _program_class(model).cannot_stream


def check_streaming(model: Exportable) -> None:
    """Raise ValueError where a model's type does not export, or has no `step`."""
    reason = why_no_step(model)
    if reason:
        remedy = "pass streaming=False (--no-streaming)"
        raise ValueError(f"export_coreml: {model.model_type} has no step for streaming: {reason}; {remedy}")


def _program_class(model: LatentVectorModel) -> type[ModelProgram[Any]]:
    if model.model_type not in _PROGRAMS:
        expected = " or ".join(_PROGRAMS)
        raise ValueError(f"export_coreml: model_type {model.model_type!r} does not export yet; expected {expected}")
    return _PROGRAMS[model.model_type]
