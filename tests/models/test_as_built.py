"""What was done to a model since it was made: noticed, named, and told how to be undone or merged."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from literal_models import SMALL
from torch import nn
from torch.nn.utils import parametrizations, prune, remove_weight_norm, weight_norm

from lvm_fast.inference.router import Router
from lvm_fast.models.as_built import changes, changes_since_made
from lvm_fast.models.base import LatentVectorModel
from lvm_fast.models.memory_gru import MemoryGRU
from lvm_fast.models.pretrained import load_model
from lvm_fast.models.registry import create_model

HABITS = {
    "memory_gru": {"dropout": 0.3},
    "transformer": {"num_heads": 4},
    "hierarchical_gru": {"chunk_size": 3},
    "recency_mixer": {"decays": (0.5, 1.0), "taps": 2},
    "specialist_gru": {"top_k": 1, "num_experts": 4, "domains": list("abcd")},
}


class Lora(nn.Module):
    """A low-rank addition to a linear map."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.lora_A = base, nn.Linear(base.in_features, 2, bias=False)
        self.lora_B = nn.Linear(2, base.out_features, bias=False)

    def forward(self, x):
        return self.base(x) + self.lora_B(self.lora_A(x))


def words(model: nn.Module) -> list[str]:
    return [change.words for change in changes(model)]


def test_a_model_is_as_built_whatever_its_weights_and_settings(name):
    sizes = {**SMALL[name], **HABITS.get(name, {}), "normalize_delta": False}
    model = create_model(name, **sizes).double().eval()
    for parameter in model.parameters():
        parameter.data.mul_(3.0)
    model.metrics, model.recipe_digest = {"hit5": 1.0}, "abc"
    model.note = "mine"
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.9
    assert words(model) == []
    model.normalize_delta = True
    assert words(model) == []


def swap(path: str, module: nn.Module):
    return lambda model: model.set_submodule(path, module)


def hook(path: str):
    return lambda model: model.get_submodule(path).register_forward_hook(lambda module, given, out: None)


CHANGES = {
    "appended": (lambda m: m.output_proj.append(nn.Hardtanh()), r"output_proj\.4, a Hardtanh, was added", "put back"),
    "deleted": (lambda m: m.fusion.__delitem__(3), r"fusion\.3 is gone", "put back"),
    "swapped": (swap("fusion.1", nn.ReLU()), r"fusion\.1 is a ReLU; it was built as a GELU", "put back"),
    "wrapped": (
        lambda m: m.output_proj.__setitem__(3, Lora(m.output_proj[3])),
        r"output_proj\.3 is a Lora; it was built as a Linear",
        r"merge the adapter.*merge_and_unload",
    ),
    "a namesake": (
        swap("gru", nn.GRU(32, 12, 4, batch_first=True)),
        r"gru is a torch\.nn\.modules\.rnn\.GRU; it was built as a lvm_fast\.layers\.gru\.GRU",
        "put back",
    ),
    "another setting": (
        lambda m: setattr(m.fusion[1], "approximate", "tanh"),
        r"fusion\.1\.approximate = 'tanh'; it was built with 'none'",
        r"set fusion\.1\.approximate back",
    ),
    "epsilon": (lambda m: setattr(m.input_norm, "eps", 0.1), r"input_norm\.eps = 0\.1; it was built with 1e-05", "set"),
    "forward hook": (hook("output_proj.3"), r"output_proj\.3 has forward hooks", "remove the hooks"),
    "hook of the model": (hook(""), "the model has forward hooks", "remove the hooks"),
    "own forward": (
        lambda m: setattr(m.output_proj, "forward", lambda x: x),
        "output_proj has a 'forward' of its own",
        "delete its 'forward'",
    ),
    "own method": (
        lambda m: setattr(m, "delta_of", lambda raw: raw),
        "the model has a 'delta_of' of its own",
        "delete",
    ),
    "parametrized": (
        lambda m: parametrizations.weight_norm(m.output_proj[3]),
        r"output_proj\.3\.weight is parametrized",
        r"remove_parametrizations\(module, 'weight'\)",
    ),
    "pruned": (
        lambda m: prune.l1_unstructured(m.output_proj[3], "weight", 0.5),
        r"output_proj\.3\.weight is pruned",
        r"prune\.remove\(module, 'weight'\)",
    ),
    "weight norm": (
        lambda m: weight_norm(m.output_proj[3]),
        r"output_proj\.3\.weight has a weight norm",
        r"remove_weight_norm\(module, 'weight'\)",
    ),
    "spectral norm": (
        lambda m: nn.utils.spectral_norm(m.output_proj[3]),
        r"output_proj\.3\.weight has a spectral norm",
        r"remove_spectral_norm\(module, 'weight'\)",
    ),
    "another shape": (
        lambda m: setattr(m.input_norm, "bias", nn.Parameter(torch.zeros(3))),
        r"input_norm\.bias is of shape \(3,\); it was built with shape \(16,\)",
        "put back",
    ),
    "no bias": (
        lambda m: setattr(m.fusion[0], "bias", None),
        r"fusion\.0\.bias is None; it was built with shape \(12,\)",
        "put back",
    ),
    "one more tensor": (
        lambda m: m.register_buffer("count", torch.zeros(1)),
        "the model has more tensors: count",
        "remove them",
    ),
    "another config": (lambda m: m.config.update(hidden_dim=5), "it was built", "put back"),
    "a config of nothing": (lambda m: m.config.update(hidden_dim=0), "its config builds no MemoryGRU", "correct"),
}


