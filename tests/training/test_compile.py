"""The whole training step under torch.compile(fullgraph=True): model, reconstruction and loss, not one graph break."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from literal_models import SMALL

from lvm_fast.data.positions import AllPositions
from lvm_fast.data.windows import Windows
from lvm_fast.models.registry import create_model
from lvm_fast.training.learner import Learner
from lvm_fast.training.load_data import TrainingData
from lvm_fast.training.negatives.hard_negatives import hard_negatives

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("bfloat16_everywhere")]
SOFT = {"enable_soft_negatives": True, "soft_negative_cosine_range": [-0.5, 0.9]}
SETTINGS = [
    {},
    {"precision": "bfloat16"},
    {"infonce_batch": "effective"},
    {"infonce_batch": "bank", "negatives": "prediction", **SOFT},
    {"objective": "all_positions", "infonce_batch": "effective", "precision": "bfloat16"},
]


def slopes(learner, loss_of, windows, groups):
    """Losses, gradients and what waits for the end of the step, over batches of several shapes."""
    model, losses = learner.model.train(), []
    learner.negatives.begin(windows.store, windows.target_rows(np.concatenate(groups)))
    with model.deferred_memory_writes():
        for group in groups:
            context, lengths, target, positions = map(torch.from_numpy, windows.batch(group))
            rows = windows.target_rows(group)
            negatives, domains = (
                learner.negatives.for_targets(rows, target),
                learner.gate.domains_of(windows.store, rows),
            )
            loss = loss_of(context, lengths, target, positions, negatives, domains)
            loss.backward()
            losses.append(loss.item())
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return torch.tensor(losses), gradients, [*model.waiting_writes(), *learner.gate.waiting()]


def assert_whole(store, recipe, settings, backend, name="memory_gru"):
    torch.compiler.reset()
    torch.manual_seed(3)
    without = {} if name in ("gru", "amn") else {"dropout": 0.0}
    model = create_model(name, **SMALL[name], **without)
    asked = recipe(**settings)
    layout = AllPositions if asked.objective == "all_positions" else Windows
    windows = layout(store, context_length=8, stride=5)
    groups = np.arange(8), np.arange(8, 16), np.arange(16, 23)
    own = hard_negatives(asked, TrainingData(windows, windows, store)) if asked.has_hard_negatives else None
    domains = np.arange(len(store)) % 5
    eager, whole = (
        Learner(copy.deepcopy(model), asked, torch.device("cpu"), hard_negatives=own, domains=domains) for _ in range(2)
    )
    for learner in (eager, whole):
        learner.gate.load_state({"load": torch.tensor([0.5, 0.3, 0.0, 0.15, 0.05])})  # most have no gate
    if own is not None:
        own.start_epoch(eager, windows, 1)
        assert own.for_targets(windows.targets)[1].any()
    compiled = torch.compile(whole._loss, fullgraph=True, backend=backend)

    losses, gradients, writes = slopes(eager, eager._loss, windows, groups)
    found, slope, waiting = slopes(whole, compiled, windows, groups)
    rtol = 0.02 if asked.precision == "bfloat16" else 1e-5
    torch.testing.assert_close(found, losses, rtol=rtol, atol=0)
    assert slope.keys() == gradients.keys()
    both = [torch.cat([grad.flatten() for grad in each.values()]) for each in (slope, gradients)]
    assert ((both[0] - both[1]).norm() / both[1].norm()).item() < rtol
    for mine, theirs in zip(waiting, writes, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=rtol, atol=1e-3 * rtol)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_step_is_one_graph_and_its_gradients_are_the_eager_ones(store, recipe, settings):
    assert_whole(store, recipe, settings, "aot_eager")


def test_the_step_of_a_mixture_with_balance_and_domains_is_one_graph(store, recipe):
    settings = {"objective": "all_positions", "balance_weight": 1.0}
    assert_whole(store, recipe, settings, "aot_eager", "specialist_gru")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("infonce_batch", ["effective", "bank"])
def test_so_it_is_with_the_real_compiler(store, recipe, infonce_batch, precision):
    settings = {"objective": "all_positions", "infonce_batch": infonce_batch, "precision": precision}
    settings |= {"negatives": "prediction", **SOFT} if infonce_batch == "bank" else {}
    assert_whole(store, recipe, settings, "inductor")


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "objective"), [("aot_eager", "last_position"), ("inductor", "all_positions")])
@pytest.mark.parametrize("name", [name for name in SMALL if name != "memory_gru"])
def test_so_it_is_with_every_model_type(store, recipe, name, backend, objective):
    assert_whole(store, recipe, {"objective": objective}, backend, name)


def test_a_step_with_dropout_is_one_graph(store, recipe):
    torch.compiler.reset()
    model = create_model("memory_gru", input_dim=16, hidden_dim=12, num_layers=2, memory_slots=8, dropout=0.5)
    learner = Learner(model, recipe(), torch.device("cpu"))
    context, lengths, target, positions = map(torch.from_numpy, Windows(store, 8).batch(np.arange(8)))
    compiled = torch.compile(learner._loss, fullgraph=True, backend="aot_eager")
    with model.deferred_memory_writes():
        losses = {compiled(context, lengths, target, positions, None).item() for _ in range(3)}
    assert len(losses) == 3
