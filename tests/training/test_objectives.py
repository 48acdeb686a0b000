"""What a step learns from: the last position or all of them, and candidates from the whole effective batch."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch

from lvm_fast.cli import main
from lvm_fast.data.positions import AllPositions
from lvm_fast.data.windows import Windows
from lvm_fast.models.base import LatentVectorModel
from lvm_fast.models.memory_gru import MemoryGRU
from lvm_fast.models.registry import create_model
from lvm_fast.ops.infonce import near_copies
from lvm_fast.ops.rowwise import l2_normalize
from lvm_fast.retrieval.near_duplicates import ALIKE
from lvm_fast.training import learner as learner_module
from lvm_fast.training.fit import train
from lvm_fast.training.learner import Learner
from lvm_fast.training.load_data import load_data
from lvm_fast.training.negatives.shared_candidates import StepTargets
from lvm_fast.training.objectives import Negatives, next_vector_loss

CPU = torch.device("cpu")
OBJECTIVES = {"last_position": Windows, "all_positions": AllPositions}


@pytest.fixture(params=OBJECTIVES)
def objective(request):
    return request.param


def model_of(dropout):
    torch.manual_seed(3)
    return create_model("memory_gru", input_dim=16, hidden_dim=12, num_layers=3, memory_slots=8, dropout=dropout)


class RandomNegatives:
    """Up to three random wrong answers of each chunk."""

    def __init__(self, store):
        rng = np.random.default_rng(8)
        vectors = rng.standard_normal((len(store.vectors), 3, store.dim)).astype(np.float32)
        self.vectors = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
        self.is_there = rng.random(vectors.shape[:2]) < 0.6

    def for_targets(self, targets):
        return self.vectors[targets], self.is_there[targets]


def gradient_of(model, recipe, windows, group, own=None, seed=11):
    """What reaches the optimiser, flat, and the step."""
    pupil, seen = Learner(copy.deepcopy(model), recipe, CPU, hard_negatives=own), []
    pupil.optimizer.step = lambda: seen.append(flat_gradient(pupil.model))
    torch.manual_seed(seed)
    step = pupil.step(windows, group, 1e-3)
    return seen[0], step


def flat_gradient(model):
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def one_big_batch(model, recipe, windows, group, own=None, seed=11):
    """The same gradient with all predictions in one graph and one loss; dropout as the micro-batches draw it."""
    model = copy.deepcopy(model).train()
    group = group[np.argsort(windows.lengths[group], kind="stable")]
    torch.manual_seed(seed)
    current, delta, target = [], [], []
    with model.deferred_memory_writes():
        for first in range(0, len(group), recipe.batch_size):
            context, lengths, wanted, positions = map(
                torch.from_numpy, windows.batch(group[first : first + recipe.batch_size])
            )
            rows, steps = positions // context.shape[1], positions % context.shape[1]
            whole = model.deltas(context, lengths) if recipe.objective == "all_positions" else None
            delta.append(model(context, lengths) if whole is None else whole[rows, steps])
            current.append(context[rows, steps])
            target.append(wanted)
    target = torch.cat(target)
    mine = map(torch.from_numpy, own.for_targets(windows.target_rows(group))) if own else ()
    wanted = l2_normalize(target)
    shared = l2_normalize(torch.from_numpy(windows.store.vectors[:])) if recipe.infonce_batch == "bank" else wanted
    loss = next_vector_loss(
        torch.cat(current),
        torch.cat(delta),
        target,
        recipe.alpha_infonce,
        recipe.temperature,
        Negatives(shared, near_copies(wanted, shared, ALIKE), *mine),
    )
    loss.backward()
    return flat_gradient(model), loss.item()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(("infonce_batch", "has_own"), [("effective", False), ("effective", True), ("bank", True)])
def test_negatives_give_the_gradient_of_one_big_batch(store, recipe, objective, infonce_batch, has_own, dropout):
    windows = OBJECTIVES[objective](store, context_length=8, stride=2)
    asked = recipe(
        objective=objective, infonce_batch=infonce_batch, alpha_infonce=2.0, accumulation_steps=32, clip_norm=1e9
    )
    group = np.random.default_rng(0).permutation(len(windows))[:203]  # the last micro-batch falls short
    model, own = model_of(dropout), RandomNegatives(store) if has_own else None
    found, step = gradient_of(model, asked, windows, group, own)
    expected, loss = one_big_batch(model, asked, windows, group, own)
    assert ((found - expected).norm() / expected.norm()).item() < 1e-6
    assert step.loss == pytest.approx(loss, rel=1e-6)
    assert step.targets == windows.counts[group].sum()
    plain, _ = gradient_of(model, recipe(**{**vars(asked), "infonce_batch": "micro"}), windows, group)
    assert ((plain - expected).norm() / expected.norm()).item() > 0.05


@pytest.mark.parametrize("size", [256, 488])
def test_hundreds_of_candidates_meet_every_micro_batch(store, recipe, monkeypatch, size):
    windows = Windows(store, context_length=2, stride=1, min_length=2)
    seen = []
    true_loss = learner_module.next_vector_loss

    def spy(current, delta, target, alpha, temperature, negatives, adapted):
        rows, places = negatives.masked
        seen.append((len(target), len(negatives.shared)))
        torch.testing.assert_close(negatives.shared[places][rows.argsort(stable=True)], l2_normalize(target))
        return true_loss(current, delta, target, alpha, temperature, negatives, adapted)

    monkeypatch.setattr(learner_module, "next_vector_loss", spy)
    asked = recipe(infonce_batch="effective", batch_size=64, accumulation_steps=8)
    _, step = gradient_of(model_of(0.0), asked, windows, np.arange(size))
    assert seen == [(min(64, size - first), size) for first in range(0, size, 64)]
    assert np.isfinite(step.loss)


def test_without_infonce_no_candidates_are_gathered(store, recipe, monkeypatch):
    windows = Windows(store, context_length=8, stride=2)
    monkeypatch.setattr(StepTargets, "begin", None)
    gradient_of(model_of(0.0), recipe(infonce_batch="effective", alpha_infonce=0.0), windows, np.arange(9))


def test_all_positions_is_the_mean_over_every_prefix(store, recipe):
    windows = AllPositions(store, context_length=8)
    group = np.arange(5)
    asked = recipe(objective="all_positions", alpha_infonce=0.0, batch_size=2, accumulation_steps=3, clip_norm=1e9)
    model = model_of(0.0)
    found, step = gradient_of(model, asked, windows, group)
    losses = []
    with model.deferred_memory_writes():
        for window in group:
            start, target = windows.starts[window], windows.targets[window]
            for row in range(start + 1, target + 1):
                context = torch.from_numpy(store.vectors[start:row])[None]
                wanted = torch.from_numpy(store.vectors[row])[None]
                losses.append(next_vector_loss(context[:, -1], model(context), wanted, 0.0, 1.0))
    torch.stack(losses).mean().backward()
    expected = flat_gradient(model)
    assert step.targets == len(losses) == windows.lengths[:5].sum()
    assert step.loss == pytest.approx(torch.stack(losses).mean().item(), rel=1e-6)
    assert ((found - expected).norm() / expected.norm()).item() < 1e-5


def test_a_run_over_all_positions_learns_and_says_how_much_there_is(recipe):
    result = train(recipe(objective="all_positions", stride=None, epochs=8, lr=1e-2, accumulation_steps=1, patience=8))
    assert result.history[-1]["hit1"] > result.untrained["hit1"] + 30
    assert result.history[-1]["train_loss"] < 0.8 * result.history[0]["train_loss"]
    log = (result.output_dir / "train.log").read_text()
    assert re.search(r"data: training \d+ windows with \d+ targets of \d+ chains", log)


def test_stride_is_the_whole_context_for_all_positions(recipe):
    for settings, stride in (({}, 8), ({"stride": 3}, 3)):
        windows = load_data(recipe(**{"stride": None, **settings}, objective="all_positions")).training
        assert isinstance(windows, AllPositions)
        assert windows.stride == stride
    assert load_data(recipe(stride=None)).training.stride == 4


def test_the_command_takes_objective_and_candidates(recipe, store, tmp_path):
    store.save(tmp_path / "store.safetensors")
    flags = ["--objective", "all_positions", "--infonce-batch", "effective", "--epochs", "1", "--no-tensorboard"]
    sizes = ["--model", "hidden_dim=12", "num_layers=2", "memory_slots=8", "--context-length", "8", "--device", "cpu"]
    folder = tmp_path / "run"
    command = ["train", "--data", str(tmp_path / "store.safetensors"), "--output-dir", str(folder)]
    assert main([*command, *flags, *sizes]) == 0
    assert "TRAINING COMPLETE" in (folder / "train.log").read_text()


def test_a_run_of_before_these_settings_can_go_on(recipe):
    first = train(recipe(epochs=1))
    state = torch.load(first.output_dir / "last.pt", weights_only=True)
    for name in ("objective", "infonce_batch"):
        del state["args"][name]
    torch.save(state, first.output_dir / "last.pt")
    assert len(train(recipe(epochs=2, resume=True)).history) == 2
    with pytest.raises(ValueError, match="objective was 'last_position', is 'all_positions'"):
        train(recipe(epochs=3, resume=True, objective="all_positions"))


def test_a_model_that_is_not_causal_is_refused_before_anything_is_written(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(MemoryGRU, "deltas", LatentVectorModel.deltas)
    with pytest.raises(ValueError, match="objective = 'all_positions' needs a causal model; memory_gru is none"):
        train(recipe(objective="all_positions"))
    assert not (tmp_path / "run").exists()
