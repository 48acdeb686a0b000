"""Stand-ins: a module's answers in evaluation mode, while the module itself stays as it is."""

from __future__ import annotations

import copy
from functools import partial
from types import MethodType

import pytest
import torch
from literal_models import SMALL
from torch import nn

from lvm_fast.models.answering import answering, place_of, read_by, snapshot
from lvm_fast.models.base import LatentVectorModel
from lvm_fast.models.registry import create_model

DROPOUTS = {"memory_gru", "lstm", "transformer", "hierarchical_gru", "recency_mixer", "specialist_gru"}


def training(name: str = "memory_gru") -> LatentVectorModel:
    return create_model(name, **SMALL[name], **({"dropout": 0.5} if name in DROPOUTS else {})).train()


def contexts(batch: int = 5) -> torch.Tensor:
    return torch.randn(batch, 9, 16, generator=torch.Generator().manual_seed(1))


def test_a_stand_in_shares_every_tensor_and_has_a_mode_of_its_own(name):
    model = training(name)
    stand_in = answering(model)
    assert type(stand_in) is type(model)
    assert not any(module.training for module in stand_in.modules())
    assert all(module.training for module in model.modules())
    for mine, theirs in ((model.parameters(), stand_in.parameters()), (model.buffers(), stand_in.buffers())):
        assert all(a is b for a, b in zip(mine, theirs, strict=True))
    context = contexts()
    torch.testing.assert_close(stand_in(context), copy.deepcopy(model).eval()(context), rtol=0, atol=0)


def test_answers_neither_write_the_memory_nor_leave_anything_on_the_model(name):
    model = training(name)
    before, held = copy.deepcopy(model.state_dict()), set(model.__dict__)
    model.predict(contexts(2))
    model.predict(contexts(6))
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert set(model.__dict__) == held
    assert all(module.training for module in model.modules())


def overridden(model: LatentVectorModel, how: str) -> None:
    """Give the instance a forward of its own, which doubles what its class says, in one way or another."""
    original = model.forward
    if how == "method":

        def doubled(self, context, lengths=None):
            return 2.0 * type(self).forward(self, context, lengths)

        model.forward = MethodType(doubled, model)
    elif how == "closure":
        model.forward = lambda context, lengths=None: 2.0 * original(context, lengths)
    elif how == "closure of a closure":

        def inner(context, lengths):
            return original(context, lengths)

        model.forward = lambda context, lengths=None: 2.0 * inner(context, lengths)
    elif how == "partial":

        def scaled(forward, scale, context, lengths=None):
            return scale * forward(context, lengths)

        model.forward = partial(scaled, original, 2.0)
    else:
        globals()["_forward"] = original
        model.forward = lambda context, lengths=None: 2.0 * _forward(context, lengths)  # noqa: F821


@pytest.mark.parametrize("how", ["method", "closure", "closure of a closure", "partial", "global name"])
@pytest.mark.parametrize("batch", [2, 6])
def test_a_method_of_the_instances_own_answers_without_dropout_too(how, batch):
    model = create_model("memory_gru", **SMALL["memory_gru"], dropout=0.5, normalize_delta=False).train()
    context = contexts(batch)
    with torch.no_grad():
        delta = copy.deepcopy(model).eval()(context)
    expected = nn.functional.normalize(context[:, -1] + 2.0 * delta, dim=-1)
    overridden(model, how)
    memory = model.memory.memory.clone()
    torch.testing.assert_close(model.predict(context), expected, atol=1e-6, rtol=0)
    assert torch.equal(model.memory.memory, memory)
    assert model.training


def test_modules_that_a_module_knows_by_other_ways_stand_in_as_well():
    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(1.0)
            self.ways = {"list": [self.drop], "tuple": (self.drop,), "method": self.drop.forward}
            self.outside = [nn.Dropout(1.0)]  # nobody's: `eval` would not reach it either

        def forward(self, x):
            ways = self.ways
            return ways["list"][0](x) + ways["tuple"][0](x) + ways["method"](x) + self.outside[0](x)

    module, ones = Kept(), torch.ones(3)
    assert torch.equal(answering(module)(ones), 3 * ones)
    assert torch.equal(module(ones), 0 * ones)


def test_shared_and_circular_modules_stand_in_once():
    class Tree(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = self.right = nn.Linear(2, 2)
            self.add_module("itself", self)

    stand_in = answering(Tree())
    assert stand_in.left is stand_in.right
    assert stand_in.itself is stand_in


def test_a_recurrent_modules_list_of_weights_is_not_written_through():
    module = nn.GRU(3, 3)
    stand_in = answering(module)
    stand_in.weight_hh_l0 = nn.Parameter(torch.zeros(9, 3))
    assert module._flat_weights[1] is module.weight_hh_l0


def test_compiled_and_scripted_modules_answer_too():
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(1.0)

        def forward(self, x):
            return self.drop(x)

    ones = torch.ones(3)
    for module in (torch.compile(Dropping()), torch.jit.script(Dropping())):
        assert torch.equal(answering(module.train())(ones), ones)
        assert module.training
    by_forward = Dropping().train()
    by_forward.forward = torch.compile(by_forward.forward, backend=lambda graph, inputs: pytest.fail("compiled"))
    assert torch.equal(answering(by_forward)(ones), ones)
    in_place = Dropping().train()
    in_place.compile()
    assert torch.equal(answering(in_place)(ones), ones)


def test_no_change_reaches_a_snapshot():
    model = training("recency_mixer")
    copied = snapshot(model, lambda tensor: tensor.detach().clone())
    context = contexts()
    before = copied(context)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    model.config["decays"][0] = 0.1
    model.normalize_delta = True
    model.network.append(nn.Tanh())
    assert torch.equal(copied(context), before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_contexts_are_read_in_the_dtype_of_the_weights(dtype):
    model = training().to(dtype)
    assert place_of(model) == (torch.device("cpu"), dtype)
    assert read_by(model, contexts()).dtype == dtype
    assert place_of(nn.Identity()) == (torch.device("cpu"), torch.float32)
