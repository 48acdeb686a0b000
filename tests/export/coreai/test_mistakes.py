"""A mistake in a program shows in Apple's runtime, though every weight is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from coreai_models import model_of
from torch import Tensor

import lvm_fast as lf
from lvm_fast.export.verification_result import FunctionCheck

pytest.importorskip("coreai_torch")

from lvm_fast.export.coreai import recurrent
from lvm_fast.export.coreai.attention_models import TransformerProgram
from lvm_fast.export.coreai.states import State

_GRU_CELL, _LSTM_CELL = recurrent._gru_cell, recurrent._lstm_cell


def reset_and_update_swapped(gates: Tensor, hidden: Tensor, state: Tensor) -> Tensor:
    return _GRU_CELL(*(torch.cat((*x.chunk(3, -1)[1::-1], x.chunk(3, -1)[2]), -1) for x in (gates, hidden)), state)


def input_and_forget_swapped(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    keep, forget, candidate, output = gates.chunk(4, -1)
    return _LSTM_CELL(torch.cat((forget, keep, candidate, output), -1), cell)


def written_one_place_late(state: State, value: Tensor) -> Tensor:
    return torch.nn.functional.pad(value, (0, state.laid_out[-1] - state.shape[-1])).roll(1, -1)


def never_written(state: State, value: Tensor) -> Tensor:
    return torch.zeros(state.laid_out, dtype=value.dtype)


def keys_for_values(program: Any, *given: Any) -> Any:
    return tuple(_KEYS_AND_VALUES(program, *given))[::-1]


_KEYS_AND_VALUES = TransformerProgram._keys_and_values

# a model type, what is replaced by what, and the functions that are wrong then
MISTAKES: dict[str, tuple[str, Any, str, Any, set[str]]] = {
    "gru gates swapped": ("gru", recurrent, "_gru_cell", reset_and_update_swapped, {"predict_5", "step"}),
    "lstm gates swapped": ("lstm", recurrent, "_lstm_cell", input_and_forget_swapped, {"predict_5", "step"}),
    "a state one place late": ("memory_gru", State, "written", written_one_place_late, {"step"}),
    "a state never written": ("hierarchical_gru", State, "written", never_written, {"step"}),
    "keys in place of values": (
        "transformer",
        TransformerProgram,
        "_keys_and_values",
        keys_for_values,
        {"predict_5", "step"},
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_caught_where_it_is(mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, place, attribute, replacement, wrong = MISTAKES[mistake]
    model = model_of(name)
    with monkeypatch.context() as patched:
        patched.setattr(place, attribute, replacement)
        asset = lf.export_coreai(model, tmp_path / "m.aimodel", contexts=(5,), precision="float32")
    checks = [check for check in lf.verify_coreai(asset, model).functions if isinstance(check, FunctionCheck)]
    assert {check.name for check in checks if not check.passed} == wrong
    assert all(check.max_abs_error > 100 * check.tolerance for check in checks if check.name in wrong)
    assert not any(
        check.wrong_weights for check in checks if not check.name.startswith("predict") or "oldest" not in mistake
    )
