"""Predictions and streams on packed weights: against the model in float64, against each other, and their manners."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn.utils import prune

import lvm_fast as lf
from lvm_fast.inference.packed import PRECISIONS, packed
from lvm_fast.models.base import LatentVectorModel
from lvm_fast.models.memory_gru import MemoryGRU
from lvm_fast.ops import runtime

SIZES = [  # input, hidden, layers, slots
    (3, 1, 1, 1),
    (16, 7, 2, 5),
    (20, 16, 3, 33),
    (40, 65, 4, 17),
]
LARGEST_ERROR = {"float32": 2e-6, "bfloat16": 5e-3, "int8": 2e-2}  # of a unit vector, as a length; tiny models


def make(input_dim: int = 16, hidden_dim: int = 12, num_layers: int = 4, memory_slots: int = 8) -> LatentVectorModel:
    torch.manual_seed(0)
    model = lf.create_model(
        "memory_gru", input_dim=input_dim, hidden_dim=hidden_dim, num_layers=num_layers, memory_slots=memory_slots
    )
    model.memory.memory.mul_(50.0)  # unlike fresh ones, slots that matter
    return model


def contexts(batch: int, steps: int, dim: int) -> torch.Tensor:
    return torch.randn(batch, steps, dim, generator=torch.Generator().manual_seed(1))


def reference(model: LatentVectorModel, context: torch.Tensor) -> torch.Tensor:
    """(B, D) in float64, by torch."""
    return copy.deepcopy(model).double().predict(context.double())


def distance(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm(dim=1).max())


@pytest.mark.parametrize("weights", PRECISIONS)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_predictions_agree_with_torch_in_float64_and_with_a_stream_at_every_step(simd_level, sizes, batch, weights):
    model = make(*sizes)
    context = contexts(batch, 11, sizes[0])
    stream = model.stream(batch, weights=weights)
    for steps in range(1, 12):
        whole = model.predict(context[:, :steps], weights=weights)
        assert distance(whole, reference(model, context[:, :steps])) < LARGEST_ERROR[weights]
        pushed = stream.push(context[:, steps - 1])
        torch.testing.assert_close(pushed, whole, atol=1e-6 if weights != "bfloat16" else 2e-6, rtol=0)


@pytest.mark.parametrize("weights", PRECISIONS)
@pytest.mark.parametrize("hidden", [512, 513])
def test_large_hidden_sizes_and_long_contexts(hidden, weights):
    model = make(48, hidden, 2, 40)
    context = contexts(2, 140, 48)
    whole = model.predict(context, weights=weights)
    assert distance(whole, reference(model, context)) < 2 * LARGEST_ERROR[weights]
    stream = model.stream(2, weights=weights)
    for t in range(140):
        pushed = stream.push(context[:, t])
    torch.testing.assert_close(pushed, whole, atol=2e-6, rtol=0)


@pytest.mark.parametrize("weights", PRECISIONS)
def test_each_contexts_own_length_counts(weights):
    model = make()
    context, lengths = contexts(5, 9, 16), torch.tensor([3, 9, 1, 9, 5])
    together = model.predict(context, lengths, weights=weights)
    for b, length in enumerate(lengths.tolist()):
        alone = model.predict(context[b : b + 1, :length], weights=weights)
        torch.testing.assert_close(together[b : b + 1], alone, atol=1e-6, rtol=0)
    three = model.predict(context[:3].numpy(), lengths[:3].numpy(), weights=weights)
    np.testing.assert_allclose(three, together[:3].numpy(), atol=1e-6)


@pytest.mark.parametrize("weights", PRECISIONS)
def test_the_number_of_threads_changes_nothing(restore_threads, weights):
    model = make(40, 130, 2, 60)
    context = contexts(1, 20, 40)
    results = []
    for threads in (1, 2, 5):
        runtime.set_num_threads(threads)
        results.append(model.predict(context, weights=weights))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("weights", PRECISIONS)
def test_many_contexts_equal_one_by_one(weights):
    model = make()
    context = contexts(19, 6, 16)
    together = model.predict(context, weights=weights)
    alone = torch.cat([model.predict(row[None], weights=weights) for row in context])
    torch.testing.assert_close(together, alone, atol=2e-6, rtol=0)


def test_raw_deltas_and_training_mode():
    model = lf.create_model("memory_gru", input_dim=8, hidden_dim=6, memory_slots=4, normalize_delta=False).train()
    context, memory = contexts(1, 5, 8), model.memory.memory.clone()
    assert distance(model.predict(context), reference(model, context)) < 1e-6
    assert distance(model.stream().push(context[:, 0]), reference(model, context[:, :1])) < 1e-6
    assert model.training
    assert torch.equal(model.memory.memory, memory)


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


def test_weights_are_packed_once_and_shared():
    model = make()
    core = packed(model, "int8")
    model.predict(contexts(1, 3, 16), weights="int8")
    assert packed(model, "int8") is core
    assert packed(copy.deepcopy(model), "int8") is not core


def test_weights_made_in_inference_mode():
    with torch.inference_mode():
        model = make()
    context = contexts(1, 3, 16)
    before = model.predict(context, weights="int8")
    with torch.inference_mode():
        model.output_proj[3].bias.add_(1.0)
    assert not torch.equal(before, model.predict(context, weights="int8"))


def test_reset_forgets():
    model, vector = make(), contexts(2, 1, 16)[:, 0]
    stream = model.stream(2)
    first, second = stream.push(vector), stream.push(vector)
    assert not torch.equal(first, second)
    stream.reset()
    assert torch.equal(stream.push(vector), first)


def test_numpy_and_torch_of_any_float_dtype_and_stride():
    model = make()
    wide = contexts(1, 3, 32)[0, :, ::2]
    expected = model.predict(wide[None].contiguous())
    for kind in ("float16", "float64", "numpy"):
        stream = model.stream(1)
        vectors = wide.numpy() if kind == "numpy" else wide.to(getattr(torch, kind))
        for vector in vectors:
            got = stream.push(vector)
        assert isinstance(got, np.ndarray if kind == "numpy" else torch.Tensor)
        assert got.shape == (1, 16)
        np.testing.assert_allclose(np.asarray(got), expected.numpy(), atol=2e-3 if kind == "float16" else 1e-6)
    read_only = wide.numpy().copy()
    read_only.flags.writeable = False
    np.testing.assert_allclose(model.predict(read_only[None, ::-1]), model.predict(wide.flip(0)[None]), atol=1e-6)
    assert model.predict(wide[None], weights="int8").dtype == torch.float32


def test_other_dtypes_stream_in_plain_torch():
    model = make().double()
    context = contexts(2, 4, 16).double()
    stream = model.stream(2)
    with torch.no_grad():
        model.input_norm.weight.mul_(1.0)
    for t in range(4):
        got = stream.push(context[:, t])
        torch.testing.assert_close(got, model.predict(context[:, : t + 1]), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="NaN or Inf"):
        stream.push(torch.full((2, 16), torch.nan))


class Constant(LatentVectorModel):
    """Of a kind that nobody packs."""

    model_type = "constant"

    def __init__(self) -> None:
        super().__init__({"input_dim": 16})
        self.delta = torch.nn.Parameter(torch.ones(16))

    def forward(self, context, lengths=None):
        self.check_context(context, lengths)
        return self.delta.expand(len(context), -1)

    @classmethod
    def config_from_state(cls, state):
        return {"input_dim": 16}


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


@pytest.mark.parametrize("batch", [2, 6])  # packed, and in torch
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_padding_may_hold_anything(batch, dtype):
    model = make().to(dtype)
    context, lengths = contexts(batch, 5, 16).to(dtype), torch.arange(batch) % 4 + 1
    expected = model.predict(context, lengths)
    spoilt = context.masked_fill((torch.arange(5) >= lengths[:, None])[..., None], torch.nan)
    torch.testing.assert_close(model.predict(spoilt, lengths), expected, rtol=0, atol=0)
    spoilt[1, 1, 3] = torch.inf
    with pytest.raises(ValueError, match=r"predict: context\[1, 1\] holds NaN or Inf"):
        model.predict(spoilt, lengths)


def test_padding_reaches_no_model():
    class Mean(Constant):
        def forward(self, context, lengths=None):
            return self.delta + 0.0 * context.sum(dim=1)  # NaN times 0 is NaN

    context = contexts(2, 3, 16)
    context[0, 2] = torch.nan
    assert Mean().predict(context, torch.tensor([2, 3])).isfinite().all()


def nan_at(shape, *index):
    context = torch.zeros(shape)
    context[index] = torch.nan
    return context


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.predict(contexts(1, 2, 16), weights="int4"), r"predict: weights = 'int4'; expected 'float32', 'b"),
        (lambda m: m.predict(nan_at((2, 3, 16), 1, 2, 5), weights="int8"), r"predict: context\[1, 2\] holds NaN"),
        (lambda m: m.predict(nan_at((1, 3, 16), 0, 0, 5)), r"predict: context\[0, 0\] holds NaN"),
        (lambda m: m.stream(weights="fp8"), "stream: weights = 'fp8'; expected 'float32'"),
        (lambda m: m.stream(np.float32(2)), r"stream: batch_size = 2\.0; expected an integer of at least 1"),
        (lambda m: m.stream(0), "stream: batch_size = 0; expected an integer of at least 1"),
        (lambda m: m.stream(True), "stream: batch_size = True"),
        (lambda m: m.stream(2.0), r"stream: batch_size = 2\.0"),
        (lambda m: Constant().stream(), "stream: a Constant cannot stream; expected a model whose steps"),
        (lambda m: m.stream().push([0.0] * 16), "push: vector is a list; expected a tensor or a numpy array"),
        (lambda m: m.stream().push(torch.zeros(1, 15)), r"push: vector has shape \(1, 15\); expected \(1, 16\)"),
        (lambda m: m.stream(2).push(torch.zeros(16)), r"push: vector has shape \(16,\); expected \(2, 16\)"),
        (lambda m: m.stream().push(np.zeros((1, 16), np.int64)), "push: vector has dtype int64; expected a float"),
        (lambda m: m.stream().push(torch.zeros(1, 16, dtype=torch.int32)), "push: vector has dtype torch.int32"),
        (lambda m: m.stream(2).push(nan_at((2, 16), 1, 3)), r"push: vector\[1\] holds NaN or Inf"),
    ],
)
def test_mistakes_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call(make())


@pytest.mark.parametrize("two", [np.int64(2), np.uint8(2), torch.tensor(2), np.array(2)])
def test_sizes_of_numpy_and_torch_are_plain(two):
    stream = make().stream(two)
    assert (stream.batch_size, type(stream.batch_size)) == (2, int)
    assert stream.push(contexts(2, 1, 16)[:, 0]).shape == (2, 16)


def test_a_refused_vector_leaves_the_stream_as_it_was():
    model, context = make(), contexts(1, 3, 16)
    stream = model.stream()
    for t in range(3):
        with pytest.raises(ValueError, match="holds NaN"):
            stream.push(nan_at((1, 16), 0, t))
        got = stream.push(context[:, t])
    torch.testing.assert_close(got, model.predict(context), atol=1e-6, rtol=0)


def test_a_prediction_that_is_not_finite_leaves_a_stream_in_torch_as_it_was():
    model, context = make().double(), contexts(1, 3, 16)
    stream = model.stream()
    stream.push(context[:, 0])
    bias = stream._steps._model.output_proj[3].bias
    good = bias.detach().clone()
    with torch.no_grad():
        bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="push: the prediction is NaN or infinite"):
        stream.push(context[:, 1])
    with torch.no_grad():
        bias.copy_(good)
    for t in (1, 2):
        got = stream.push(context[:, t])
    torch.testing.assert_close(got, model.predict(context), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("weights", "number"),
    [*((weights, torch.nan) for weights in PRECISIONS), ("float32", torch.inf), ("bfloat16", torch.inf)],
)
def test_weights_that_are_not_finite_are_reported(simd_level, weights, number):
    clean, context = make(20, 17, 2), contexts(1, 3, 20)
    names = [name for name in clean.state_dict() if "write_gate" not in name and "_sum" not in name]
    for name in names:
        model = copy.deepcopy(clean)
        model.state_dict()[name].view(-1)[-1] = number
        try:
            expected = reference(model, context)
        except ValueError:
            expected = None
        if expected is None:
            with pytest.raises(ValueError, match="predict: a prediction is NaN or infinite"):
                model.predict(context, weights=weights)
            with pytest.raises(ValueError, match="push: the prediction is NaN or infinite"):
                model.stream(weights=weights).push(context[:, 0])
        else:  # a gate that an infinity has closed
            assert distance(model.predict(context, weights=weights), expected) < LARGEST_ERROR[weights], name
