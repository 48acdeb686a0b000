"""Maps each model type to the program that exports it. A new type is one class and one line here."""

from __future__ import annotations

from typing import Any

from ..._util.registry import Registry
from ...inference.router import Router
from ...models.base import LatentVectorModel
from ..exportable import Exportable
from .program import ModelProgram, Program, ProgramOptions

PROGRAMS: Registry[type[ModelProgram[Any]]] = Registry(
    "model_type",
    __package__,
    {
        "memory_gru": ".stacked_gru:MemoryGRUProgram",
        "lstm": ".recurrent_models:LSTMProgram",
        "gru": ".recurrent_models:GRUProgram",
        "transformer": ".attention_models:TransformerProgram",
        "amn": ".attention_models:AMNProgram",
        "hierarchical_gru": ".hierarchical_gru:HierarchicalGRUProgram",
        "recency_mixer": ".recency:RecencyMixerProgram",
        "specialist_gru": ".stacked_gru:SpecialistGRUProgram",
        "whitened_recency": ".recency:WhitenedRecencyProgram",
        "recency_residual": ".recency:RecencyResidualProgram",
    },
)


class Programs:
    """Holds the program of a model, or those of a router's models; the context length decides which one runs.

    Args:
        model: The model or router.
        precision: "float16" or "float32".
        compression: None, "int8", "palette6" or "palette4".

    Raises:
        ValueError: A model's type does not export, or a constant is too large for the precision.
    """

    def __init__(self, model: Exportable, precision: str, compression: str | None = None) -> None:
        self._model = model
        if isinstance(model, Router):
            options = [ProgramOptions(precision, compression, f"arm_{longest}.") for longest in model.arms]
            self._arms = [
                _program_class(arm)(arm, each) for arm, each in zip(model.arms.values(), options, strict=True)
            ]
        else:
            self._arms = [_program_class(model)(model, ProgramOptions(precision, compression))]

    def of(self, context_length: int | None) -> Program:
        """Return the program for contexts of a length, None for any length and for `step`."""
        if not isinstance(self._model, Router):
            return self._arms[0]
        return self._arms[int(self._model.route([context_length])[0])]


def why_no_step(model: Exportable) -> str | None:
    """Return why a model has no `step`; None where it has one. Raises ValueError where its type does not export."""
    if isinstance(model, Router):
        return "its model depends on how long the context is; export an arm for streaming"
    return _program_class(model).cannot_stream


def fitting_streaming(model: Exportable) -> tuple[bool, str | None]:
    """Tell whether a model can have a ``step``; if not, the second value is a note that says why."""
    reason = why_no_step(model)
    return reason is None, None if reason is None else f"step: {reason}"


def check_streaming(model: Exportable) -> None:
    """Raise ValueError where a model's type does not export, or has no `step`."""
    reason = why_no_step(model)
    if reason:
        remedy = "pass streaming=False (--no-streaming)"
        raise ValueError(f"export_coreai: {model.model_type} has no step for streaming: {reason}; {remedy}")


def _program_class(model: LatentVectorModel) -> type[ModelProgram[Any]]:
    if model.model_type not in PROGRAMS:
        expected = " or ".join(PROGRAMS)
        raise ValueError(f"export_coreai: model_type {model.model_type!r} does not export yet; expected {expected}")
    return PROGRAMS.load(model.model_type)
