"""memory_gru against a literal twin: outputs, gradients, memory writes, lengths; and its manners with bad input."""

from __future__ import annotations

import copy

import pytest
import torch

from lvm_fast.models.base import LatentVectorModel
from lvm_fast.models.memory_gru import MemoryGRU
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


def test_deltas_write_what_the_last_positions_say(sizes):
    whole = MemoryGRU(**sizes, dropout=0.0).double()
    last = copy.deepcopy(whole)
    context, lengths = torch.randn(3, 7, 16, dtype=torch.float64), torch.tensor([7, 1, 4])
    before = whole.memory.memory.clone()
    whole.deltas(context, lengths)
    last(context, lengths)
    assert not torch.equal(whole.memory.memory, before)
    torch.testing.assert_close(whole.memory.memory, last.memory.memory)


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
