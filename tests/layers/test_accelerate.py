"""`accelerate`: whose layers are swapped, what stays as it was, and the way back."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import lvm_fast as lf


class Tagger(nn.Module):
    """One LSTM at two places, a GRU, and what cannot be swapped."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.GRU(4, 6, 2, batch_first=True, dropout=0.1)
        self.up = nn.ModuleDict({"first": nn.LSTM(6, 6, bidirectional=True, batch_first=True)})
        self.again = self.up["first"]
        self.cell = nn.GRUCell(12, 5)
        self.plain = nn.RNN(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.down(x)
        states, _ = self.again(states)
        result: Tensor = self.cell(states[:, -1])
        return result


class Own(nn.GRU):
    """A subclass."""


def tagger() -> tuple[Tagger, Tensor]:
    torch.manual_seed(0)
    return Tagger().eval(), torch.randn(5, 7, 4)


def test_results_and_gradients_stay_and_the_layers_are_ours():
    model, x = tagger()
    before = [model(x), *torch.autograd.grad(model(x).sin().sum(), list(model.parameters()), allow_unused=True)]
    done = lf.accelerate(model)
    assert type(model.down) is lf.GRU
    assert type(model.again) is type(model.up["first"]) is lf.LSTM
    assert model.again is model.up["first"]
    after = [model(x), *torch.autograd.grad(model(x).sin().sum(), list(model.parameters()), allow_unused=True)]
    for mine, reference in zip(after, before, strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-5, rtol=1e-4)
    assert list(done.swapped) == ["down", "up.first"]
    assert list(done.left) == ["cell", "plain"]


def test_everything_else_stays_as_it_was():
    model, x = tagger()
    layer, seen = model.down, []
    layer.register_forward_hook(lambda module, given, results: seen.append(len(results)))
    layer.own_note = "mine"
    names, tensors = list(model.state_dict()), [id(parameter) for parameter in model.parameters()]
    lf.accelerate(model)
    assert model.down is layer
    assert layer.own_note == "mine"
    assert not layer.training
    assert list(model.state_dict()) == names
    assert [id(parameter) for parameter in model.parameters()] == tensors
    model(x)
    assert seen == [2]


def test_an_optimiser_made_before_goes_on():
    model, x = tagger()
    twin = copy.deepcopy(model)
    for each, is_ours in ((model, True), (twin, False)):
        optimiser = torch.optim.SGD(each.parameters(), lr=0.1)
        if is_ours:
            lf.accelerate(each)
        for _ in range(3):
            optimiser.zero_grad()
            each(x).square().sum().backward()
            optimiser.step()
    for mine, reference in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("between", [lambda model: model, copy.deepcopy])
def test_undo_puts_the_originals_back_and_nothing_else(between):
    model, x = tagger()
    model.built = lf.GRU(3, 3)  # by its maker
    expected, held = model(x), set(model.down.__dict__)
    lf.accelerate(model)
    model = between(model)
    done = lf.accelerate(model, undo=True)
    assert done.undone
    assert list(done.swapped) == ["down", "up.first"]
    assert type(model.down) is nn.GRU
    assert type(model.again) is nn.LSTM
    assert type(model.built) is lf.GRU
    assert set(model.down.__dict__) == held
    assert torch.equal(model(x), expected)
    assert lf.accelerate(model, undo=True).swapped == {}


def test_a_layer_itself_is_swapped_too():
    layer = nn.LSTM(3, 4)
    assert lf.accelerate(layer).swapped == {"": "LSTM(3, 4)"}
    assert type(layer) is lf.LSTM


def test_swapping_twice_says_so():
    model, _ = tagger()
    lf.accelerate(model)
    again = lf.accelerate(model)
    assert again.swapped == {}
    assert again.left["down"] == "is lvm_fast.GRU already"
    lf.accelerate(model, undo=True)
    assert type(model.down) is nn.GRU


def with_own_forward() -> nn.Module:
    layer = nn.GRU(3, 4)
    layer.forward = lambda x: x
    return layer


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Own(3, 4), r"Own is a subclass of torch\.nn\.GRU, with ways of its own"),
        (lambda: parametrizations.weight_norm(nn.GRU(3, 4), "weight_hh_l0"), "has parametrized weights"),
        (lambda: nn.LSTM(3, 4, proj_size=2), r"has projections \(proj_size=2\)"),
        (lambda: nn.LSTMCell(3, 4), "LSTMCell takes one step at a time: there is nothing to gain"),
        (lambda: nn.RNN(3, 4), r"RNN: there are kernels for torch\.nn\.GRU and torch\.nn\.LSTM"),
        (with_own_forward, "has a forward of its own"),
        (lambda: torch.jit.script(nn.LSTM(3, 4)), "compiled by TorchScript"),
    ],
)
def test_what_is_left_says_why(make, reason):
    holder = nn.Sequential(nn.Linear(2, 3), make())
    kind = type(holder[1])
    done = lf.accelerate(holder)
    assert done.swapped == {}
    assert list(done.left) == ["1"]
    assert re.search(reason, done.left["1"])
    assert type(holder[1]) is kind


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_module_is_swapped_within():
    torch.compiler.reset()
    model, x = tagger()
    expected = model(x)
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected)
    assert lf.accelerate(compiled).swapped.keys() == {"_orig_mod.down", "_orig_mod.up.first"}
    torch.testing.assert_close(compiled(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")  # torch's weight_norm of old is deprecated
@pytest.mark.parametrize(
    "change",
    [
        lambda layer: nn.utils.weight_norm(layer, "weight_hh_l0"),
        lambda layer: prune.l1_unstructured(layer, "weight_ih_l0", 0.5),
        lambda layer: layer.compile(backend="aot_eager"),
    ],
)
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_what_hooks_and_the_compiler_have_changed_goes_on(kind, change):
    torch.compiler.reset()
    torch.manual_seed(0)
    layer, x = kind(4, 6), torch.randn(7, 5, 4)
    change(layer)
    results = []
    for swap in (False, True):
        if swap:
            assert lf.accelerate(layer).swapped
        states = layer(x)[0]
        results.append([states, *torch.autograd.grad(states.sin().sum(), list(layer.parameters()))])
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-4)


def test_swapped_layers_can_be_scripted_and_saved():
    model, x = tagger()
    expected = model(x)
    lf.accelerate(model)
    torch.testing.assert_close(torch.jit.script(model)(x), expected, atol=1e-5, rtol=1e-4)
    fresh = Tagger().eval()
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh(x), expected)


def test_it_prints_as_a_table():
    model, _ = tagger()
    assert repr(lf.accelerate(model)).splitlines() == [
        "accelerate: 2 swapped, 2 left as they are",
        "  swapped  down      GRU(4, 6, num_layers=2, batch_first=True, dropout=0.1)",
        "  swapped  up.first  LSTM(6, 6, batch_first=True, bidirectional=True)",
        "  left     cell      GRUCell takes one step at a time: there is nothing to gain",
        "  left     plain     RNN: there are kernels for torch.nn.GRU and torch.nn.LSTM",
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lf.accelerate([1]), r"accelerate: module: expected a torch\.nn\.Module, got list"),
        (lambda: lf.accelerate(nn.GRU(2, 2), undo=1), "accelerate: undo: "),
    ],
)
def test_bad_arguments_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
