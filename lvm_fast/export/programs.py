"""Which model types export, and what builds their programs. A new type is one new file and one line here."""

from __future__ import annotations

from typing import Any

from ..models.base import LatentVectorModel
from .mil_amn import AMNProgram
from .mil_gru import GRUProgram
from .mil_hierarchical_gru import HierarchicalGRUProgram
from .mil_lstm import LSTMProgram
from .mil_memory_gru import MemoryGRUProgram
from .mil_transformer import TransformerProgram
from .program import ModelProgram

_PROGRAMS: dict[str, type[ModelProgram[Any]]] = {
    "memory_gru": MemoryGRUProgram,
    "lstm": LSTMProgram,
    "gru": GRUProgram,
    "transformer": TransformerProgram,
    "amn": AMNProgram,
    "hierarchical_gru": HierarchicalGRUProgram,
}


def build_program(model: LatentVectorModel, precision: str, compression: str | None, target: Any) -> ModelProgram[Any]:
    """The program of a model.

    Raises:
        ValueError: The model's type does not export, or a constant is too large for the precision.
    """
    return _program_class(model)(model, precision, compression, target)


def check_streaming(model: LatentVectorModel) -> None:
    """Raise ValueError where a model's type does not export, or has no `step`."""
    reason = _program_class(model).cannot_stream
    if reason:
        remedy = "pass streaming=False (--no-streaming)"
        raise ValueError(f"export_coreml: {model.model_type} has no step for streaming: {reason}; {remedy}")


def _program_class(model: LatentVectorModel) -> type[ModelProgram[Any]]:
    if model.model_type not in _PROGRAMS:
        expected = " or ".join(_PROGRAMS)
        raise ValueError(f"export_coreml: model_type {model.model_type!r} does not export yet; expected {expected}")
    return _PROGRAMS[model.model_type]
