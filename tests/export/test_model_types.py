"""Every model type of the registry as a Core ML package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.models.base import LatentVectorModel
from lvm_fast.models.registry import model_names
from lvm_fast.spaces.space import fit_space

pytest.importorskip("coremltools")

from lvm_fast.export.coremltools_compat import mb
from lvm_fast.export.mil import hierarchical_gru, program, recurrent, transformer
from lvm_fast.export.mil.interpreter import SavedProgram

# small ones, whose layers all do something: two heads, chunks shorter than contexts, several layers
SIZES: dict[str, dict[str, Any]] = {
    "memory_gru": {"hidden_dim": 12, "memory_slots": 8, "num_layers": 2},
    "lstm": {"hidden_dim": 12},
    "gru": {"hidden_dim": 12, "num_layers": 3},
    "transformer": {
        "hidden_dim": 12,
        "num_heads": 2,
        "num_layers": 2,
        "feedforward_dim": 20,
        "max_positions": 30,
    },
    "amn": {"attention_dim": 6, "hidden_dim": 12, "bottleneck_dim": 8},
    "hierarchical_gru": {"hidden_dim": 12, "chunk_size": 4},
    "recency_mixer": {"hidden_dim": 12, "taps": 3, "decays": (0.5, 0.9, 1.0)},
    "specialist_gru": {"hidden_dim": 12, "num_layers": 2, "num_experts": 5, "expert_dim": 7},
    "whitened_recency": {"decay": 0.6},
    "recency_residual": {"hidden_dim": 5, "key_dim": 4, "taps": 3, "decays": (0.5, 0.7, 1.0)},
}
# a model type and its space
SPACED = (
    "gru centred",
    "memory_gru whitened",
    "whitened_recency whitened",
    "recency_residual centred",
    "recency_residual whitened",
)
MODELS = (*SIZES, *SPACED)
STREAMS = [name for name in SIZES if name != "amn"]
CONTEXTS = {
    "hierarchical_gru": (3, 8, 10),  # for chunks of 4: part of one, whole ones, whole ones and a part
    "recency_mixer": (2, 9),  # fewer vectors than taps, and more
    "recency_residual": (2, 9),
}
# sizes whose matrices are worth compressing
WIDE: dict[str, dict[str, Any]] = {
    **{name: {"hidden_dim": 48} for name in SIZES},
    "amn": {"hidden_dim": 48, "attention_dim": 32},
    "whitened_recency": {},
    "recency_residual": {"hidden_dim": 40, "key_dim": 36},
}


def model_of(name: str, input_dim: int = 16, **sizes: Any) -> LatentVectorModel:
    """A model of a type, "gru" for instance, or of a type in a space, "gru centred"."""
    model_type, _, kind = name.partition(" ")
    torch.manual_seed(1)
    model = lf.create_model(model_type, input_dim=input_dim, **{**SIZES[model_type], **sizes})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / model.config.get("hidden_dim", 12) ** 0.5)
    if kind:
        model.set_space(fit_space(crowded(input_dim), kind, 0.8))
    return model.eval()


def crowded(input_dim: int, count: int = 200) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Unit vectors around one direction, with more variance along some axes than along others."""
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((count, input_dim)) * np.geomspace(1.0, 0.1, input_dim) + rng.standard_normal(input_dim)
    return lf.l2_normalize(rows.astype(np.float32))


def exported(model: LatentVectorModel, folder: Path, precision: str = "float32", **options: Any) -> Path:
    streaming = model.model_type in STREAMS
    options = {"contexts": CONTEXTS.get(model.model_type, (5,)), "flexible": 30, "streaming": streaming, **options}
    return lf.export_coreml(model, folder / "m.mlpackage", precision=precision, overwrite=True, **options)


def test_every_registered_type_is_tested_here() -> None:
    assert set(SIZES) == set(model_names())


