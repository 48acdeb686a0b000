"""Which model types export, and what builds their programs. A new type is one new file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..models.base import LatentVectorModel
from .mil_layers import Arrays
from .mil_memory_gru import MemoryGRUProgram
from .toolkit import Function


class ModelProgram(Protocol):
    """Builds the MIL functions of one model from one set of constants."""

    arrays: Arrays

    def predict(self, context_length: int) -> Function:
        """``context`` (1, N, D) -> ``next_vector`` (1, D), ``delta`` (1, D)."""

    def step(self) -> Function:
        """``vector`` (1, D) -> ``next_vector`` (1, D), ``delta`` (1, D), with the model's state kept between calls."""


_PROGRAMS: dict[str, Callable[[Any, str, Any], ModelProgram]] = {"memory_gru": MemoryGRUProgram}


def build_program(model: LatentVectorModel, precision: str, target: Any) -> ModelProgram:
    """The program of a model.

    Raises:
        ValueError: The model's type does not export, or a constant is too large for the precision.
    """
    if model.model_type not in _PROGRAMS:
        expected = " or ".join(_PROGRAMS)
        raise ValueError(f"export_coreml: model_type {model.model_type!r} does not export yet; expected {expected}")
    return _PROGRAMS[model.model_type](model, precision, target)
