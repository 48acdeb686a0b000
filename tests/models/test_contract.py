"""What every model type promises: it is its literal twin, causal, blind to padding, and plain about bad input."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from literal_models import LITERAL, SMALL, literal_model

from lvm_fast.models.base import LatentVectorModel
from lvm_fast.models.pretrained import load_model
from lvm_fast.models.recurrence import last_valid
from lvm_fast.models.registry import create_model, model_names


def small(name: str, **changes: object) -> LatentVectorModel:
    """A small model, in evaluation mode."""
    model = create_model(name, **{**SMALL[name], **changes}).eval()
    if name == "recency_residual":  # which begins at zero
        torch.nn.init.normal_(model.query_up.weight, std=0.1)
        torch.nn.init.normal_(model.key_up.weight, std=0.1)
    return model


def prefixes(model: LatentVectorModel, context: torch.Tensor) -> torch.Tensor:
    """The delta of every beginning of the contexts: (B, N, D)."""
    return torch.stack([model(context[:, : step + 1]) for step in range(context.shape[1])], dim=1)


def test_every_model_type_that_is_trained_has_a_literal_twin():
    assert set(model_names()) - {"whitened_recency"} == set(LITERAL) == set(SMALL)


def test_the_reference_sizes_give_the_reference_names_and_shapes(name):
    model, twin = create_model(name).state_dict(), LITERAL[name]().state_dict()
    assert {key: tensor.shape for key, tensor in model.items()} == {key: tensor.shape for key, tensor in twin.items()}


@pytest.mark.parametrize("steps", [1, 10, 20, 23])
def test_outputs_and_every_gradient_equal_the_literal_model(name, steps):
    twin, model = literal_model(name).double(), small(name).double()
    model.load_state_dict(twin.state_dict())
    context, pull = torch.randn(5, steps, 16, dtype=torch.float64), torch.randn(5, 16, dtype=torch.float64)
    expected, got = twin(context), model(context)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)
    (expected * pull).sum().backward()
    (got * pull).sum().backward()
    grads = dict(model.named_parameters())
    for key, parameter in twin.named_parameters():
        if parameter.grad is None:  # written outside autograd
            assert "write_gate" in key or "key_" in key  # or part of the candidates' side
            assert grads[key].grad is None
        else:
            torch.testing.assert_close(grads[key].grad, parameter.grad, atol=1e-11, rtol=1e-9, msg=key)


@pytest.mark.parametrize("batch", [1, 5])
def test_float32_stays_close_to_the_literal_model_in_float64(name, batch):
    model, twin = small(name), literal_model(name).double()
    model.load_state_dict(twin.float().state_dict())
    context = torch.randn(batch, 23, 16)
    with torch.no_grad():
        torch.testing.assert_close(model(context).double(), twin.double()(context.double()), atol=2e-6, rtol=0)
        close = model.deltas(context)[:, -1].double()
    torch.testing.assert_close(close, twin(context.double()), atol=2e-6, rtol=0)


def test_a_reference_checkpoint_loads_with_the_sizes_of_its_tensors(name, tmp_path):
    twin = literal_model(name, hidden_dim=40)
    results, args = {"hit5": np.float64(59.32)}, {"hidden_dim": 256, "batch_size": 32}
    state = twin.state_dict()
    checkpoint = {
        "epoch": 3,
        "model_type": name,
        "model_state_dict": state,
        "val_results": results,
        "args": args,
    }
    torch.save(checkpoint, tmp_path / "best_val_hit5.pt")
    model = load_model(tmp_path / "best_val_hit5.pt")
    assert model.model_type == name
    assert model.config.items() >= {**SMALL[name], "hidden_dim": 40}.items()
    context = torch.randn(4, 20, 16)
    torch.testing.assert_close(model(context), twin(context), atol=2e-6, rtol=0)
    with pytest.raises(
        ValueError, match=rf"hidden_dim={SMALL[name]['hidden_dim']}.* has .*hidden_dim=40.*create_model"
    ):
        small(name).load_state_dict(state)


def test_a_checkpoint_that_lacks_a_tensor_names_it(name, tmp_path):
    for lost in list(small(name).state_dict())[::2]:
        state = small(name).state_dict()
        del state[lost]
        torch.save({"model_type": name, "model_state_dict": state}, tmp_path / "c.pt")
        with pytest.raises(ValueError, match=f"{name}: .*{lost}"):
            load_model(tmp_path / "c.pt")


def test_a_tensor_of_another_shape_is_named(name, tmp_path):
    for odd, tensor in list(small(name).state_dict().items())[1::2]:
        state = small(name).state_dict()
        state[odd] = torch.zeros([size + 1 for size in tensor.shape])
        torch.save({"model_type": name, "model_state_dict": state}, tmp_path / "c.pt")
        with pytest.raises(ValueError, match=f"{name}: "):
            load_model(tmp_path / "c.pt")


def test_saved_and_loaded_it_is_the_same_model_with_its_habits_and_a_card(name, tmp_path):
    habits = {"transformer": {"num_heads": 4}, "hierarchical_gru": {"chunk_size": 3}}.get(name, {})
    shares = {"dropout": 0.25} if "dropout" in small(name).config else {}
    model = small(name, normalize_delta=False, **habits, **shares)
    model.save_pretrained(tmp_path / "saved")
    loaded = load_model(tmp_path / "saved")
    assert (loaded.model_type, loaded.config) == (name, model.config)
    context = torch.randn(2, 7, 16)
    assert torch.equal(loaded(context), model(context))
    card = (tmp_path / "saved" / "README.md").read_text()
    assert f"A latent vector model: {name}" in card
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in card
    for key, value in model.config.items():
        assert f"| {key} | {value} |" in card


@pytest.mark.parametrize("lengths", [None, [23, 1, 14], [10, 20, 23]])
def test_the_delta_after_every_position_is_that_of_the_context_so_far(name, lengths):
    model = small(name).double()
    context = torch.randn(3, 23, 16, dtype=torch.float64)
    counts = None if lengths is None else torch.tensor(lengths)
    with torch.no_grad():
        deltas, expected = model.deltas(context, counts), prefixes(model, context)
        assert deltas.shape == (3, 23, 16)
        for row, length in enumerate(lengths or [23, 23, 23]):
            torch.testing.assert_close(deltas[row, :length], expected[row, :length], atol=1e-12, rtol=0)
        torch.testing.assert_close(last_valid(deltas, counts), model(context, counts), atol=1e-12, rtol=0)


def test_gradients_through_every_position_are_the_sum_of_those_through_each(name):
    model = small(name).double()
    context, pull = torch.randn(2, 2, 13, 16, dtype=torch.float64)
    model.deltas(context).backward(pull)
    together = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    (prefixes(model, context) * pull).sum().backward()
    assert together
    for key, grad in together.items():
        torch.testing.assert_close(grad, model.get_parameter(key).grad, atol=1e-11, rtol=1e-9, msg=key)


@pytest.mark.parametrize("passing", ["forward", "deltas"])
def test_right_padded_rows_equal_the_rows_alone(name, passing):
    model, lengths = small(name).double(), torch.tensor([1, 23, 4, 10, 11])
    context = torch.randn(5, 23, 16, dtype=torch.float64)
    for row, length in enumerate(lengths):
        context[row, length:] = 1e3
    run = getattr(model, passing)
    together = run(context, lengths)
    pull = torch.randn(5, 16, dtype=torch.float64)
    last = together if passing == "forward" else last_valid(together, lengths)
    (last * pull).sum().backward()
    found = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for row, length in enumerate(lengths):
        alone = run(context[row : row + 1, :length])
        alone = alone if passing == "forward" else alone[:, -1]
        torch.testing.assert_close(last[row : row + 1], alone, atol=1e-12, rtol=0)
        (alone * pull[row]).sum().backward()
    for key, grad in found.items():
        torch.testing.assert_close(grad, model.get_parameter(key).grad, atol=1e-11, rtol=1e-9, msg=key)


@pytest.mark.parametrize("batch", [2, 6])  # few contexts may take another way
def test_what_stands_beyond_a_length_may_be_anything(name, batch):
    model, lengths = small(name), torch.arange(batch) % 4 + 1
    context = torch.randn(batch, 12, 16)
    expected = model.predict(context, lengths)
    spoilt = context.masked_fill((torch.arange(12) >= lengths[:, None])[..., None], torch.nan)
    assert torch.equal(model.predict(spoilt, lengths), expected)
    spoilt[1, 1, 3] = torch.inf
    with pytest.raises(ValueError, match=r"predict: context\[1, 1\] holds NaN or Inf"):
        model.predict(spoilt, lengths)


def test_deltas_are_unit_vectors_or_of_any_length_as_asked(name):
    context = torch.randn(3, 4, 16)
    unit, raw = small(name, normalize_delta=True), small(name, normalize_delta=False)
    raw.load_state_dict(unit.state_dict())
    for passing in ("forward", "deltas"):
        long, short = getattr(raw, passing)(context), getattr(unit, passing)(context)
        torch.testing.assert_close(short.norm(dim=-1), torch.ones(short.shape[:-1]))
        assert (long.norm(dim=-1) - 1).abs().min() > 1e-3
        torch.testing.assert_close(torch.nn.functional.normalize(long, dim=-1), short)


def test_bfloat16_autocast_stays_close(name):
    model, context = small(name), torch.randn(4, 13, 16)
    for passing in ("forward", "deltas"):
        run = getattr(model, passing)
        with torch.autocast("cpu", torch.bfloat16):
            rough = run(context)
            rough.float().sum().backward()
        torch.testing.assert_close(rough.float(), run(context), atol=0.1, rtol=0)


def test_dropout_works_in_training_only(name):
    model, context = small(name), torch.randn(3, 13, 16)
    has_dropout = "dropout" in model.config
    for passing in ("forward", "deltas"):
        run = getattr(model.eval(), passing)
        assert torch.equal(run(context), run(context))
        model.train()
        assert torch.equal(run(context), run(context)) != has_dropout


def test_predict_is_the_reconstructed_unit_vector_and_restores_the_mode(name):
    model = small(name).train()
    before = copy.deepcopy(model.state_dict())
    context, lengths = torch.randn(3, 15, 16), torch.tensor([15, 2, 3])
    predicted = model.predict(context, lengths)
    assert model.training
    assert not predicted.requires_grad
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    model.eval()
    moved = context[torch.arange(3), lengths - 1] + model(context, lengths)
    torch.testing.assert_close(predicted, moved / moved.norm(dim=1, keepdim=True), atol=2e-6, rtol=0)
    assert not model.predict(context).requires_grad
    assert not model.training


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.dtype(">f4")])
def test_predict_takes_any_numpy_layout_and_gives_numpy_back(name, dtype):
    model = small(name)
    context = np.random.default_rng(0).standard_normal((2, 6, 32)).astype(dtype)[:, ::-1, ::2]
    context.setflags(write=False)
    predicted = model.predict(context, lengths=[6, 3])
    assert isinstance(predicted, np.ndarray)
    assert predicted.dtype == np.float32
    exact = model.predict(torch.from_numpy(context.astype(np.float32)), torch.tensor([6, 3]))
    np.testing.assert_array_equal(predicted, exact.numpy())


@pytest.mark.parametrize("steps", [1, 9])
def test_predict_takes_one_context_alone_and_gives_one_vector(name, steps):
    model, context = small(name), torch.randn(steps, 16)
    expected = model.predict(context[None])[0]
    alone = model.predict(context)
    assert alone.shape == (16,)
    assert torch.equal(alone, expected)
    array = model.predict(context.numpy().astype(np.float64))
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, expected.numpy())
    short = model.predict(context[:1])
    for one in (1, np.int64(1), torch.tensor(1), [1], np.array([1], np.uint8)):
        torch.testing.assert_close(model.predict(context, one), short, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"context has shape \(9, 15\); expected \(B, N, 16\), or \(N, 16\) for one"):
        model.predict(np.zeros((9, 15), np.float32))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.uint64, torch.int16, torch.uint8, list])
def test_predict_takes_lengths_of_any_integer_dtype(name, kind):
    model, context = small(name), torch.randn(5, 9, 16)
    lengths = torch.tensor([9, 3, 1, 9, 4])
    if isinstance(kind, torch.dtype):
        given = lengths.to(kind)
    else:
        given = [np.int64(length) for length in lengths.tolist()] if kind is list else lengths.numpy().astype(kind)
    assert torch.equal(model.predict(context, given), model.predict(context, lengths))


@pytest.mark.parametrize(("dtype", "largest"), [(torch.float64, 2e-6), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
@pytest.mark.parametrize("batch", [2, 6])
def test_models_of_every_dtype_predict_close_to_float32(name, dtype, largest, batch):
    model, context = small(name), torch.nn.functional.normalize(torch.randn(batch, 23, 16), dim=2)
    expected = model.predict(context)
    predicted = model.to(dtype).predict(context)
    assert predicted.dtype == torch.float32
    assert float((predicted - expected).norm(dim=1).max()) < largest
    torch.testing.assert_close(predicted.norm(dim=1), torch.ones(batch), atol=1e-5, rtol=0)


def test_sizes_and_shares_of_numpy_and_torch_become_plain(name, tmp_path):
    kinds = {int: np.int64, float: np.float32, bool: np.bool_}
    plain = small(name).config
    given = {key: kinds.get(type(value), lambda same: same)(value) for key, value in plain.items()}
    given |= {"hidden_dim": torch.tensor(plain["hidden_dim"])}
    if "decays" in plain:
        given["decays"] = np.array(plain["decays"])
    model = create_model(name, **given)
    for key, value in plain.items():
        assert type(model.config[key]) is type(value), key
        assert model.config[key] == pytest.approx(value), key
    model.metrics = {"hit5": np.float32(50.0), "pool": np.int64(7), "baselines": {"copy_last": {"hit5": np.float16(2)}}}
    model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.config == model.config
    assert loaded.metrics == {"hit5": 50.0, "pool": 7, "baselines": {"copy_last": {"hit5": 2.0}}}


def test_a_model_is_pickled_and_copied_with_all_that_it_keeps(name):
    model, context = small(name), torch.randn(2, 9, 16)
    expected = model.predict(context)
    model.stream().push(context[:1, 0])
    for copied in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(copied.predict(context), expected)
        with torch.no_grad():
            for parameter in copied.parameters():
                parameter.mul_(3.0)
        assert not torch.equal(copied.predict(context), expected)
        assert torch.equal(model.predict(context), expected)


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2, 3, 15), None, r"\(2, 3, 15\); expected \(B, N, 16\)"),
        ((3, 15), None, r"\(3, 15\); expected \(B, N, 16\)"),
        ((0, 16), None, r"\(0, 16\); expected \(B, N, 16\).* at least one"),
        ((2, 0, 16), None, r"\(2, 0, 16\); expected .* at least one"),
        ((0, 3, 16), None, r"\(0, 3, 16\); expected .* at least one"),
        ((2, 3, 16), [3, 4], r"lengths\[1\] = 4; expected 1 to 3"),
        ((2, 3, 16), [0, 3], r"lengths\[0\] = 0; expected 1 to 3"),
        ((2, 3, 16), [3], r"lengths are torch.int64 \(1,\); expected int64 \(2,\)"),
        ((2, 3, 16), [1.0, 2.0], r"lengths are torch.float32 \(2,\); expected int64"),
    ],
)
def test_contexts_and_lengths_that_do_not_fit_are_named(name, shape, lengths, message):
    model = small(name)
    counts = None if lengths is None else torch.tensor(lengths)
    for run in (model, model.deltas):
        with pytest.raises(ValueError, match=f"{name}: .*{message}"):
            run(torch.zeros(shape), counts)
    with pytest.raises(ValueError, match=message):
        model.predict(np.zeros(shape, np.float32), counts)


def test_predict_refuses_what_it_cannot_use(name):
    model = small(name)
    context = np.zeros((2, 3, 16), np.float32)
    context[1, 2, 5] = np.nan
    with pytest.raises(ValueError, match=r"context\[1, 2\] holds NaN or Inf"):
        model.predict(context)
    with pytest.raises(ValueError, match="dtype int64; expected a float dtype"):
        model.predict(np.zeros((2, 3, 16), np.int64))
    with pytest.raises(ValueError, match=r"dtype torch.int64; expected a float dtype"):
        model.predict(torch.zeros(2, 3, 16, dtype=torch.int64))
    with pytest.raises(ValueError, match="predict: context is a masked array; expected a plain one"):
        model.predict(np.ma.masked_less(np.ones((2, 3, 16), np.float32), 2.0))
    with pytest.raises(ValueError, match="predict: context is a sparse_coo tensor; expected a dense one"):
        model.predict(torch.ones(2, 3, 16).to_sparse())
    with pytest.raises(ValueError, match="predict: context is a nested tensor; expected a dense one"):
        model.predict(torch.nested.nested_tensor([torch.ones(2, 16), torch.ones(3, 16)], layout=torch.jagged))
    for wrong in ("abc", [[1, 2], [3]], {"a": 1}):
        with pytest.raises(ValueError, match=rf"{name}: lengths are a {type(wrong).__name__}; expected integers"):
            model.predict(np.zeros((2, 3, 16), np.float32), wrong)
    with pytest.raises(ValueError, match=rf"{name}: lengths are masked or sparse; expected plain integers"):
        model.predict(np.zeros((2, 3, 16), np.float32), np.ma.masked_less(np.array([1, 3]), 2))
    for batch in (2, 6):  # more than float32 can hold
        for huge in (np.full((batch, 3, 16), 1e300), torch.full((batch, 3, 16), 1e300, dtype=torch.float64)):
            with pytest.raises(ValueError, match=r"context\[0, 0\] holds NaN or Inf"):
                model.predict(huge)
        with torch.no_grad():
            broken = small(name)
            last = {"specialist_gru": "narrow.bias", "recency_residual": "query_up.bias"}.get(name) or [
                key for key, _ in broken.named_parameters()
            ][-1]
            broken.get_parameter(last).fill_(torch.nan)
        with pytest.raises(ValueError, match="predict: a prediction is NaN or infinite; expected finite weights"):
            broken.predict(torch.randn(batch, 3, 16))
    with pytest.raises(ValueError, match="predict: context is a list; expected a tensor or a numpy array"):
        model.predict([[[0.5] * 16]])
    with pytest.raises(ValueError, match="weights = 'int3'; expected 'float32'"):
        model.predict(np.zeros((2, 3, 16), np.float32), weights="int3")


def test_sizes_that_make_no_model_are_named(name):
    for key in small(name).config.keys() - {"normalize_delta"}:
        wrong = 1.5 if key == "dropout" else 0
        with pytest.raises(ValueError, match=f"{name}: {key} = {wrong}; expected "):
            small(name, **{key: wrong})


def test_the_smallest_sizes_work(name):
    not_sizes = {"normalize_delta", "dropout", "decays"}
    ones = {key: 1 for key, size in small(name).config.items() if type(size) is int and key not in not_sizes}
    model = create_model(name, **{**ones, "max_positions": 3} if name == "transformer" else ones)
    context = torch.randn(2, 3, 1)
    model(context).sum().backward()
    assert model.deltas(context).isfinite().all()
