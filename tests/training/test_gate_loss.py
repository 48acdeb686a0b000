"""What a gate adds to the loss: the formulas, over micro-batches as over one big batch, and from step to step."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from literal_models import SMALL

from lvm_fast.data.positions import AllPositions
from lvm_fast.data.windows import Windows
from lvm_fast.models.registry import create_model
from lvm_fast.training.fit import train
from lvm_fast.training.learner import Learner
from lvm_fast.training.objectives import balance_loss, next_vector_loss

CPU = torch.device("cpu")
EXPERTS = SMALL["specialist_gru"]["num_experts"]
UNEVEN = torch.tensor([0.5, 0.3, 0.0, 0.15, 0.05])
HEAVY = {"balance_weight": 3.0, "domain_weight": 2.0, "alpha_infonce": 0.0, "clip_norm": 1e9}


@pytest.fixture(params=["last_position", "all_positions"])
def objective(request):
    return request.param


@pytest.fixture
def windows(store, objective):
    """Windows that share chains, and whose targets are not all rows (the last half of each window)."""
    layout = AllPositions if objective == "all_positions" else Windows
    return layout(store, context_length=8, stride=4, min_coherence=0.3)


@pytest.fixture
def domains(store):
    return np.arange(len(store)) % EXPERTS


@pytest.fixture
def model():
    torch.manual_seed(3)
    return create_model("specialist_gru", **SMALL["specialist_gru"], dropout=0.0)


def slopes_of_a_step(model, recipe, windows, group, domains=None, load=UNEVEN):
    """The step, the gradients it found, and the learner afterwards."""
    pupil = Learner(copy.deepcopy(model), recipe, CPU, domains=domains)
    pupil.gate.load_state({"load": load})
    found, move = {}, pupil.optimizer.step

    def spy():
        found.update({name: p.grad.clone() for name, p in pupil.model.named_parameters() if p.grad is not None})
        move()

    pupil.optimizer.step = spy
    return pupil.step(windows, group, 1e-2), found, pupil


def by_hand(model, windows, group, domains, objective):
    """The loss of a whole group at once, in float64: three formulas, written down."""
    model = copy.deepcopy(model).double()
    context, lengths, target, positions = map(torch.from_numpy, windows.batch(group))
    context, target = context.double(), target.double()
    hidden = model.gru.states(model.input_norm(context), lengths=lengths)  # (B, N, H)
    if objective == "all_positions":
        delta = model.deltas(context, lengths).flatten(0, 1)[positions]
    else:
        delta = model(context, lengths)
    probabilities = torch.softmax(model.gate(hidden.flatten(0, 1)[positions]), dim=1)  # (P, E)
    labels = domains[windows.store.chain_of(windows.target_rows(group))]
    balance = sum(EXPERTS * UNEVEN[i].double() * probabilities[:, i].mean() for i in range(EXPERTS))
    wrong = -torch.stack([probabilities[p, label].log() for p, label in enumerate(labels)]).mean()
    plain = next_vector_loss(context.flatten(0, 1)[positions], delta, target, 0.0, 0.07)
    chosen = torch.bincount(probabilities.topk(2).indices.flatten(), minlength=EXPERTS)
    return plain + 3.0 * balance + 2.0 * wrong, model, chosen / chosen.sum()


def test_the_balance_loss_is_the_switch_transformer_s():
    scores, rng = torch.randn(40, EXPERTS, dtype=torch.float64), np.random.default_rng(1)
    chosen = rng.integers(0, EXPERTS, (40, 2))
    load = np.array([(chosen == i).sum() / 80 for i in range(EXPERTS)])
    exponentials = np.exp(scores.numpy())
    mean = (exponentials / exponentials.sum(axis=1, keepdims=True)).mean(axis=0)
    expected = EXPERTS * sum(load[i] * mean[i] for i in range(EXPERTS))
    assert balance_loss(scores, torch.from_numpy(load)).item() == pytest.approx(expected, rel=1e-12)
    even = torch.full((EXPERTS,), 1 / EXPERTS, dtype=torch.float64)
    assert balance_loss(scores, even).item() == pytest.approx(1.0)
    assert balance_loss(torch.zeros_like(scores), torch.from_numpy(load)).item() == pytest.approx(1.0)
    one = torch.eye(EXPERTS, dtype=torch.float64)[0]
    assert balance_loss(1e3 * one.expand(40, -1), one).item() == pytest.approx(EXPERTS)


def test_a_step_has_the_gradient_of_the_formulas(model, recipe, windows, domains, objective):
    group = np.arange(0, len(windows), 2)
    recipe = recipe(**HEAVY, batch_size=8, objective=objective)
    step, found, pupil = slopes_of_a_step(model, recipe, windows, group, domains)
    loss, twin, load = by_hand(model, windows, group, domains, objective)
    loss.backward()
    assert step.loss == pytest.approx(loss.item(), rel=1e-5)
    expected = {name: p.grad for name, p in twin.named_parameters()}
    assert found.keys() == expected.keys()
    for name, grad in expected.items():
        torch.testing.assert_close(found[name].double(), grad, rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(pupil.gate.state()["load"].double(), load.double())


def test_micro_batches_come_to_one_big_batch(model, recipe, windows, domains, objective):
    group = np.arange(len(windows))
    settings = {**HEAVY, "objective": objective}
    small, pieces, first = slopes_of_a_step(model, recipe(**settings, batch_size=5), windows, group, domains)
    large, whole, second = slopes_of_a_step(model, recipe(**settings, batch_size=500), windows, group, domains)
    assert small.loss == pytest.approx(large.loss, rel=1e-5)
    for name, grad in whole.items():
        torch.testing.assert_close(pieces[name], grad, rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(first.gate.state(), second.gate.state())


def test_the_load_of_a_step_weighs_in_the_next(model, recipe, windows, objective):
    settings = recipe(**HEAVY, objective=objective)
    pupil = Learner(model, settings, CPU)
    assert pupil.gate.state()["load"].tolist() == [pytest.approx(1 / EXPERTS)] * EXPERTS
    pupil.step(windows, np.arange(9), 1e-3)
    load = pupil.gate.state()["load"]
    assert load.sum().item() == pytest.approx(1.0)
    assert load.std() > 0.05
    clean, _, after = slopes_of_a_step(model, settings, windows, np.arange(9), load=load)
    assert pupil.step(windows, np.arange(9), 1e-2) == clean
    torch.testing.assert_close(pupil.gate.state(), after.gate.state())


def test_a_step_that_failed_is_not_counted(model, recipe, windows, objective, monkeypatch):
    pupil = Learner(copy.deepcopy(model), recipe(**HEAVY, objective=objective), CPU)
    with monkeypatch.context() as patch:
        patch.setattr("lvm_fast.training.learner.next_vector_loss", lambda *given: given[1].sum() * torch.inf)
        with pytest.raises(ValueError, match="the loss is"):
            pupil.step(windows, np.arange(4), 1e-3)
    pupil.step(windows, np.arange(4, 9), 1e-3)
    other = Learner(copy.deepcopy(model), recipe(**HEAVY, objective=objective), CPU)
    other.step(windows, np.arange(4, 9), 1e-3)
    torch.testing.assert_close(pupil.gate.state(), other.gate.state())


def test_models_in_one_piece_have_nothing_to_balance(recipe, windows, domains, objective):
    torch.manual_seed(3)
    plain = create_model("gru", **SMALL["gru"])
    pupils = [
        Learner(copy.deepcopy(plain), recipe(balance_weight=weight, objective=objective), CPU, domains=domains)
        for weight in (0.0, 1e3)
    ]
    first, second = (pupil.step(windows, np.arange(9), 1e-3) for pupil in pupils)
    assert first == second
    assert pupils[0].gate.state() == {}


def test_a_heavy_weight_gives_the_neglected_experts_work(model, recipe, store):
    windows, loads = Windows(store, context_length=8, stride=2), {}
    with torch.no_grad():
        model.gate.bias[:2] += 3.0
    for weight in (0.0, 3.0):
        pupil = Learner(copy.deepcopy(model), recipe(balance_weight=weight, batch_size=64), CPU)
        for _ in range(40):
            pupil.step(windows, np.arange(64), 1e-2)
        loads[weight] = pupil.gate.state()["load"]
    assert loads[0.0].tolist() == [0.5, 0.5, 0.0, 0.0, 0.0]
    assert loads[3.0][2:].sum() > 0.2


def test_the_gate_learns_the_domains_it_is_told(model, recipe, store):
    windows, domains = Windows(store, context_length=8, stride=2), np.arange(len(store)) % 2
    group = np.flatnonzero(windows.chains < 4)
    pupil = Learner(model, recipe(domain_weight=1.0, balance_weight=0.0, batch_size=64), CPU, domains=domains)
    losses = [pupil.step(windows, group, 2e-2).loss for _ in range(30)]
    assert losses[-1] < 0.3 * losses[0]
    context, lengths, _, _ = map(torch.from_numpy, windows.batch(group))
    with torch.no_grad():
        first = model.eval().routes(context, lengths).argmax(dim=1).numpy()
    np.testing.assert_array_equal(first, domains[windows.chains[group]])


def test_a_continued_run_equals_an_uninterrupted_one_bit_for_bit(recipe, tmp_path):
    settings = {
        "model_type": "specialist_gru",
        "model": {**SMALL["specialist_gru"], "dropout": 0.3},
        "balance_weight": 1.0,
        "domains": "clusters",
        "patience": 9,
    }
    whole = train(recipe(**settings, epochs=2, output_dir=str(tmp_path / "whole")))
    train(recipe(**settings, epochs=1))
    again = train(recipe(**settings, epochs=2, resume=True))
    states = [torch.load(folder / "last.pt", weights_only=True) for folder in (whole.output_dir, again.output_dir)]
    for part in ("model_state_dict", "gate_state"):
        torch.testing.assert_close(states[0][part], states[1][part], rtol=0, atol=0)
    assert states[0]["gate_state"]["load"].sum().item() == pytest.approx(1.0)
