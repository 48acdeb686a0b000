"""The mixture of experts: only the chosen ones compute, and they say what all of them, weighted, would."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from literal_models import SMALL, LiteralSpecialistGRU
from torch.autograd.profiler import profile

from lvm_fast.models.mixture import rows_of_each
from lvm_fast.models.registry import create_model
from lvm_fast.ops.linear_grouped import grouped_linear


def small(**changes):
    return create_model("specialist_gru", **{**SMALL["specialist_gru"], **changes}).eval()


@pytest.fixture
def context():
    return torch.randn(9, 11, 16)


def chosen_by_hand(model, context):
    """The experts of each context, by the scores of the last hidden state: (B, k) sorted by score."""
    states, _ = model.gru(model.input_norm(context))
    return torch.argsort(model.gate(states[:, -1]), dim=1, descending=True)[:, : model.top_k]


def computed(run):
    """Rows that each product of the experts has, first layer and second layer apart: {(inputs, outputs): [rows]}."""
    with torch.no_grad(), profile(record_shapes=True) as done:
        run()
    counts = {}
    for event in done.function_events:
        if event.name == "aten::addmm":
            _, (rows, inputs), (_, outputs), *_ = event.input_shapes
            counts.setdefault((inputs, outputs), []).append(rows)
    return counts


def test_every_position_of_a_pass_in_training_mode_equals_the_dense_model_and_so_do_its_gradients():
    model = small(dropout=0.0).double().train()
    twin = LiteralSpecialistGRU(**SMALL["specialist_gru"], dropout=0.0).double()
    twin.load_state_dict(model.state_dict())
    context, pull = torch.randn(2, 3, 13, 16, dtype=torch.float64)
    dense = torch.stack([twin(context[:, : step + 1]) for step in range(13)], dim=1)
    sparse = model.deltas(context)
    torch.testing.assert_close(sparse, dense, atol=1e-12, rtol=0)
    (dense * pull).sum().backward()
    (sparse * pull).sum().backward()
    for key, parameter in twin.named_parameters():
        torch.testing.assert_close(model.get_parameter(key).grad, parameter.grad, atol=1e-11, rtol=1e-9, msg=key)


@pytest.mark.parametrize("top_k", [1, 2, 3, 5])
def test_exactly_the_chosen_experts_run_for_each_row(context, top_k):
    model = small(top_k=top_k)
    of_each = torch.bincount(chosen_by_hand(model, context).flatten(), minlength=5)
    rows = [int(count) for count in of_each if count]
    counts = computed(lambda: model(context))
    assert counts[12, 7] == counts[7, 16] == rows
    assert sum(rows) == top_k * 9
    assert sum(computed(lambda: model.predict(context[:1]))[12, 7]) == top_k
    assert sum(computed(lambda: model.deltas(context))[7, 16]) == top_k * 9 * 11
    stream = model.stream(4)
    assert sum(computed(lambda: stream.push(context[:4, 0]))[12, 7]) == top_k * 4


def test_experts_that_are_not_chosen_are_not_even_looked_at(context):
    model = small()
    expected = model(context[:1])
    chosen = set(chosen_by_hand(model, context[:1])[0].tolist())
    with torch.no_grad():
        for expert in set(range(5)) - chosen:
            model.widen.weight[expert] = torch.nan
            model.narrow.bias[expert] = torch.nan
    assert torch.equal(model(context[:1]), expected)
    assert torch.equal(model.train()(context[:1]).isfinite(), torch.ones(1, 16, dtype=torch.bool))


def test_in_training_too_experts_without_rows_get_no_gradient(context):
    model = small().train()
    chosen = set(chosen_by_hand(model.eval(), context[:1])[0].tolist())
    model(context[:1]).sum().backward()
    moved = {expert for expert in range(5) if model.narrow.weight.grad[expert].any()}
    assert moved == chosen


@pytest.mark.parametrize("lengths", [None, [11, 1, 4, 7, 7, 2, 11, 3, 9]])
def test_routes_are_the_shares_of_the_two_experts(context, lengths):
    model = small()
    counts = None if lengths is None else torch.tensor(lengths)
    shares = model.routes(context, counts)
    assert shares.shape == (9, 5)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(9))
    for row, length in enumerate(lengths or [11] * 9):
        two = chosen_by_hand(model, context[row : row + 1, :length])[0]
        assert set(shares[row].nonzero().flatten().tolist()) == set(two.tolist())
        assert shares[row].argmax() == two[0]
    with pytest.raises(ValueError, match=r"specialist_gru: context has shape \(9, 16\)"):
        model.routes(context[:, 0])


def test_the_answer_is_what_the_experts_say_by_their_shares(context):
    model = small(normalize_delta=False)
    hidden = model.last_hidden(context, None)
    alone = [
        torch.nn.functional.gelu(hidden @ w.T + b) for w, b in zip(model.widen.weight, model.widen.bias, strict=True)
    ]
    alone = [h @ w.T + b for h, w, b in zip(alone, model.narrow.weight, model.narrow.bias, strict=True)]
    expected = torch.einsum("be,ebd->bd", model.routes(context), torch.stack(alone))
    torch.testing.assert_close(model(context), expected)


def test_scores_of_the_gate_are_kept_in_training_and_given_once(context):
    model = small()
    model(context)
    with pytest.raises(RuntimeError, match="no pass in training mode"):
        model.take_gate_scores()
    model.train()
    model(context)
    assert model.take_gate_scores().shape == (9, 5)
    model.deltas(context)
    assert model.take_gate_scores().shape == (9, 11, 5)
    with pytest.raises(RuntimeError, match="last taken"):
        model.take_gate_scores()


def test_a_model_in_the_middle_of_training_can_be_copied(context):
    model = small().train()
    model(context)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin.eval()(context), model.eval()(context))
        model.train()
    model.stream()
    assert model.take_gate_scores().requires_grad


def test_the_gate_stays_exact_under_autocast(context):
    model = small(dropout=0.0).train()
    model.deltas(context)
    exact = model.take_gate_scores()
    with torch.autocast("cpu", torch.bfloat16):
        assert model.widen(context[0, :, :12], torch.zeros(11, dtype=torch.int64)).dtype == torch.bfloat16
        assert model.deltas(context).dtype == torch.float32
    scores = model.take_gate_scores()
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, exact, atol=0.05, rtol=0)


def test_experts_have_names(context, tmp_path):
    names = ["law", "art", "sea", "war", "tax"]
    model = small(domains=names)
    assert model.route_names == names
    assert small().route_names == [f"expert {number}" for number in range(5)]
    model.name_experts([])
    assert model.route_names[4] == "expert 4"
    model.name_experts(names[::-1])
    assert create_model("specialist_gru", **model.config).route_names == names[::-1]


@pytest.mark.parametrize("names", [["a"], ["a"] * 5, "abcde", list(range(5)), [*"abcdef"], None])
def test_names_that_do_not_fit_are_refused(names):
    with pytest.raises(ValueError, match=r"specialist_gru: domains = .*; expected 5 different names"):
        small(domains=names)


def test_more_choices_than_experts_are_refused():
    with pytest.raises(ValueError, match="specialist_gru: top_k = 6; expected at most 5, its experts"):
        small(top_k=6)


@pytest.mark.parametrize("groups", [[2, 0, 0, 3, 2, 2, 2], [2] * 7, [0] * 7, [3, 3, 3, 3, 3, 3, 0]])
def test_grouped_maps_are_the_maps_one_by_one(groups):
    rows, weight, bias = torch.randn(7, 5), torch.randn(4, 3, 5), torch.randn(4, 3)
    rows, weight, bias = (tensor.double().requires_grad_() for tensor in (rows, weight, bias))
    expected = torch.stack([weight[group] @ row + bias[group] for row, group in zip(rows, groups, strict=True)])
    which = torch.tensor(groups)
    torch.testing.assert_close(grouped_linear(rows, which, weight, bias), expected, atol=1e-13, rtol=0)
    assert torch.autograd.gradcheck(lambda x, w, b: grouped_linear(x, which, w, b), (rows, weight, bias))


def test_the_operator_is_registered_as_torch_wants_it():
    given = (torch.randn(7, 5), torch.tensor([2, 0, 0, 3, 2, 2, 2]), torch.randn(4, 3, 5), torch.randn(4, 3))
    given = [tensor.requires_grad_() if tensor.is_floating_point() else tensor for tensor in given]
    torch.library.opcheck(torch.ops.lvm_fast.grouped_linear.default, tuple(given))


def test_rows_of_each_expert_are_counted():
    experts = torch.tensor([[3, 0], [3, 4], [0, 3]])
    assert rows_of_each(experts, 6).tolist() == [2, 0, 0, 3, 1, 0]
