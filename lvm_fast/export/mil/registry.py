"""Maps each model type to the program that exports it. A new type is one new file and one line here."""

from __future__ import annotations

from typing import Any, TypeAlias

from ..._util.registry import Registry
from ...inference.router import Router
from ..coremltools_compat import Function
from ..exportable import Exportable
from .layers import Arrays
from .program import ModelProgram, ProgramOptions

PROGRAMS: Registry[type[ModelProgram[Any]]] = Registry(
    "model_type",
    __package__,
    {
        "memory_gru": ".memory_gru:MemoryGRUProgram",
        "lstm": ".lstm:LSTMProgram",
        "gru": ".gru:GRUProgram",
        "transformer": ".transformer:TransformerProgram",
        "amn": ".amn:AMNProgram",
        "hierarchical_gru": ".hierarchical_gru:HierarchicalGRUProgram",
        "recency_mixer": ".recency_mixer:RecencyMixerProgram",
        "specialist_gru": ".specialist_gru:SpecialistGRUProgram",
        "whitened_recency": ".whitened_recency:WhitenedRecencyProgram",
        "recency_residual": ".recency_residual:RecencyResidualProgram",
    },
)


class RouterProgram:
    """Holds the programs of a router's models; the context length decides which of them a function runs."""

    def __init__(self, router: Router, options: ProgramOptions) -> None:
        self._router = router
        self._programs = [
            build_program(arm, options._replace(scope=f"arm_{longest}.")) for longest, arm in router.arms.items()
        ]
        self.target = options.target

    def constants(self, context_length: int | None) -> Arrays:
        """See `ModelProgram.constants`."""
        return self._program_for(context_length).constants(context_length)

    def float32_names(self, context_length: int | None) -> frozenset[str]:
        """See `ModelProgram.float32_names`."""
        return self._program_for(context_length).float32_names(context_length)

    def predict(self, context_length: int | None, longest: int = 0, batch: int = 1) -> Function:
        """See `ModelProgram.predict`; the length has to be known."""
        return self._program_for(context_length).predict(context_length, longest, batch)

    def step(self) -> Function:
        """Raise NotImplementedError: a router has no ``step``, and `check_streaming` refuses it."""
        raise NotImplementedError

    def _program_for(self, context_length: int | None) -> Program:
        return self._programs[int(self._router.route([context_length])[0])]


Program: TypeAlias = ModelProgram[Any] | RouterProgram


def build_program(model: Exportable, options: ProgramOptions) -> Program:
    """Build the program of a model, or those of a router.

    Raises:
        ValueError: The model's type has no exporter, or a constant is too large for the precision.
    """
    if isinstance(model, Router):
        return RouterProgram(model, options)
    return _program_class(model.model_type)(model, options)


def why_no_step(model: Exportable) -> str | None:
    """Say why a model has no ``step``; None where it has one. Raises ValueError where its type has no exporter."""
    if isinstance(model, Router):
        return "its model depends on how long the context is; export an arm for streaming"
    return _program_class(model.model_type).cannot_stream


def check_streaming(model: Exportable) -> None:
    """Raise ValueError where a model's type has no exporter or no ``step``."""
    reason = why_no_step(model)
    if reason:
        remedy = "pass streaming=False (--no-streaming)"
        raise ValueError(f"export_coreml: {model.model_type} has no step for streaming: {reason}; {remedy}")


def _program_class(model_type: str) -> type[ModelProgram[Any]]:
    if model_type not in PROGRAMS:
        expected = " or ".join(PROGRAMS)
        raise ValueError(f"export_coreml: model_type {model_type!r} does not export yet; expected {expected}")
    return PROGRAMS.load(model_type)
