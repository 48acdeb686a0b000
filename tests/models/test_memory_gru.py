"""memory_gru against a literal twin: outputs, gradients, memory writes, lengths; and its manners with bad input."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from lvm_fast.models.base import LatentVectorModel
from lvm_fast.models.memory_gru import MemoryGRU
from lvm_fast.models.recurrence import last_valid
from lvm_fast.models.registry import create_model


def test_the_reference_sizes_give_the_reference_parameters_and_names(literal):
    model = create_model("memory_gru")
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 11_292_160
    twin = literal(input_dim=768, hidden_dim=512, num_layers=4, memory_slots=2048)
    shapes = {name: tensor.shape for name, tensor in twin.state_dict().items()}
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == shapes


def test_a_fresh_gru_starts_as_a_torch_gru_does(sizes):
    torch.manual_seed(7)
    mine = MemoryGRU(**sizes).gru.state_dict()
    torch.manual_seed(7)
    theirs = torch.nn.GRU(2 * sizes["input_dim"], sizes["hidden_dim"], 4, batch_first=True).state_dict()
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("steps", [1, 2, 17])
def test_outputs_and_every_gradient_equal_the_literal_model(literal, sizes, steps):
    twin = literal().eval()
    model = MemoryGRU(**sizes).eval()
    model.load_state_dict(twin.state_dict())
    context, pull = torch.randn(5, steps, 16), torch.randn(5, 16)
    expected, got = twin(context), model(context)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    (expected * pull).sum().backward()
    (got * pull).sum().backward()
    grads = dict(model.named_parameters())
    for name, parameter in twin.named_parameters():
        if "write_gate" in name:  # written outside autograd
            assert grads[name].grad is None
            continue
        assert steps == 1 or grads[name].grad.abs().sum() > 0, name
        torch.testing.assert_close(grads[name].grad, parameter.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_memory_writes_of_training_equal_the_literal_model(literal, sizes):
    twin = literal(dropout=0.0).train()
    model = MemoryGRU(**sizes, dropout=0.0).train()
    model.load_state_dict(twin.state_dict())
    for _ in range(3):
        context = torch.randn(4, 6, 16)
        torch.testing.assert_close(model(context), twin(context), atol=1e-5, rtol=0)
    torch.testing.assert_close(model.memory.memory, twin.memory.memory)
    assert not model.memory.memory.requires_grad


def test_a_write_between_forward_and_backward_does_not_disturb_autograd(sizes):
    model = MemoryGRU(**sizes, dropout=0.0)
    frozen = copy.deepcopy(model)
    context = torch.randn(4, 6, 16)
    first, second = model(context), model(context)  # the second pass reads and writes what the first one wrote
    (first.sum() + 0.0 * second.sum()).backward()
    with frozen.deferred_memory_writes():
        frozen(context).sum().backward()
    for (name, mine), theirs in zip(model.named_parameters(), frozen.parameters(), strict=True):
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, msg=name)


@pytest.mark.parametrize("lengths", [None, [7, 1, 4]])
def test_the_delta_after_every_position_is_that_of_the_context_so_far(sizes, lengths):
    model = MemoryGRU(**sizes).eval()
    context = torch.randn(3, 7, 16)
    counts = None if lengths is None else torch.tensor(lengths)
    deltas = model.deltas(context, counts)
    assert deltas.shape == (3, 7, 16)
    for row, length in enumerate(lengths or [7, 7, 7]):
        for step in range(length):
            so_far = model(context[row : row + 1, : step + 1])[0]
            torch.testing.assert_close(deltas[row, step], so_far)
    torch.testing.assert_close(last_valid(deltas, counts), model(context, counts))


def test_deltas_write_what_the_last_positions_say(sizes):
    whole = MemoryGRU(**sizes, dropout=0.0).double()
    last = copy.deepcopy(whole)
    context, lengths = torch.randn(3, 7, 16, dtype=torch.float64), torch.tensor([7, 1, 4])
    before = whole.memory.memory.clone()
    whole.deltas(context, lengths)
    last(context, lengths)
    assert not torch.equal(whole.memory.memory, before)
    torch.testing.assert_close(whole.memory.memory, last.memory.memory)


def test_gradients_through_every_position_are_the_sum_of_those_through_each(sizes):
    model = MemoryGRU(**sizes).double().eval()
    context = torch.randn(2, 5, 16, dtype=torch.float64)
    pull = torch.randn(2, 5, 16, dtype=torch.float64)
    model.deltas(context).backward(pull)
    together = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for step in range(5):
        model(context[:, : step + 1]).backward(pull[:, step])
    for name, grad in together.items():
        torch.testing.assert_close(grad, model.get_parameter(name).grad, msg=name)


def test_processes_can_add_up_what_waits_to_be_written(sizes):
    whole = MemoryGRU(**sizes, dropout=0.0)
    parts = [copy.deepcopy(whole) for _ in range(2)]
    context = torch.randn(5, 6, 16)
    whole(context)
    for part, share in zip(parts, (context[:3], context[3:]), strict=True):
        with part.deferred_memory_writes():
            part(share)
    for mine, theirs in zip(*(part.waiting_writes() for part in parts), strict=True):
        mine += theirs
    parts[0].commit_memory()
    torch.testing.assert_close(parts[0].memory.memory, whole.memory.memory)


def test_a_model_that_is_not_causal_says_so(sizes):
    class Mean(MemoryGRU):
        deltas = LatentVectorModel.deltas

    assert MemoryGRU.is_causal()
    assert not Mean.is_causal()
    with pytest.raises(ValueError, match="memory_gru: deltas: this model is not causal"):
        Mean(**sizes).deltas(torch.randn(1, 2, 16))


def test_deferred_writes_are_one_write_of_the_whole_batch(sizes):
    split = MemoryGRU(**sizes, dropout=0.0)
    whole = copy.deepcopy(split)
    context = torch.randn(7, 6, 16)
    before = split.memory.memory.clone()
    with split.deferred_memory_writes():
        for part in (context[:4], context[4:6], context[6:]):  # of unequal sizes
            split(part)
    assert torch.equal(split.memory.memory, before)
    split.commit_memory()
    whole(context)
    assert not torch.equal(whole.memory.memory, before)
    torch.testing.assert_close(split.memory.memory, whole.memory.memory)
    written = split.memory.memory.clone()
    split.commit_memory()  # nothing is waiting
    assert torch.equal(split.memory.memory, written)


def test_writes_of_an_abandoned_step_are_dropped(sizes):
    model = MemoryGRU(**sizes, dropout=0.0)
    clean = copy.deepcopy(model)
    context = torch.randn(2, 6, 16)
    with model.deferred_memory_writes():
        model(torch.randn(3, 6, 16))
    for each in (model, clean):
        with each.deferred_memory_writes():
            each(context)
        each.commit_memory()
    assert torch.equal(model.memory.memory, clean.memory.memory)


def test_evaluation_writes_nothing(sizes):
    model = MemoryGRU(**sizes).eval()
    before = model.memory.memory.clone()
    model(torch.randn(2, 3, 16))
    model.commit_memory()
    assert torch.equal(model.memory.memory, before)


def test_right_padded_rows_equal_the_rows_alone(sizes):
    model = MemoryGRU(**sizes).eval()
    lengths = torch.tensor([1, 9, 4])
    context = torch.randn(3, 9, 16)
    for row, length in enumerate(lengths):
        context[row, length:] = 0.0
    together = model(context, lengths)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(together[row : row + 1], model(context[row : row + 1, :length]))


def test_deltas_are_unit_vectors_unless_asked_otherwise(sizes):
    context = torch.randn(3, 4, 16)
    unit = MemoryGRU(**sizes).eval()
    raw = MemoryGRU(**sizes, normalize_delta=False).eval()
    raw.load_state_dict(unit.state_dict())
    torch.testing.assert_close(unit(context).norm(dim=1), torch.ones(3))
    assert (raw(context).norm(dim=1) - 1).abs().min() > 1e-3
    torch.testing.assert_close(torch.nn.functional.normalize(raw(context)), unit(context))


def test_double_precision_works(sizes):
    model = MemoryGRU(**sizes).double().eval()
    assert model(torch.randn(2, 3, 16, dtype=torch.float64)).dtype == torch.float64


def test_bfloat16_autocast_stays_close(sizes):
    model = MemoryGRU(**sizes).eval()
    context = torch.randn(4, 6, 16)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(context)
    torch.testing.assert_close(rough.float(), model(context), atol=0.05, rtol=0)


def test_predict_is_the_reconstructed_unit_vector_and_restores_the_mode(sizes):
    model = MemoryGRU(**sizes).train()
    context, lengths = torch.randn(3, 5, 16), torch.tensor([5, 2, 3])
    memory = model.memory.memory.clone()
    predicted = model.predict(context, lengths)
    assert model.training
    assert not predicted.requires_grad
    assert torch.equal(model.memory.memory, memory)
    model.eval()
    moved = context[torch.arange(3), lengths - 1] + model(context, lengths)
    torch.testing.assert_close(predicted, moved / moved.norm(dim=1, keepdim=True))
    assert not model.predict(context).requires_grad
    assert not model.training


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.dtype(">f4")])
def test_predict_takes_any_numpy_layout_and_gives_numpy_back(sizes, dtype):
    model = MemoryGRU(**sizes)
    context = np.random.default_rng(0).standard_normal((2, 6, 32)).astype(dtype)[:, ::-1, ::2]
    context.setflags(write=False)
    predicted = model.predict(context, lengths=[6, 3])
    assert isinstance(predicted, np.ndarray)
    assert predicted.dtype == np.float32
    exact = model.predict(torch.from_numpy(context.astype(np.float32)), torch.tensor([6, 3]))
    np.testing.assert_array_equal(predicted, exact.numpy())


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2, 3, 15), None, r"\(2, 3, 15\); expected \(B, N, 16\)"),
        ((3, 16), None, r"\(3, 16\); expected \(B, N, 16\)"),
        ((2, 0, 16), None, r"\(2, 0, 16\); expected .* at least one"),
        ((0, 3, 16), None, r"\(0, 3, 16\); expected .* at least one"),
        ((2, 3, 16), [3, 4], r"lengths\[1\] = 4; expected 1 to 3"),
        ((2, 3, 16), [0, 3], r"lengths\[0\] = 0; expected 1 to 3"),
        ((2, 3, 16), [3], r"lengths are torch.int64 \(1,\); expected int64 \(2,\)"),
        ((2, 3, 16), [1.0, 2.0], r"lengths are torch.float32 \(2,\); expected int64"),
    ],
)
def test_contexts_and_lengths_that_do_not_fit_are_named(sizes, shape, lengths, message):
    model = MemoryGRU(**sizes)
    counts = None if lengths is None else torch.tensor(lengths)
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(shape), counts)
    with pytest.raises(ValueError, match=message):
        model.predict(np.zeros(shape, np.float32), counts)


def test_predict_refuses_what_it_cannot_use(sizes):
    model = MemoryGRU(**sizes)
    context = np.zeros((2, 3, 16), np.float32)
    context[1, 2, 5] = np.nan
    with pytest.raises(ValueError, match=r"context\[1, 2\] holds NaN or Inf"):
        model.predict(context)
    with pytest.raises(ValueError, match="dtype int64; expected a float dtype"):
        model.predict(np.zeros((2, 3, 16), np.int64))
    with pytest.raises(ValueError, match=r"dtype torch.int64; expected a float dtype"):
        model.predict(torch.zeros(2, 3, 16, dtype=torch.int64))
    with pytest.raises(ValueError, match="predict: context is a list; expected a tensor or a numpy array"):
        model.predict([[[0.5] * 16]])
    with pytest.raises(ValueError, match="weights = 'int3'; expected 'float32'"):
        model.predict(np.zeros((2, 3, 16), np.float32), weights="int3")


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # the compiler's own look at a tensor
def test_the_compiled_model_gives_the_same_outputs_and_gradients(sizes):
    torch.compiler.reset()
    eager = MemoryGRU(**sizes, dropout=0.0)
    twin = copy.deepcopy(eager)
    compiled = torch.compile(twin, backend="aot_eager")
    for batch, steps in ((4, 6), (3, 6), (4, 5)):
        context, lengths = torch.randn(batch, steps, 16), torch.full((batch,), steps)
        expected, got = eager(context, lengths), compiled(context, lengths)
        torch.testing.assert_close(got, expected)
        expected.sum().backward()
        got.sum().backward()
    for mine, theirs in zip(twin.parameters(), eager.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad)
    torch.testing.assert_close(twin.memory.memory, eager.memory.memory)
