"""Predictions and streams on packed weights: against the model in float64, against each other, and their manners."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from packed_models import LARGEST_ERROR, Constant, contexts, distance, make, make_of, reference

import lvm_fast as lf
from lvm_fast.inference.packed import PRECISIONS, packed
from lvm_fast.ops import runtime
from lvm_fast.spaces import fit_space

SIZES = [  # input, hidden, layers, slots
    (3, 1, 1, 1),
    (16, 7, 2, 5),
    (20, 16, 3, 33),
    (40, 65, 4, 17),
]


KINDS = ("memory_gru", "gru", "lstm")


@pytest.mark.parametrize("weights", PRECISIONS)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_predictions_agree_with_torch_in_float64_and_with_a_stream_at_every_step(
    simd_level, kind, sizes, batch, weights
):
    model = make_of(kind, *sizes)
    context = contexts(batch, 11, sizes[0])
    stream = model.stream(batch, weights=weights)
    for steps in range(1, 12):
        whole = model.predict(context[:, :steps], weights=weights)
        assert distance(whole, reference(model, context[:, :steps])) < LARGEST_ERROR[weights]
        pushed = stream.push(context[:, steps - 1])
        torch.testing.assert_close(pushed, whole, atol=1e-6 if weights != "bfloat16" else 2e-6, rtol=0)


@pytest.mark.parametrize("weights", PRECISIONS)
@pytest.mark.parametrize("hidden", [512, 513])
@pytest.mark.parametrize("kind", KINDS)
def test_large_hidden_sizes_and_long_contexts(kind, hidden, weights):
    model = make_of(kind, 48, hidden, 2, 40)
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


@pytest.mark.parametrize("space", [False, True])
@pytest.mark.parametrize("weights", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_streams_of_a_batch_join_and_leave(simd_level, kind, weights, space):
    model, context = make_of(kind, 16, 12, 2), contexts(6, 20, 16)
    if space:
        model.set_space(fit_space(contexts(9, 30, 16).flatten(0, 1).numpy(), "whitened"))
    stream = model.stream(4, weights=weights)
    stream.push(context[:4, 0])  # at once
    stream.push(context[[3, 1], 1], rows=[3, 1])  # two go on
    stream.reset(rows=np.array([0]))  # one leaves, another takes its place
    joined = stream.push(context[[4, 2], [0, 1]].numpy(), rows=torch.tensor([0, 2]))
    expected = [model.predict(context[4, :1], weights=weights), model.predict(context[2, :2], weights=weights)]
    np.testing.assert_allclose(joined, torch.stack(expected).numpy(), atol=2e-6)
    every = stream.push(torch.stack([context[4, 1], context[1, 2], context[2, 2], context[3, 2]]))
    own = [context[4, :2], context[1, :3], context[2, :3], context[3, :3]]
    torch.testing.assert_close(every, torch.stack([model.predict(c, weights=weights) for c in own]), atol=2e-6, rtol=0)
    alone = stream.push(context[5, 3], rows=[2])
    assert alone.shape == (1, 16)
    stream.reset()
    torch.testing.assert_close(
        stream.push(context[:4, 0]), model.predict(context[:4, :1], weights=weights), atol=2e-6, rtol=0
    )


def test_a_vector_that_is_not_finite_moves_none_of_the_rows():
    model, context = make_of("gru", 16, 12, 2), contexts(3, 4, 16)
    stream = model.stream(3)
    stream.push(context[:, 0])
    bad = context[:2, 1].clone()
    bad[1, 3] = torch.nan
    with pytest.raises(ValueError, match=r"push: vector\[1\] holds NaN or Inf"):
        stream.push(bad, rows=[2, 0])
    torch.testing.assert_close(stream.push(context[:, 1]), model.predict(context[:, :2]), atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0, 3], r"rows\[1\] is 3; expected different whole numbers from 0 to 2"),
        ([1, 1], r"rows\[1\] is 1; expected different"),
        ([-1], r"rows\[0\] is -1; expected different"),
        ([], r"rows: expected different .*, at least one, got \[\]"),
        (1, "rows: expected different .*, got 1"),
        ([0.0], r"rows: expected different .*, got \[0\.0\]"),
        ([True], r"rows: expected different .*, got \[True\]"),
    ],
)
def test_rows_that_a_stream_lacks_are_refused(rows, message):
    stream = make_of("lstm", 16, 12, 2).stream(3)
    with pytest.raises(ValueError, match=f"^push: {message}"):
        stream.push(torch.ones(1, 16), rows=rows)
    with pytest.raises(ValueError, match=f"^reset: {message}"):
        stream.reset(rows=rows)


def test_a_stream_in_torch_goes_on_whole():
    stream = lf.create_model("amn", input_dim=16, hidden_dim=4).stream(3)
    with pytest.raises(ValueError, match="push: rows: expected none for a model that does not run on packed weights"):
        stream.push(torch.ones(1, 16), rows=[0])
