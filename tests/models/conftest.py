"""Small models and their literal twins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from literal_models import SMALL, literal_model

from lvm_fast.models.registry import model_names


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=[name for name in model_names() if name != "whitened_recency"])
def name(request: pytest.FixtureRequest) -> str:
    """Every model type that is trained, one after the other."""
    return str(request.param)


@pytest.fixture
def sizes() -> dict[str, int]:
    return dict(SMALL["memory_gru"])


@pytest.fixture
def literal() -> Callable[..., Any]:
    """Build a literal memory_gru; small sizes and a lively memory unless told otherwise."""
    return partial(literal_model, "memory_gru")
