"""One optimiser step: accumulation, clipping, the memory write, and losses that are not finite."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from lvm_fast.data.windows import Windows
from lvm_fast.models.registry import create_model
from lvm_fast.training import learner as learner_module
from lvm_fast.training.learner import Learner

CPU = torch.device("cpu")


@pytest.fixture
def windows(store):
    return Windows(store, context_length=8, stride=3)


@pytest.fixture
def model():
    torch.manual_seed(3)
    return create_model("memory_gru", input_dim=16, hidden_dim=12, num_layers=2, memory_slots=8, dropout=0.0)


def taught(model, recipe, windows, group, lr=1e-2):
    pupil = Learner(copy.deepcopy(model), recipe, CPU)
    step = pupil.step(windows, group, lr)
    return step, pupil.model.state_dict()


def test_predictions_are_those_of_evaluation_mode_and_leave_the_model_in_training(recipe, windows):
    torch.manual_seed(3)
    model = create_model("recency_mixer", input_dim=16, hidden_dim=12, dropout=0.5).train()
    chosen = np.arange(5)
    quiet = Learner(copy.deepcopy(model).eval(), recipe(), CPU).predict(windows, chosen)
    np.testing.assert_array_equal(Learner(model, recipe(), CPU).predict(windows, chosen), quiet)
    assert all(module.training for module in model.modules())


def test_accumulation_is_the_mean_over_the_whole_group(model, recipe, windows):
    group = np.arange(21)  # micro-batches of 8, 8 and 5
    settings = {"alpha_infonce": 0.0, "accumulation_steps": 3}  # InfoNCE depends on the micro-batch
    pieces, after_pieces = taught(model, recipe(**settings, batch_size=8), windows, group)
    whole, after_whole = taught(model, recipe(**settings, batch_size=21), windows, group)
    assert pieces.loss == pytest.approx(whole.loss, rel=1e-5)
    assert pieces.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)
    assert pieces.vectors == whole.vectors == windows.lengths[:21].sum()
    torch.testing.assert_close(after_pieces["memory.memory"], after_whole["memory.memory"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(after_pieces["fusion.0.weight"], after_whole["fusion.0.weight"], rtol=1e-3, atol=1e-4)


def test_the_memory_is_written_once_a_step_after_the_weights_moved(model, recipe, windows, monkeypatch):
    pupil = Learner(model, recipe(), CPU)
    before = model.memory.memory.clone()
    seen = []
    move = pupil.optimizer.step
    monkeypatch.setattr(
        pupil.optimizer, "step", lambda: (seen.append(torch.equal(model.memory.memory, before)), move())
    )
    pupil.step(windows, np.arange(16), 1e-3)
    assert seen == [True]
    kept = 0.9 * before
    rank = torch.linalg.matrix_rank(model.memory.memory - kept, rtol=1e-3)
    assert rank == 1  # one outer product, not one a micro-batch


def test_dead_weights_stay_as_they_were(model, recipe, windows):
    _, after = taught(model, recipe(weight_decay=0.5), windows, np.arange(16))
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, after[name])}
    assert model.state_dict().keys() - moved == {"memory.write_gate.weight", "memory.write_gate.bias"}


def test_the_gradient_is_clipped(model, recipe, windows, monkeypatch):
    pupil = Learner(model, recipe(clip_norm=1e-3), CPU)
    norms = []
    move = pupil.optimizer.step

    def spy():
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norms.append(torch.nn.utils.get_total_norm(gradients).item())
        move()

    monkeypatch.setattr(pupil.optimizer, "step", spy)
    step = pupil.step(windows, np.arange(16), 1e-3)
    assert step.grad_norm > 1e-3
    assert norms == [pytest.approx(1e-3, rel=1e-3)]


def test_the_rate_of_the_step_is_used(model, recipe, windows):
    start = model.state_dict()["output_proj.0.weight"].clone()
    slow = taught(model, recipe(weight_decay=0.0), windows, np.arange(8), lr=1e-4)[1]["output_proj.0.weight"] - start
    fast = taught(model, recipe(weight_decay=0.0), windows, np.arange(8), lr=1e-3)[1]["output_proj.0.weight"] - start
    torch.testing.assert_close(fast, 10 * slow, rtol=1e-2, atol=1e-6)


def test_a_loss_that_is_not_finite_changes_nothing(model, recipe, windows, monkeypatch):
    pupil = Learner(model, recipe(), CPU)
    before = copy.deepcopy(model.state_dict())
    true_loss = learner_module.next_vector_loss
    monkeypatch.setattr(learner_module, "next_vector_loss", lambda *given: true_loss(*given) * float("inf"))
    with pytest.raises(ValueError, match=r"the loss is inf, the norm of its gradient (inf|nan); expected finite"):
        pupil.step(windows, np.arange(16), 1e-3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    monkeypatch.undo()
    clean, after = taught(model, recipe(), windows, np.arange(16))
    again = pupil.step(windows, np.arange(16), 1e-2)  # nothing of the bad step is left
    assert again == clean
    assert all(torch.equal(tensor, after[name]) for name, tensor in model.state_dict().items())


def test_recompute_reaches_the_gru_and_changes_no_result(model, recipe, windows):
    kept, after_kept = taught(model, recipe(), windows, np.arange(16))
    assert not model.gru.recompute
    Learner(model, recipe(recompute=True), CPU)
    assert model.gru.recompute
    again, after_again = taught(model, recipe(), windows, np.arange(16))  # a recipe without it leaves it on
    assert Learner(model, recipe(), CPU).model.gru.recompute
    assert again.loss == pytest.approx(kept.loss, rel=1e-6)
    assert again.grad_norm == pytest.approx(kept.grad_norm, rel=1e-5)
    for name, tensor in after_kept.items():
        torch.testing.assert_close(after_again[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def test_bfloat16_autocast_is_close_to_float32(model, recipe, windows, bfloat16_everywhere):
    full, _ = taught(model, recipe(), windows, np.arange(16))
    rough, _ = taught(model, recipe(precision="bfloat16"), windows, np.arange(16))
    assert rough.loss != full.loss
    assert rough.loss == pytest.approx(full.loss, rel=0.02)


def test_where_bfloat16_would_be_emulated_training_is_in_float32(model, recipe, windows, monkeypatch):
    monkeypatch.setattr(learner_module, "multiplies_bfloat16", lambda device: False)
    full, after_full = taught(model, recipe(), windows, np.arange(16))
    same, after_same = taught(model, recipe(precision="bfloat16"), windows, np.arange(16))
    assert same == full
    assert all(torch.equal(tensor, after_same[name]) for name, tensor in after_full.items())


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # the compiler's own look at a tensor
def test_the_compiled_step_equals_the_eager_one(model, recipe, windows, monkeypatch):
    torch.compiler.reset()
    compile_as_is = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call: compile_as_is(call, backend="aot_eager"))
    eager, after_eager = taught(model, recipe(), windows, np.arange(13))
    compiled, after_compiled = taught(model, recipe(compile=True), windows, np.arange(13))
    assert compiled.loss == pytest.approx(eager.loss, rel=1e-5)
    for name, tensor in after_eager.items():
        torch.testing.assert_close(after_compiled[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_step_compiles_with_the_real_compiler(model, recipe, windows):
    torch.compiler.reset()
    eager, _ = taught(model, recipe(), windows, np.arange(13))
    compiled, _ = taught(model, recipe(compile=True), windows, np.arange(13))
    assert compiled.loss == pytest.approx(eager.loss, rel=1e-4)


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_a_compiler_that_fails_is_reported(model, recipe, windows, monkeypatch):
    torch.compiler.reset()

    def broken(graph, inputs):
        raise RuntimeError("no compiler here")

    compile_as_is = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call: compile_as_is(call, backend=broken))
    with pytest.raises(ValueError, match=r"torch\.compile failed .*; train without compile: .*no compiler here"):
        taught(model, recipe(compile=True), windows, np.arange(8))
