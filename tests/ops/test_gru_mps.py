"""The choice of a recurrence by self-check, with the CPU in the place of the device, and a native way that breaks."""

from __future__ import annotations

import logging
import re

import pytest
import torch

from lvm_fast.layers import gru
from lvm_fast.layers.gru_dispatch import run_in_torch, run_on_core
from lvm_fast.ops import gru_mps
from lvm_fast.ops.gru_mps import Problem, choose_recurrence, run_checked, step_loop

CPU = torch.device("cpu")
SMALL = Problem(batch=4, steps=8, input_size=6, hidden_size=10, num_layers=2)


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch, caplog):
    monkeypatch.setattr(gru_mps, "_trust", {})
    caplog.set_level(logging.INFO)


def core(inputs, initial, layers, dropout, lengths):
    return run_on_core(inputs, initial, layers, dropout, lengths)


def wrong_gradients(inputs, *rest):
    """Right states, gradients that are off: what MPS does."""
    states, final = run_in_torch(inputs, *rest)
    return states + 0.01 * (states - states.detach()), final


def wrong_above(limit):
    def run(inputs, *rest):
        way = wrong_gradients if inputs.shape[0] * inputs.shape[1] > limit else run_in_torch
        return way(inputs, *rest)

    return run


def not_a_number(inputs, *rest):
    states, final = run_in_torch(inputs, *rest)
    return states * float("nan"), final


def not_there(*_):
    raise NotImplementedError("no such operator on this device")


def made(problem, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    gru = torch.nn.GRU(problem.input_size, problem.hidden_size, problem.num_layers).to(dtype)
    layers = [
        tuple(getattr(gru, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        for layer in range(problem.num_layers)
    ]
    inputs = torch.randn(problem.steps, problem.batch, problem.input_size, dtype=dtype, requires_grad=True)
    initial = torch.randn(problem.num_layers, problem.batch, problem.hidden_size, dtype=dtype, requires_grad=True)
    return gru, layers, inputs, initial


@pytest.mark.parametrize(
    "problem",
    [SMALL, Problem(1, 1, 3, 1, 1), Problem(3, 30, 5, 17, 4), Problem(2, 5, 7, 16, 3)],
    ids=str,
)
def test_the_step_loop_is_torchs_gru(problem):
    gru, layers, inputs, initial = made(problem)
    expected = gru(inputs, initial)
    found = step_loop(inputs, initial, layers, 0.0, None)
    pulls = [torch.randn_like(result) for result in expected]
    sources = [inputs, initial, *gru.parameters()]
    for mine, right in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, right)
    slopes = torch.autograd.grad(found, sources, pulls)
    for mine, right in zip(slopes, torch.autograd.grad(expected, sources, pulls), strict=True):
        torch.testing.assert_close(mine, right)


def test_the_step_loop_keeps_the_last_state_beyond_a_length():
    _, layers, inputs, initial = made(SMALL)
    lengths = torch.tensor([3, 8, 1, 5])
    states, final = step_loop(inputs, initial, layers, 0.0, lengths)
    for row, length in enumerate(lengths):
        alone, last = step_loop(inputs[:length, row : row + 1], initial[:, row : row + 1], layers, 0.0, None)
        torch.testing.assert_close(states[:length, row], alone[:, 0])
        torch.testing.assert_close(final[:, row], last[:, 0])


def test_the_step_loop_drops_out_between_layers_only():
    _, layers, inputs, initial = made(SMALL)
    plain, _ = step_loop(inputs, initial, layers, 0.0, None)
    assert not torch.equal(step_loop(inputs, initial, layers, 0.5, None)[0], plain)
    torch.testing.assert_close(
        step_loop(inputs, initial[:1], layers[:1], 0.5, None)[0],
        step_loop(inputs, initial[:1], layers[:1], 0.0, None)[0],
    )


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
def test_a_native_way_that_is_right_is_taken(caplog, ragged, gradients):
    problem = SMALL._replace(ragged=ragged, gradients=gradients)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    assert choose_recurrence(CPU, problem, run_in_torch, core) == "native"
    assert torch.equal(torch.rand(1), expected)  # the program's random numbers go on as they were
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "GRU on cpu: native (4 x 8 steps" in caplog.text


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (wrong_gradients, r"native is off by \d\.\de-0\d in its gradients"),
        (not_a_number, "native is off by inf in its states"),
        (not_there, r"native fails \(no such operator on this device\)"),
    ],
)
def test_one_that_is_not_gives_way_to_the_step_loop_and_the_reason_is_logged(caplog, broken, reason):
    assert choose_recurrence(CPU, SMALL, broken, core) == "steps"
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert caplog.messages[0].startswith("GRU on cpu: steps (4 x 8 steps, 2 layers of 10): agrees with the CPU; native")
    assert re.search(reason, caplog.messages[0])


