"""The model types by name. A new architecture is one new file and one line here."""

from __future__ import annotations

from typing import Any

from .._util.registry import Registry

MODELS: Registry[Any] = Registry(
    "model",
    "lvm_fast.models",
    {
        "memory_gru": ".memory_gru:MemoryGRU",
        "lstm": ".lstm:LSTMModel",
        "gru": ".gru:GRUModel",
        "transformer": ".transformer:TransformerModel",
        "amn": ".amn:AMN",
        "hierarchical_gru": ".hierarchical_gru:HierarchicalGRU",
        "recency_mixer": ".recency_mixer:RecencyMixer",
        "whitened_recency": ".whitened_recency:WhitenedRecency",
        "recency_residual": ".recency_residual:RecencyResidual",
        "specialist_gru": ".specialist_gru:SpecialistGRU",
    },
    aliases={"champion": "recency_mixer"},  # its name in version 0.1, in saved models and checkpoints
)


def class_below(kind: type) -> type[Any] | None:
    """Return the registered class that `kind` is or derives from; None where there is none."""
    known = {MODELS.full_place(name) for name in MODELS}
    return next((each for each in kind.__mro__ if f"{each.__module__}:{each.__qualname__}" in known), None)
