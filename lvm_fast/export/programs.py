"""Which model types export, and what builds their programs. A new type is one new file and one line here."""

from __future__ import annotations

from typing import Any

from ..models.base import LatentVectorModel
from .mil_memory_gru import MemoryGRUProgram
from .program import ModelProgram

_PROGRAMS: dict[str, type[ModelProgram[Any]]] = {"memory_gru": MemoryGRUProgram}


def program_class(model: LatentVectorModel) -> type[ModelProgram[Any]]:
    """What builds the programs of a model's type. Raises ValueError where the type does not export."""
    if model.model_type not in _PROGRAMS:
        expected = " or ".join(_PROGRAMS)
        raise ValueError(f"export_coreml: model_type {model.model_type!r} does not export yet; expected {expected}")
    return _PROGRAMS[model.model_type]


def build_program(model: LatentVectorModel, precision: str, compression: str | None, target: Any) -> ModelProgram[Any]:
    """The program of a model.

    Raises:
        ValueError: The model's type does not export, or a constant is too large for the precision.
    """
    return program_class(model)(model, precision, compression, target)