@pytest.mark.parametrize("name", MODELS)
def test_every_function_is_the_model(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    verification = lf.verify_coreml(exported(model, tmp_path), model)
    assert [check.name for check in verification.functions] == [
        *(f"predict_{length}" for length in CONTEXTS.get(model.model_type, (5,))),
        "predict",
        *(["step"] if model.model_type in STREAMS else []),
    ]
    assert verification.passed, verification.to_text()
    assert all(check.max_abs_error < 2e-6 for check in verification.functions if check.name != "step")


def wide_model_of(name: str) -> LatentVectorModel:
    return model_of(name, 64, **WIDE[name.partition(" ")[0]])


@pytest.mark.parametrize("name", MODELS)
def test_float16_and_int8_are_the_model_too(name: str, tmp_path: Path) -> None:
    model = wide_model_of(name)
    package = exported(model, tmp_path, "float16", contexts=(5,), flexible=None, compress="int8")
    verification = lf.verify_coreml(package, model)
    assert verification.passed, verification.to_text()
    if name != "whitened_recency":  # it has no matrix without a space
        assert any(check.max_abs_error > check.program_error for check in verification.functions)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "whitened_recency"])
def test_a_changed_number_of_any_tensor_is_caught(name: str, tmp_path: Path) -> None:
    package = exported(model_of(name), tmp_path, contexts=(2,), flexible=None, streaming=False)
    unused = "key_" if name == "recency_residual" else "write_gate"  # without a space, keys are for the bank alone
    tensors = [tensor for tensor in model_of(name).state_dict() if unused not in tensor]
    for tensor in (tensors[0], tensors[len(tensors) // 2], tensors[-1]):
        model = model_of(name)
        model.state_dict()[tensor].view(-1)[-1] += 1.0
        for check in lf.verify_coreml(package, model, contexts=1).functions:
            assert check.wrong_weights, tensor
            assert not check.passed


@pytest.mark.parametrize("name", ["lstm", "gru", "hierarchical_gru"])
def test_recurrent_types_have_as_many_operations_at_any_length(name: str, tmp_path: Path) -> None:
    saved = SavedProgram(exported(model_of(name), tmp_path, contexts=(12, 400), flexible=None, streaming=False))
    counts = [saved.count_operations(function) for function in saved.functions]
    assert counts[0] == counts[1] <= 130


def test_what_does_not_stream_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="amn has no step for streaming: each step asks all vectors so far anew"):
        exported(model_of("amn"), tmp_path, streaming=True)
    assert not list(tmp_path.iterdir())


def test_the_default_contexts_are_those_that_the_model_reads(tmp_path: Path) -> None:
    for positions, functions in ((120, ["predict_100", "step"]), (30, ["predict_30", "step"])):
        model = model_of("transformer", max_positions=positions)
        saved = SavedProgram(lf.export_coreml(model, tmp_path / "m.mlpackage", overwrite=True))
        assert saved.functions == functions
    old = lf.export_coreml(model_of("lstm"), tmp_path / "old.mlpackage", streaming=False, target="ios16")
    assert SavedProgram(old).input_shapes("main") == {"context": (1, 100, 16)}


@pytest.mark.parametrize("options", [{"contexts": (30, 31)}, {"contexts": (3,), "flexible": 31}])
def test_contexts_longer_than_the_positions_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a context of 31 vectors; expected at most 30, the model's positions"):
        exported(model_of("transformer"), tmp_path, **options)


def test_a_transformer_stream_past_its_positions_is_not_a_number(tmp_path: Path) -> None:
    model = model_of("transformer", max_positions=3)
    saved = SavedProgram(exported(model, tmp_path, contexts=(), flexible=None))
    (function,) = saved.spec.description.functions
    assert all("has room for 3 vectors: after more, all outputs are NaN" in f.shortDescription for f in function.state)
    state = saved.new_state("step")
    vector = lf.l2_normalize(np.ones((1, 16), np.float32))
    finite = [np.isfinite(saved.run("step", {"vector": vector}, state)["next_vector"]).all() for _ in range(4)]
    assert finite == [True, True, True, False]


def test_chunks_longer_than_float16_counts_are_refused(tmp_path: Path) -> None:
    model = model_of("hierarchical_gru", chunk_size=2049)
    exported(model, tmp_path, contexts=(5,), flexible=None, streaming=False)
    for options in ({"streaming": True}, {"streaming": False, "flexible": 30}):
        with pytest.raises(
            ValueError, match="chunk_size = 2049; expected at most 2,048 for a stream or contexts of any"
        ):
            exported(model, tmp_path, **{"contexts": (5,), "flexible": None, **options})


def untrained(name: str) -> LatentVectorModel:
    torch.manual_seed(0)
    return lf.create_model(name, input_dim=16, **SIZES[name]).eval()


@pytest.mark.parametrize("name", MODELS)
def test_a_bank_goes_with_any_type(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    bank = np.random.default_rng(3).standard_normal((20, 16)).astype(np.float32)
    package = exported(model, tmp_path, contexts=(), flexible=None, streaming=False, bank=bank, topk=3)
    assert lf.verify_coreml(package, model, bank=bank).passed


CLOSED_FORMS = ("whitened_recency", "recency_residual")
LEARNERS = [name for name in SIZES if name not in CLOSED_FORMS]


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_models_that_start_at_a_closed_form_need_no_training(name: str, tmp_path: Path) -> None:
    model = untrained(name)
    package = exported(model, tmp_path, contexts=(3,), flexible=None, streaming=False)  # warnings are errors
    assert lf.verify_coreml(package, model).passed


@pytest.mark.parametrize("name", LEARNERS)
def test_untrained_models_export_with_a_warning(name: str, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="looks untrained"):
        exported(untrained(name), tmp_path, contexts=(3,), flexible=None, streaming=False)


@pytest.mark.parametrize("name", LEARNERS)
def test_one_step_of_training_is_enough_for_no_warning(name: str, tmp_path: Path) -> None:
    model = untrained(name).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.randn(4, 5, 16)).square().sum(dim=0)[0].backward()
    optimizer.step()
    exported(model.eval(), tmp_path, contexts=(3,), flexible=None, streaming=False)


def swapped_lstm_cell(gates: Any, cell: Any) -> tuple[Any, Any]:
    """Input and forget gate change places."""
    first, second, candidate, output = mb.split(x=gates, num_splits=4, axis=-1)
    right = mb.concat(values=[second, first, candidate, output], axis=-1)
    return _LSTM_CELL(right, cell)


class NeverEnding:
    """The builder of operations, but no chunk is ever full."""

    def __getattr__(self, name: str) -> Any:
        return self._never if name == "greater_equal" else getattr(mb, name)

    def _never(self, x: Any, y: Any) -> Any:
        return mb.greater_equal(x=x, y=np.float32(1e6))


def padded_in_front(x: Any, width: int) -> Any:
    """A state's numbers stand at the end of its rows."""
    front = [*[0] * (2 * x.rank - 2), width - x.shape[-1], 0]
    return mb.pad(x=x, pad=front, mode="constant", constant_val=np.float16(0))


_LSTM_CELL = recurrent._lstm_cell

MISTAKES: dict[str, tuple[str, Any, str, Any]] = {
    "lstm gates swapped": ("lstm", recurrent, "_lstm_cell", swapped_lstm_cell),
    "looking ahead": ("transformer", transformer, "causal_mask", lambda rows: np.float32(0.0)),
    "a state written beside its place": ("gru", program, "padded", padded_in_front),
    "chunks never end": ("hierarchical_gru", hierarchical_gru, "mb", NeverEnding()),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_program_shows_though_every_weight_is_right(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, module, attribute, replacement = MISTAKES[mistake]
    monkeypatch.setattr(module, attribute, replacement)
    model = model_of(name)
    checks = lf.verify_coreml(exported(model, tmp_path, contexts=(10,), flexible=None), model).functions
    assert not any(check.wrong_weights for check in checks)
    assert any(check.max_abs_error > 5 * check.tolerance for check in checks)
