"""Streams of every model type: what `predict` says of all vectors so far, one step of work at a time."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from literal_models import SMALL

from lvm_fast.models.base import LatentVectorModel
from lvm_fast.models.registry import create_model


@pytest.fixture(params=list(SMALL))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(name: str) -> LatentVectorModel:
    torch.manual_seed(0)
    return create_model(name, **SMALL[name])


def contexts(batch: int, steps: int) -> torch.Tensor:
    return torch.randn(batch, steps, 16, generator=torch.Generator().manual_seed(1))


def last(model: LatentVectorModel) -> torch.Tensor:
    """A bias of the last projection."""
    return [parameter for key, parameter in model.named_parameters() if key.endswith("bias")][-1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_stream_is_predict_at_every_step(model, batch, dtype):
    model, context = model.to(dtype).train(), contexts(batch, 40).to(dtype)
    stream = model.stream(batch)
    for t in range(40):
        pushed = stream.push(context[:, t])
        torch.testing.assert_close(pushed, model.predict(context[:, : t + 1]), atol=1e-6, rtol=0)


def test_raw_deltas_stream_too(name):
    model, context = create_model(name, **SMALL[name], normalize_delta=False), contexts(2, 3)
    stream = model.stream(2)
    for t in range(3):
        pushed = stream.push(context[:, t])
    torch.testing.assert_close(pushed, model.predict(context), atol=1e-6, rtol=0)


def test_numpy_or_tensors_of_any_float_dtype(model):
    context = contexts(1, 12)
    expected = model.predict(context)
    for kind in (np.float16, np.float32, np.float64, torch.float16, torch.float64):
        stream = model.stream()
        for vector in context[0]:
            given = vector.to(kind) if isinstance(kind, torch.dtype) else vector.numpy().astype(kind)
            got = stream.push(given)
        assert type(got) is type(given)
        assert got.shape == (1, 16)
        np.testing.assert_allclose(np.asarray(got), expected.numpy(), atol=3e-3 if "16" in str(kind) else 1e-6)


def test_streams_keep_the_weights_they_were_made_with_and_do_not_meet(model):
    context = contexts(4, 20)
    expected = [model.predict(half) for half in context.split(2)]
    streams = [model.stream(2), model.stream(2)]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0).add_(0.1)
    for t in range(20):
        got = [stream.push(half[:, t]) for stream, half in zip(streams, context.split(2), strict=True)]
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    assert not torch.allclose(model.predict(context[:2]), expected[0], atol=1e-3)
    late = model.stream(2)
    for t in range(20):
        got = late.push(context[:2, t])
    torch.testing.assert_close(got, model.predict(context[:2]), atol=1e-6, rtol=0)


def test_streams_of_one_model_share_their_weights(model):
    first, second = model.double().stream(), model.stream(2)
    copies = [list(stream._steps._model.parameters()) for stream in (first, second)]
    assert [weight is other for weight, other in zip(*copies, strict=True)] == [True] * len(copies[0])
    assert {weight.data_ptr() for weight in copies[0]}.isdisjoint(weight.data_ptr() for weight in model.parameters())


def test_reset_forgets_everything(model):
    context = contexts(2, 20)
    stream = model.stream(2)
    first = [stream.push(context[:, t]) for t in range(20)]
    stream.reset()
    assert all(torch.equal(stream.push(context[:, t]), first[t]) for t in range(20))


def test_a_refused_vector_leaves_the_stream_as_it_was(model):
    context = contexts(2, 20)
    stream = model.stream(2)
    spoilt = torch.zeros(2, 16)
    spoilt[1, 3] = torch.nan
    for t in range(20):
        with pytest.raises(ValueError, match=r"push: vector\[1\] holds NaN or Inf"):
            stream.push(spoilt)
        with pytest.raises(ValueError, match=r"push: vector has shape \(2, 15\); expected \(2, 16\)"):
            stream.push(spoilt[:, :15])
        got = stream.push(context[:, t])
    torch.testing.assert_close(got, model.predict(context), atol=1e-6, rtol=0)


def test_a_prediction_that_is_not_finite_leaves_a_stream_in_torch_as_it_was(model):
    model, context = model.double(), contexts(2, 20)
    stream = model.stream(2)
    bias = last(stream._steps._model)
    good = bias.detach().clone()
    for t in range(20):
        with torch.no_grad():
            bias.fill_(torch.nan)
        with pytest.raises(ValueError, match="push: the prediction is NaN or infinite"):
            stream.push(3.0 * context[:, t])
        with torch.no_grad():
            bias.copy_(good)
        got = stream.push(context[:, t])
    torch.testing.assert_close(got, model.predict(context), atol=1e-6, rtol=0)


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_only_models_that_pack_have_other_precisions(model, weights):
    if model.packs:
        assert model.stream(weights=weights).push(contexts(1, 1)[0]).shape == (1, 16)
        return
    message = rf"weights = '{weights}' of an? {type(model).__name__}; expected 'float32' for this model"
    with pytest.raises(ValueError, match=f"stream: {message}"):
        model.stream(weights=weights)
    with pytest.raises(ValueError, match=f"predict: {message}"):
        model.predict(contexts(1, 2), weights=weights)


def test_a_class_that_changes_the_pass_has_no_steps_unless_it_brings_them(name):
    kind = type(create_model(name, **SMALL[name]))

    class Doubled(kind):
        def forward(self, context, lengths=None):
            return 2.0 * super().forward(context, lengths)

    class Shifted(kind):
        def last_hidden(self, context, lengths):
            return super().last_hidden(context, lengths) + 1.0

    class ShiftedInSteps(Shifted):
        def next_hidden(self, state, vector):
            hidden, moved = super().next_hidden(state, vector)
            return hidden + 1.0, moved

    for changed in (Doubled, Shifted):
        with pytest.raises(ValueError, match=f"stream: a {changed.__name__} cannot stream"):
            changed(**SMALL[name]).stream()
    model, context = ShiftedInSteps(**SMALL[name]), contexts(1, 3)
    stream = model.stream()
    for t in range(3):
        got = stream.push(context[:, t])
    torch.testing.assert_close(got, model.predict(context), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("dtype", "largest"), [(torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
def test_models_in_half_precision_stream_close_to_float32(name, dtype, largest):
    model = create_model(name, **{**SMALL[name], **({"max_positions": 300} if name == "transformer" else {})})
    context = torch.nn.functional.normalize(contexts(2, 300) + 0.5, dim=2)
    expected, stream = model.predict(context), model.to(dtype).stream(2)
    for t in range(300):  # more than a half-precision sum of ones can count
        got = stream.push(context[:, t])
    assert got.dtype == torch.float32
    assert float((got - expected).norm(dim=1).max()) < largest
    assert float((model.predict(context) - expected).norm(dim=1).max()) < largest


def scaled(module, given, out):
    return (1.5 * out[0], *out[1:]) if isinstance(out, tuple) else 1.5 * out


def test_a_hook_on_any_module_is_heard_by_streams_or_they_are_refused(name):
    context, refused = contexts(2, 12), set()
    for path, _ in create_model(name, **SMALL[name]).named_modules():
        torch.manual_seed(0)
        model = create_model(name, **SMALL[name], normalize_delta=False)
        model.get_submodule(path).register_forward_hook(scaled)
        try:
            stream = model.stream(2)
        except ValueError as error:
            refused.add((path, "has forward hooks, which the steps of a" in str(error)))
            continue
        for t in range(12):
            pushed = stream.push(context[:, t])
            torch.testing.assert_close(pushed, model.predict(context[:, : t + 1]), atol=1e-6, rtol=0, msg=path)
    assert ("", True) in refused
    assert (("lstm", True) in refused) == (name == "lstm")
    assert all(is_told for _, is_told in refused)


def test_modules_that_steps_call_may_be_others(name):
    model, context = create_model(name, **SMALL[name], normalize_delta=False), contexts(2, 12)
    path = [path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)][-1]
    model.set_submodule(path, torch.nn.Sequential(model.get_submodule(path), torch.nn.Tanh()))
    stream = model.stream(2)
    for t in range(12):
        pushed = stream.push(context[:, t])
        torch.testing.assert_close(pushed, model.predict(context[:, : t + 1]), atol=1e-6, rtol=0)


def test_changed_parts_that_steps_run_by_hand_are_refused():
    changes = {
        "transformer": lambda m: setattr(m.transformer_decoder, "norm", torch.nn.LayerNorm(24)),
        "gru": lambda m: setattr(m.blocks[0], "forward", lambda states, lengths: states),
        "hierarchical_gru": lambda m: setattr(m.local_encoder, "more", torch.nn.Identity()),
        "lstm": lambda m: torch.nn.utils.parametrizations.orthogonal(m.lstm, "weight_hh_l0"),
    }
    for name, change in changes.items():
        model = create_model(name, **SMALL[name])
        change(model)
        with pytest.raises(ValueError, match=r"stream: .*, which the steps of an? .* pass by; "):
            model.stream()


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
def test_a_copy_goes_on_by_itself(model, how):
    context, other = contexts(2, 30), contexts(2, 30).flip(0)
    for weights in ("float32", "int8") if model.packs else ("float32",):
        stream = model.stream(2, weights)
        for t in range(17):  # past what caches have room for at first
            stream.push(context[:, t])
        copied = how(stream)
        for t in range(17, 30):
            first, second = stream.push(context[:, t]), copied.push(other[:, t])
        copied.reset()
        third = copied.push(context[:, 0])
        turned = torch.cat((context[:, :17], other[:, 17:]), dim=1)
        for got, whole in ((first, context), (second, turned), (third, context[:, :1])):
            torch.testing.assert_close(got, model.predict(whole, weights=weights), atol=1e-6, rtol=0)


def test_a_stream_is_not_pickled_but_its_model_is(model):
    context = contexts(2, 5)
    stream = model.stream(2)
    stream.push(context[:, 0])
    with pytest.raises(TypeError, match="a Stream cannot be pickled: pickle the model, make a stream of it there"):
        pickle.dumps(stream)
    sent = pickle.loads(pickle.dumps(model)).stream(2)
    for t in range(5):
        got = sent.push(context[:, t])
    torch.testing.assert_close(got, model.predict(context), atol=1e-6, rtol=0)


def test_vectors_that_hide_numbers_are_refused(model):
    stream, vector = model.stream(), np.ones((1, 16), np.float32)
    with pytest.raises(ValueError, match="push: vector is a masked array; expected a plain one"):
        stream.push(np.ma.masked_less(vector, 2.0))
    with pytest.raises(ValueError, match="push: vector is a sparse_coo tensor; expected a dense one"):
        stream.push(torch.from_numpy(vector).to_sparse())
    with pytest.raises(ValueError, match=r"push: vector\[0\] holds NaN or Inf"):
        stream.push(np.full((1, 16), 1e300))
    assert np.isfinite(stream.push(vector)).all()
