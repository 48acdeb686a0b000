"""Predictions and streams of models that were changed since they were made, and of subclasses."""

from __future__ import annotations

import pytest
import torch
from packed_models import LARGEST_ERROR, Constant, contexts, distance, make, reference
from torch.nn.utils import prune

import lvm_fast as lf
from lvm_fast.inference.packed import PRECISIONS
from lvm_fast.models.base import LatentVectorModel
from lvm_fast.models.memory_gru import MemoryGRU


def write_from_another_process(model: LatentVectorModel) -> None:
    model.share_memory()
    process = torch.multiprocessing.get_context("fork").Process(target=_add_one, args=(model.output_proj[3].bias,))
    process.start()
    process.join()


def _add_one(bias: torch.Tensor) -> None:
    bias.data.numpy()[:] += 1.0


def through_data(model: LatentVectorModel) -> None:
    for parameter in model.parameters():
        parameter.data.mul_(3.0)


CHANGES = {
    "writes through .data": through_data,
    "one number through .data": lambda model: model.output_proj[3].bias.data[5:6].add_(1.0),
    "a numpy view": lambda model: model.gru.weight_hh_l1.detach().numpy().__imul__(3.0),
    "another process": write_from_another_process,
    "the memory through .data": lambda model: model.memory.memory.data.neg_(),
    "a replaced parameter": lambda model: setattr(model.input_norm, "weight", torch.nn.Parameter(torch.rand(16))),
    "its epsilon": lambda model: setattr(model.input_norm, "eps", 3.0),
    "the other epsilon": lambda model: setattr(model.fusion[3], "eps", 3.0),
    "raw deltas": lambda model: setattr(model, "normalize_delta", False),
    "an optimiser's step": lambda model: torch.optim.SGD(model.parameters(), 1.0).step(),
    "a loaded state": lambda model: model.load_state_dict(make_other(model).state_dict()),
    "a memory write": lambda model: model.train()(torch.ones(2, 3, 16)),
    "new storage": lambda model: setattr(model.input_norm.weight, "data", model.input_norm.weight.data * 3),
}


def make_other(model: LatentVectorModel) -> LatentVectorModel:
    return lf.create_model("memory_gru", **model.config)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("weights", PRECISIONS)
def test_changed_weights_reach_predictions_but_not_a_stream_made_before(change, weights):
    model = make().eval()  # a pass in training mode would write the memory
    context = contexts(1, 4, 16)
    stream = model.stream(weights=weights)
    before = model.predict(context, weights=weights)
    model(context).sum().backward()
    CHANGES[change](model)
    fresh = model.stream(weights=weights)
    after = model.predict(context, weights=weights)
    assert not torch.equal(before, after)
    for t in range(4):
        pushed = fresh.push(context[:, t])
    torch.testing.assert_close(pushed, after, atol=2e-6, rtol=0)
    assert distance(after, reference(model.eval(), context)) < LARGEST_ERROR[weights]
    for t in range(4):
        pushed = stream.push(context[:, t])
    torch.testing.assert_close(pushed, before, atol=2e-6, rtol=0)


