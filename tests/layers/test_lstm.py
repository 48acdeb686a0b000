"""`LSTM` and its operator against `torch.nn.LSTM`."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.autograd import gradcheck

from lvm_fast.layers.lstm import LSTM
from lvm_fast.ops.lstm import lstm_layer


def pair(layers: int = 2, dtype: torch.dtype = torch.float64) -> tuple[LSTM, torch.nn.LSTM]:
    torch.manual_seed(0)
    mine = LSTM(6, 5, layers, dropout=0.0).to(dtype)
    theirs = torch.nn.LSTM(6, 5, layers, batch_first=True).to(dtype)
    theirs.load_state_dict(mine.state_dict())
    return mine, theirs


def test_fresh_parameters_are_those_of_torch():
    torch.manual_seed(7)
    mine = LSTM(6, 5, 3, dropout=0.5).state_dict()
    torch.manual_seed(7)
    theirs = torch.nn.LSTM(6, 5, 3).state_dict()
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (1, 9), (3, 1), (4, 9)])
def test_states_and_steps_are_those_of_torch(batch, steps):
    mine, theirs = pair()
    inputs = torch.randn(batch, steps, 6, dtype=torch.float64)
    expected = theirs(inputs)[0]
    torch.testing.assert_close(mine(inputs), expected)
    state = mine.start(batch)
    for step in range(steps):
        hidden, state = mine.advance(state, inputs[:, step])
        torch.testing.assert_close(hidden, expected[:, step])


def test_the_operator_has_the_states_and_gradients_of_torch():
    mine, theirs = pair(layers=1)
    inputs, pull = torch.randn(3, 7, 6, dtype=torch.float64), torch.randn(3, 7, 5, dtype=torch.float64)
    both = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    weight_ih, weight_hh, bias_ih, bias_hh = mine.parameters()
    states, expected = lstm_layer(both[0], weight_ih, weight_hh, bias_ih + bias_hh), theirs(both[1])[0]
    torch.testing.assert_close(states, expected)
    (states * pull).sum().backward()
    (expected * pull).sum().backward()
    torch.testing.assert_close(both[0].grad, both[1].grad)
    for own, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)


@pytest.mark.parametrize("steps", [1, 4])
def test_the_operator_passes_gradcheck(steps):
    shapes = (2, steps, 3), (8, 3), (8, 2), (8,)
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert gradcheck(lstm_layer, given)


def test_the_operator_is_registered_as_torch_wants_it():
    given = [torch.randn(shape, requires_grad=True) for shape in ((2, 4, 3), (8, 3), (8, 2), (8,))]
    torch.library.opcheck(
        lstm_layer, given, test_utils=("test_schema", "test_autograd_registration", "test_faketensor")
    )


@pytest.mark.filterwarnings("ignore")
def test_the_compiler_gets_one_graph_of_the_same_results():
    torch.compiler.reset()
    eager, _ = pair(layers=2, dtype=torch.float32)
    twin = copy.deepcopy(eager)
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    for batch, steps in ((3, 7), (2, 5)):
        inputs = torch.randn(batch, steps, 6)
        states, expected = compiled(inputs), eager(inputs)
        torch.testing.assert_close(states, expected)
        states.sum().backward()
        expected.sum().backward()
        for own, other in zip(twin.parameters(), eager.parameters(), strict=True):
            torch.testing.assert_close(own.grad, other.grad)


def test_dropout_lies_between_layers_and_only_in_training(monkeypatch):
    lstm, inputs = LSTM(6, 5, 2, dropout=0.9), torch.randn(3, 7, 6)
    assert not torch.allclose(lstm.train()(inputs), lstm.eval()(inputs))
    plain = lstm(inputs)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(lstm(inputs), plain)
    assert not torch.allclose(lstm.train()(inputs), plain)
    single = LSTM(6, 5, 1, dropout=0.9)
    assert torch.equal(single.train()(inputs), single.eval()(inputs))


def test_under_autocast_it_stays_in_float32():
    mine, _ = pair(dtype=torch.float32)
    inputs = torch.randn(3, 7, 6)
    with torch.autocast("cpu", torch.bfloat16):
        states = mine(inputs)
    assert torch.equal(states, mine(inputs))


def test_replaced_parameters_are_those_that_run():
    mine, theirs = pair()
    inputs = torch.randn(3, 7, 6, dtype=torch.float64)
    for module in (mine, theirs):
        torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l1")
        module.weight_ih_l0 = torch.nn.Parameter(torch.ones(20, 6, dtype=torch.float64))
    expected, _ = theirs(inputs)
    torch.testing.assert_close(mine(inputs), expected)
    state = mine.start(3)
    for step in range(7):
        hidden, state = mine.advance(state, inputs[:, step])
        torch.testing.assert_close(hidden, expected[:, step])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.ones(3, 7, 6).to_sparse(), r"expected a dense tensor, got one of layout torch\.sparse_coo"),
        (torch.ones(3, 7, 6, dtype=torch.int64), r"expected a float dtype, got torch\.int64"),
        (torch.ones(3, 7, 6).double(), r"expected torch\.float32, the weights' dtype, got torch\.float64"),
        (torch.ones(3, 7, 5), r"expected shape \(sequences, at least one step, 6\), got \(3, 7, 5\)"),
        (torch.ones(3, 0, 6), r"at least one step, 6\), got \(3, 0, 6\)"),
        ([1.0], "expected a torch tensor, got list"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, message):
    with pytest.raises(ValueError, match=f"LSTM: inputs: .*{message}"):
        LSTM(6, 5, 2, dropout=0.0)(inputs)


def test_the_operators_result_may_be_written_to_within_the_compiler():
    torch.compiler.reset()
    mine, _ = pair(dtype=torch.float32)
    inputs = torch.randn(3, 7, 6)
    compiled = torch.compile(lambda given: mine(given).relu_().sum(), fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(inputs), list(mine.parameters()))
    expected = torch.autograd.grad(mine(inputs).relu().sum(), list(mine.parameters()))
    torch.testing.assert_close(found, expected)