def test_where_gradients_are_not_wanted_they_do_not_matter():
    assert choose_recurrence(CPU, SMALL._replace(gradients=False), wrong_gradients, core) == "native"
    assert choose_recurrence(CPU, SMALL, wrong_gradients, core) == "steps"


def test_where_both_are_wrong_the_cpu_does_it(monkeypatch, caplog):
    monkeypatch.setattr(gru_mps, "step_loop", not_there)
    assert choose_recurrence(CPU, SMALL, wrong_gradients, core) == "cpu"
    assert "GRU on cpu: the CPU's (4 x 8 steps, 2 layers of 10); native is off by" in caplog.text
    assert "steps fails" in caplog.text


def test_it_is_found_out_once_for_a_size_and_what_follows_from_it(monkeypatch):
    checked = []
    find = gru_mps._fault
    monkeypatch.setattr(gru_mps, "_fault", lambda *given: checked.append(given[2]) or find(*given))
    native = wrong_above(100)

    def ask(batch, steps, **changes):
        checked.clear()
        way = choose_recurrence(CPU, SMALL._replace(batch=batch, steps=steps, **changes), native, core)
        return way, len(checked)

    assert ask(4, 20) == ("native", 1)
    assert ask(4, 20) == ask(2, 40) == ask(1, 5) == ("native", 0)  # no larger than what was right
    assert ask(4, 40) == ("steps", 2)
    assert ask(5, 32) == ("steps", 0)
    assert ask(4, 50) == ("steps", 1)  # native was wrong for less, the loop is still to be checked
    assert ask(4, 25) == ("native", 1)
    assert ask(4, 25, ragged=True) == ("native", 1)
    assert ask(4, 25, hidden_size=11) == ("native", 1)


@pytest.mark.parametrize("lengths", [None, [3, 8, 1, 5]])
@pytest.mark.parametrize("way", ["native", "steps", "cpu"])
def test_whatever_the_way_the_results_are_the_same(monkeypatch, way, lengths):
    gru, layers, inputs, initial = made(SMALL, dtype=torch.float32)
    counts = None if lengths is None else torch.tensor(lengths)
    order = torch.tensor([1, 3, 0, 2]) if lengths else torch.arange(4)  # the core takes falling lengths
    inputs, initial = inputs[:, order], initial[:, order]
    counts = None if counts is None else counts[order]
    taken = []
    monkeypatch.setattr(gru_mps, "choose_recurrence", lambda *_: way)
    monkeypatch.setattr(gru_mps, "step_loop", lambda *given: taken.append("steps") or step_loop(*given))

    def noted(name, run):
        return lambda *given: taken.append(name) or run(*given)

    run = (noted("native", run_in_torch), noted("cpu", core))
    states, final = run_checked(inputs, initial, layers, 0.0, counts, *run)
    assert taken == [way]
    for row in range(4):
        length = 8 if counts is None else int(counts[row])
        alone, last = gru(inputs[:length, row : row + 1], initial[:, row : row + 1].contiguous())
        torch.testing.assert_close(states[:length, row], alone[:, 0])
        torch.testing.assert_close(final[:, row], last[:, 0])
    final.sum().backward()
    assert all(parameter.grad is not None for parameter in gru.parameters())


@pytest.mark.parametrize("lengths", [None, [3, 8, 1, 5]])
def test_a_gru_on_a_device_that_is_not_trusted_is_checked_first(monkeypatch, caplog, lengths):
    torch.manual_seed(0)
    subject = gru.GRU(6, 10, 2, batch_first=True)
    inputs = torch.randn(4, 8, 6)
    counts = None if lengths is None else torch.tensor(lengths)
    expected = subject.states(inputs, lengths=counts)
    ends = torch.full((4,), 8) if counts is None else counts
    pull = torch.randn_like(expected) * (torch.arange(8) < ends[:, None])[..., None]
    slopes = torch.autograd.grad(expected, list(subject.parameters()), pull)

    monkeypatch.setattr(gru.GRU, "_on_core", lambda self, *given: False)
    monkeypatch.setattr(gru, "_CHECKED", ("cpu",))
    monkeypatch.setattr(gru, "run_in_torch", wrong_gradients)
    found = subject.states(inputs, lengths=counts)
    assert "GRU on cpu: steps (4 x 8 steps" in caplog.text
    for mine, right in zip(torch.autograd.grad(found, list(subject.parameters()), pull), slopes, strict=True):
        torch.testing.assert_close(mine, right)

    monkeypatch.setattr(gru_mps, "_trust", {})
    monkeypatch.setattr(gru_mps, "step_loop", not_there)
    found = subject.states(inputs, lengths=counts)
    assert "GRU on cpu: the CPU's (4 x 8 steps" in caplog.text
    for mine, right in zip(torch.autograd.grad(found, list(subject.parameters()), pull), slopes, strict=True):
        torch.testing.assert_close(mine, right)