@pytest.fixture
def model() -> LatentVectorModel:
    return create_model("memory_gru", **SMALL["memory_gru"])


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_named_with_its_cure_and_not_saved(model, change, tmp_path):
    apply, expected, cure = CHANGES[change]
    apply(model)
    first = next(iter(changes(model)))
    assert re.search(expected, first.words)
    assert re.search(cure, first.cure)
    if first.is_hook:
        with pytest.warns(UserWarning, match=f"save_pretrained: {expected}, which are not saved"):
            model.save_pretrained(tmp_path / "saved")
    else:
        with pytest.raises(ValueError, match=f"save_pretrained: .*{expected}.*, which load_model would not give back"):
            model.save_pretrained(tmp_path / "saved")
        assert not (tmp_path / "saved").exists()


def test_every_change_is_told_not_the_first_alone(model):
    for change in ("appended", "swapped", "epsilon", "forward hook", "parametrized"):
        CHANGES[change][0](model)
    assert len(words(model)) >= 4


MERGES = {
    "parametrized": lambda m: nn.utils.parametrize.remove_parametrizations(m.output_proj[3], "weight"),
    "pruned": lambda m: prune.remove(m.output_proj[3], "weight"),
    "weight norm": lambda m: remove_weight_norm(m.output_proj[3]),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize("change", MERGES)
def test_what_was_merged_is_saved_and_answers_the_same(model, change, tmp_path):
    context = torch.randn(2, 5, 16)
    CHANGES[change][0](model)
    expected = model.predict(context)
    MERGES[change](model)
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(load_model(tmp_path).predict(context), expected, atol=1e-6, rtol=0)


def test_settings_that_answers_depend_on_are_saved_with_the_model(model, tmp_path):
    model.normalize_delta = np.bool_(False)
    chunked = create_model("hierarchical_gru", **SMALL["hierarchical_gru"])
    chunked.chunk_size = np.int64(3)
    mixed = create_model("specialist_gru", **SMALL["specialist_gru"])
    mixed.top_k = 1
    for changed in (model, chunked, mixed):
        changed.save_pretrained(tmp_path / changed.model_type)
        loaded, context = load_model(tmp_path / changed.model_type), torch.randn(6, 7, 16)
        assert loaded.config == changed.config
        assert torch.equal(loaded.predict(context), changed.predict(context))
    with pytest.raises(ValueError, match="hierarchical_gru: chunk_size = 0; expected an integer of at least 1"):
        chunked.chunk_size = 0
    with pytest.raises(ValueError, match="memory_gru: normalize_delta: expected True or False, got 'no'"):
        model.normalize_delta = "no"


class Renamed(MemoryGRU):
    """One that computes as it should, with a constructor and methods of its own."""

    def __init__(self) -> None:
        super().__init__(**SMALL["memory_gru"])

    def training_step(self, batch):
        return self(batch)


class Doubled(MemoryGRU):
    def delta_of(self, raw):
        return 2.0 * super().delta_of(raw)


def test_a_subclass_is_as_built_unless_it_computes_otherwise(tmp_path):
    assert words(Renamed()) == []
    doubled = Doubled(**SMALL["memory_gru"])
    assert words(doubled) == ["Doubled has a 'delta_of' of its own"]
    assert list(changes_since_made(doubled)) == []
    with pytest.raises(ValueError, match=r"Doubled has a 'delta_of' of its own, .*use a MemoryGRU"):
        doubled.save_pretrained(tmp_path)


def test_a_model_of_no_known_type_is_not_saved_as_one(model, tmp_path):
    model.model_type = "abacus"
    with pytest.raises(ValueError, match=r"load_model builds no MemoryGRU of model_type 'abacus'; use torch\.save"):
        model.save_pretrained(tmp_path)


def test_what_hangs_on_a_router_is_told(model):
    router = Router({5: model})
    assert list(changes(router, Router)) == []
    router.register_forward_hook(lambda module, given, out: None)
    assert [change.words for change in changes(router, Router)] == ["the model has forward hooks"]


def test_asking_draws_no_random_numbers(name):
    model = create_model(name, **SMALL[name])
    state = torch.get_rng_state()
    assert words(model) == []
    assert torch.equal(torch.get_rng_state(), state)