def lora(model: LatentVectorModel) -> None:
    class Lora(torch.nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base, self.low = base, torch.nn.Linear(base.in_features, base.out_features)

        def forward(self, x):
            return self.base(x) + self.low(x)

    model.output_proj[3] = Lora(model.output_proj[3])


def scaled(module, given, out):
    return 1.5 * out


MODULES = {
    "appended": lambda m: m.output_proj.append(torch.nn.Hardtanh(-0.01, 0.01)),
    "a LoRA": lora,
    "ReLU for GELU": lambda m: m.fusion.__setitem__(1, torch.nn.ReLU()),
    "the other GELU": lambda m: setattr(m.fusion[1], "approximate", "tanh"),
    "a hook": lambda m: m.output_proj.register_forward_hook(scaled),
    "a hook of a part": lambda m: m.fusion[0].register_forward_hook(scaled),
    "a hook before": lambda m: m.fusion.register_forward_pre_hook(lambda module, given: (2.0 * given[0],)),
    "a hook of the recurrence": lambda m: m.gru.register_forward_hook(lambda module, x, out: (2.0 * out[0], out[1])),
    "torch's own GRU": lambda m: setattr(m, "gru", torch.nn.GRU(32, 12, 4, batch_first=True)),
    "a forward of its own": lambda m: setattr(m.output_proj[1], "forward", torch.tanh),
    "a weight norm": lambda m: torch.nn.utils.parametrizations.weight_norm(
        m.output_proj[3]
    ).parametrizations.weight.original0.data.mul_(2.0),
    "a pruned weight": lambda m: prune.l1_unstructured(m.output_proj[3], "weight", 0.9),
    "no affine norm": lambda m: setattr(m, "input_norm", torch.nn.LayerNorm(16, elementwise_affine=False)),
}


@pytest.mark.parametrize("change", MODULES)
@pytest.mark.parametrize("training", [True, False])
def test_changed_modules_answer_in_few_contexts_in_many_and_in_streams(change, training):
    model, context = make(), contexts(2, 6, 16)
    torch.nn.init.uniform_(model.input_norm.weight)
    model.normalize_delta = False  # lengths matter
    before = model.predict(context)
    model.predict(context, weights="int8")
    MODULES[change](model)
    with torch.no_grad():
        expected = lf.reconstruct(context[:, -1], model.eval()(context))
    model.train(training)
    assert distance(expected, before) > 3e-6
    torch.testing.assert_close(model.predict(context), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(model.predict(context.repeat(3, 1, 1)), expected.repeat(3, 1), atol=1e-6, rtol=0)
    stream = model.stream(2)
    for t in range(6):
        pushed = stream.push(context[:, t])
    torch.testing.assert_close(pushed, expected, atol=1e-6, rtol=0)
    for call in (model.predict, lambda given, weights: model.stream(2, weights)):
        with pytest.raises(ValueError, match=r"weights = 'int8' of a MemoryGRU, where .*; expected 'float32'"):
            call(context, weights="int8")


def test_a_forward_of_the_models_own_answers_but_cannot_stream():
    model, context = make(), contexts(2, 6, 16)
    model.forward = lambda given, lengths=None: torch.ones(len(given), 16)
    expected = torch.nn.functional.normalize(context[:, -1] + 1.0, dim=1)
    torch.testing.assert_close(model.predict(context), expected)
    torch.testing.assert_close(model.predict(context.repeat(3, 1, 1)), expected.repeat(3, 1))
    with pytest.raises(
        ValueError, match="stream: the model has a 'forward' of its own, which the steps of a MemoryGRU"
    ):
        model.stream()


def test_hooks_and_modes_that_see_all_calls_see_those_of_predict():
    class Counting(torch.overrides.TorchFunctionMode):
        calls = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.calls += func is torch.nn.functional.gelu or "gelu" in str(func)
            return func(*args, **(kwargs or {}))

    model, context, seen = make(), contexts(1, 3, 16), []
    expected = model.predict(context)
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, given, out: seen.append(module))
    try:
        torch.testing.assert_close(model.predict(context), expected, atol=1e-6, rtol=0)
        with pytest.raises(ValueError, match="whose calls a hook or mode of torch's watches; expected 'float32'"):
            model.predict(context, weights="int8")
    finally:
        handle.remove()
    assert {type(module) for module in seen} >= {MemoryGRU, torch.nn.GELU}
    with Counting() as counting:
        torch.testing.assert_close(model.predict(context), expected, atol=1e-6, rtol=0)
    assert counting.calls == 2
    with torch.device("cpu"):  # a mode as well, but of no consequence
        assert torch.equal(model.predict(context), expected)


def test_a_method_around_predict_keeps_packed_weights():
    class Logged(MemoryGRU):
        def predict(self, context, lengths=None, weights="float32"):
            return super().predict(context, lengths, weights)

    model = Logged(input_dim=16, hidden_dim=12, memory_slots=8)
    assert distance(model.predict(contexts(1, 3, 16), weights="int8"), reference(model, contexts(1, 3, 16))) < 2e-2


def test_models_of_other_kinds_predict_in_torch():
    assert Constant().predict(contexts(1, 3, 16)).shape == (1, 16)
    with pytest.raises(ValueError, match=r"predict: weights = 'int8' of a Constant; expected 'float32'"):
        Constant().predict(contexts(1, 3, 16), weights="int8")


class Doubled(MemoryGRU):
    """A memory_gru by name that computes otherwise."""

    def forward(self, context, lengths=None):
        return 2.0 * super().forward(context, lengths)


class OtherHead(MemoryGRU):
    """Another one, in a part of the pass."""

    def raw_delta(self, hidden):
        return super().raw_delta(hidden).flip(-1)


class Renamed(MemoryGRU):
    """One that computes as it should."""


@pytest.mark.parametrize("kind", [Doubled, OtherHead])
def test_a_subclass_with_a_pass_of_its_own_is_not_packed(kind):
    model = kind(input_dim=16, hidden_dim=12, memory_slots=8).eval()
    context = contexts(2, 4, 16)
    with torch.no_grad():
        expected = lf.reconstruct(context[:, -1], model(context))
    torch.testing.assert_close(model.predict(context), expected)
    with pytest.raises(ValueError, match=f"weights = 'int8' of a {kind.__name__}; expected 'float32'"):
        model.predict(context, weights="int8")


def test_a_stream_of_a_subclass_takes_its_own_steps_or_none():
    with pytest.raises(ValueError, match="stream: a Doubled cannot stream"):
        Doubled(input_dim=16, hidden_dim=12, memory_slots=8).stream()
    model, context = OtherHead(input_dim=16, hidden_dim=12, memory_slots=8), contexts(2, 4, 16)
    stream = model.stream(2)
    for t in range(4):
        torch.testing.assert_close(stream.push(context[:, t]), model.predict(context[:, : t + 1]))


def test_a_subclass_with_the_same_pass_is_packed():
    model = Renamed(input_dim=16, hidden_dim=12, memory_slots=8)
    context = contexts(1, 1, 16)
    assert distance(model.predict(context, weights="int8"), reference(model, context)) < LARGEST_ERROR["int8"]
    assert model.stream().push(context[:, 0]).shape == (1, 16)
