"""What programs do with a `torch.nn.GRU` or `torch.nn.LSTM` besides running it, done with ours: the same outcome."""

from __future__ import annotations

import warnings

import pytest
import torch
from gru_pairs import check_same, learn, steps, tensors_of
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

import lvm_fast as lf


def old_weight_norm(module: nn.Module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        return learn(nn.utils.weight_norm(module, "weight_hh_l0"))


def spectral_norm(module: nn.Module):
    torch.manual_seed(1)
    return learn(parametrizations.spectral_norm(module, "weight_ih_l0", n_power_iterations=300))


def old_spectral_norm(module: nn.Module):
    torch.manual_seed(1)
    return learn(nn.utils.spectral_norm(module, "weight_ih_l0"))


def orthogonal(module: nn.Module):
    torch.manual_seed(1)
    return learn(parametrizations.orthogonal(module, "weight_hh_l0"))


def pruned(module: nn.Module):
    return learn(prune.l1_unstructured(module, "weight_hh_l0", 0.5))


def pruned_for_good(module: nn.Module):
    return learn(prune.remove(prune.l1_unstructured(module, "weight_hh_l0", 0.5), "weight_hh_l0"))


def weight_drop(module: nn.Module):
    raw = module._parameters.pop("weight_hh_l0")
    module.register_parameter("weight_hh_l0_raw", raw)
    module.weight_hh_l0 = 0.5 * raw
    return learn(module)


def another_parameter(module: nn.Module):
    module.weight_hh_l1 = nn.Parameter(torch.ones_like(module.weight_hh_l1))
    return learn(module)


def written_through_data(module: nn.Module):
    module(steps())
    for parameter in module.parameters():
        parameter.data.mul_(0.5)
    return learn(module)


def replica(module: nn.Module):
    copied = module._replicate_for_data_parallel()
    for name, parameter in module.named_parameters():
        setattr(copied, name, 2 * parameter)
    return copied(steps())


def functional_call(module: nn.Module):
    values = {name: 2 * parameter for name, parameter in module.named_parameters()}
    return torch.func.functional_call(module, values, (steps(),))


def second_order_step(module: nn.Module):
    values = dict(module.named_parameters())
    loss = torch.func.functional_call(module, values, (steps(),))[0].sin().sum()
    slopes = torch.autograd.grad(loss, list(values.values()), create_graph=True)
    moved = {name: value - 0.1 * slope for (name, value), slope in zip(values.items(), slopes, strict=True)}
    after = torch.func.functional_call(module, moved, (steps(),))[0].cos().sum()
    return torch.autograd.grad(after, list(values.values()))


@pytest.mark.parametrize(
    "use",
    [
        old_weight_norm,
        lambda module: learn(parametrizations.weight_norm(module, "weight_hh_l1")),
        spectral_norm,
        old_spectral_norm,
        orthogonal,
        pruned,
        pruned_for_good,
        weight_drop,
        another_parameter,
        written_through_data,
        replica,
        functional_call,
        second_order_step,
    ],
)
def test_replaced_parameters_are_those_that_run(use):
    check_same(use)


@pytest.mark.parametrize("read", ["states", "last_state", "layer_states"])
def test_replaced_parameters_run_however_the_states_are_read(read):
    torch.manual_seed(0)
    gru, x = lf.GRU(4, 6, 2, batch_first=True), steps()
    prune.l1_unstructured(gru, "weight_hh_l0", 0.5)
    for parameter in gru.parameters():
        parameter.data.mul_(0.5)  # the weight in use is made anew by a hook before each call
    states, final = gru(x)
    found = getattr(gru, read)(x)
    expected = final[-1] if read == "last_state" else states
    torch.testing.assert_close(found[-1] if read == "layer_states" else found, expected)


def test_hooks_run_however_the_states_are_read():
    gru, x, seen = lf.GRU(4, 6, 2), steps(), []
    gru.register_forward_pre_hook(lambda module, given: (2 * given[0],))
    gru.register_forward_hook(lambda module, given, results: seen.append(results[0].shape))
    expected = torch.func.functional_call(lf.GRU(4, 6, 2), dict(gru.named_parameters()), (2 * x,))
    torch.testing.assert_close(gru.states(x.transpose(0, 1)), expected[0].transpose(0, 1))
    torch.testing.assert_close(gru.last_state(x.transpose(0, 1)), expected[1][-1])
    torch.testing.assert_close(gru.layer_states(x.transpose(0, 1))[-1], expected[0].transpose(0, 1))
    assert len(seen) == 3


WRITES = {
    "relu_": torch.relu_,
    "+=": lambda result: result.add_(1),
    "masked_fill_": lambda result: result.masked_fill_(result > 0, 0),
    "[:, -1] = 0": lambda result: result[:, -1].zero_(),
}


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("written", [0, 1])
@pytest.mark.parametrize("write", WRITES)
def test_results_may_be_written_to(write, written, batch_first):
    def use(module: nn.Module):
        results = module(steps())
        WRITES[write](tensors_of(results[written])[0])
        loss = sum(result.sin().sum() for result in (results[0], *tensors_of(results[1])))
        return [*results, *torch.autograd.grad(loss, list(module.parameters()))]

    check_same(use, batch_first=batch_first)


@pytest.mark.parametrize("written", [0, 1])
@pytest.mark.parametrize("write", [lambda result: result.data.mul_(2), lambda result: result.detach().numpy().fill(9)])
def test_writes_that_torch_does_not_see_change_no_gradient(write, written):
    def use(module: nn.Module):
        results = module(steps())
        every = (results[0], *tensors_of(results[1]))
        loss = sum((3 * result).sum() for result in every)  # whose gradient does not need the results
        write(tensors_of(results[written])[0])
        return torch.autograd.grad(loss, list(module.parameters()))

    check_same(use)


@pytest.mark.parametrize("lengths", [None, [5, 5, 4, 2, 1], [1, 5, 2, 5, 3]])
@pytest.mark.parametrize("write", WRITES)
def test_states_may_be_written_to(write, lengths):
    torch.manual_seed(0)
    gru, x = lf.GRU(4, 6, 2, batch_first=True), torch.randn(5, 5, 4)
    ends = None if lengths is None else torch.tensor(lengths)
    grads = []
    for copied in (False, True):
        states = gru.states(x, lengths=ends)
        states = states.clone() if copied else states
        WRITES[write](states)
        grads.append(torch.autograd.grad((states * torch.ones(6).cumsum(0)).sum(), list(gru.parameters())))
    torch.testing.assert_close(*grads)


def packed_in_any_order(module: nn.Module):
    packed = pack_padded_sequence(steps(), torch.tensor([2, 5, 1, 4, 4, 5]), enforce_sorted=False)
    states, final = module(packed)
    loss = states.data.sin().sum() + sum(each.cos().sum() for each in tensors_of(final))
    return [*states, final, *torch.autograd.grad(loss, list(module.parameters()))]


def packed_in_order(module: nn.Module):
    count = 4 if module.bidirectional else 2
    initial = torch.linspace(-1, 1, 24 * count).view(count, 4, 6).requires_grad_()
    packed = pack_sequence([steps()[:count, place] for place, count in enumerate((5, 3, 3, 1))])
    states, final = module(packed, initial if module.mode == "GRU" else (initial, 2 * initial))
    loss = states.data.sin().sum() + sum(each.cos().sum() for each in tensors_of(final))
    slopes = torch.autograd.grad(loss, [initial, *module.parameters()])
    return [states.data, states.batch_sizes, final, *slopes]


@pytest.mark.parametrize("use", [packed_in_any_order, packed_in_order])
def test_packed_sequences(use):
    check_same(use)


def without_gradients(module: nn.Module):
    with torch.no_grad():
        return [module(steps()), module(steps()[:, :2]), module(steps()[:, 0])]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("use", [learn, packed_in_any_order, packed_in_order, without_gradients, second_order_step])
def test_both_directions(use, bias):
    check_same(use, bidirectional=True, bias=bias)


@pytest.mark.parametrize("lengths", [[5, 5, 4, 2, 1, 1], [1, 5, 2, 5, 3, 4]])
@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_both_directions_of_several_lengths_equal_one_by_one(simd_level, kind, lengths):
    torch.manual_seed(0)
    ours = getattr(lf, kind)(7, 6, 2, bidirectional=True)
    theirs = getattr(nn, kind)(7, 6, 2, bidirectional=True).double()
    theirs.load_state_dict(ours.state_dict())
    x, shared = steps(), torch.randn(3)
    states, final = ours(x, constant=shared, lengths=torch.tensor(lengths))
    every, _ = ours(x, constant=shared, lengths=torch.tensor(lengths), every_layer=True)
    last = ours.last_state(x.transpose(0, 1), shared, torch.tensor(lengths))
    torch.testing.assert_close(every[-1], states)
    found, expected = [], []
    for place, count in enumerate(lengths):
        whole = torch.cat((x[:count, place], shared.expand(count, 3)), dim=1)
        alone, end = theirs(whole.double())
        found += [states[:count, place], *(each[:, place] for each in tensors_of(final)), last[place]]
        expected += [alone, *tensors_of(end), tensors_of(end)[0][-2:].flatten()]
    torch.testing.assert_close([each.double() for each in found], expected, atol=1e-5, rtol=1e-4)
    slopes = torch.autograd.grad(sum(each.sin().sum() for each in found), list(ours.parameters()))
    right = torch.autograd.grad(sum(each.sin().sum() for each in expected), list(theirs.parameters()))
    torch.testing.assert_close([each.double() for each in slopes], list(right), atol=2e-5, rtol=1e-4)


def test_lengths_and_constant_inputs_as_arguments():
    torch.manual_seed(0)
    gru, x, shared = lf.GRU(7, 6, 2), steps(), torch.randn(3)
    lengths = torch.tensor([5, 1, 3, 5, 2, 4])
    states, final = gru(x, constant=shared, lengths=lengths)
    for place, count in enumerate(lengths):
        whole = torch.cat((x[:count, place], shared.expand(int(count), 3)), dim=1)
        expected = gru(whole)
        torch.testing.assert_close(states[:count, place], expected[0])
        torch.testing.assert_close(final[:, place], expected[1])


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"dropout": True}, ValueError, "dropout should be a number in range"),
        ({"bias": 1}, TypeError, "bias should be of type bool, got: int"),
        ({"batch_first": "no"}, TypeError, "batch_first should be of type bool, got: str"),
        ({"hidden_size": 4.0}, TypeError, "hidden_size should be of type int, got: float"),
        ({"num_layers": 0}, ValueError, "num_layers must be greater than zero"),
    ],
)
def test_what_cannot_be_built_is_refused_as_torch_refuses_it(settings, kind, message):
    for module in (lf.GRU, nn.GRU, lf.LSTM, nn.LSTM):
        with pytest.raises(kind, match=message):
            module(**{"input_size": 4, "hidden_size": 6, **settings})


def test_projections_are_refused():
    for gru in (lf.GRU, nn.GRU):
        with pytest.raises(ValueError, match="proj_size argument is only supported for LSTM"):
            gru(4, 6, proj_size=2)
    with pytest.raises(ValueError, match=r"^LSTM: proj_size: expected 0, got 2: .*use that class"):
        lf.LSTM(4, 6, proj_size=2)


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda gru, x: gru(x, torch.zeros(1, 6, 6).double()), r"hx: expected torch\.float32, .*got torch\.float64"),
        (lambda gru, x: gru(x.double()), r"RNN input dtype \(torch\.float64\) does not match weight dtype"),
        (lambda gru, x: gru(x[0, 0]), "Expected input to be 2D or 3D, got 1D instead"),
        (lambda gru, x: gru(x, torch.zeros(6, 6)), "hx: expected 3 dimensions, as many as input has, got 2"),
        (lambda gru, x: gru(x.to_sparse()), r"input: expected a dense tensor, got one of layout torch\.sparse_coo"),
        (lambda gru, x: gru(x, torch.zeros(1, 6, 6).to_sparse()), "hx: expected a dense tensor"),
        (lambda gru, x: gru(nested()), "input: expected a dense tensor, got a nested one"),
        (lambda gru, x: gru(x.numpy()), "input: expected a torch tensor, got ndarray"),
        (lambda gru, x: gru.states(nested()), "states: inputs: expected a dense tensor, got a nested one"),
        (lambda gru, x: gru.states(x[0]), "states: inputs: expected 3 dimensions"),
        (lambda gru, x: gru.last_state(x, lengths=torch.ones(5)), r"lengths: expected torch\.int64 or .*\.float32"),
        (
            lambda gru, x: gru.last_state(x, lengths=torch.tensor([1, 2, 3, 0, 1])),
            r"lengths\[3\] is 0; expected 1 to 6",
        ),
        (
            lambda gru, x: gru.last_state(x, lengths=torch.tensor([1, 7, 3, 0, 1])),
            r"lengths\[1\] is 7; expected 1 to 6",
        ),
        (lambda gru, x: gru.states(x, lengths=torch.tensor([9] * 5)), r"lengths\[0\] is 9; expected 1 to 6"),
        (lambda gru, x: gru.states(x, lengths=[1, 2, 3]), "lengths: expected a dense tensor of integers, got list"),
        (lambda gru, x: gru.states(x[..., 1:], torch.ones(1, 1)), r"constant: expected one dimension, .* \(1, 1\)"),
        (lambda gru, x: gru(pack_sequence([x[0]]), lengths=torch.tensor([1])), "expected none with a PackedSequence"),
        (lambda gru, x: both_ways()(x, torch.zeros(1, 6, 6)), r"hx: Expected hidden size \(2, 6, 6\), got \(1, 6, 6\)"),
        (lambda gru, x: both_ways()(x[0, :, :3]), "input: expected 4 numbers a step, got 3"),
    ],
)
def test_what_does_not_fit_is_refused_with_and_without_gradients(run, message, learns):
    with torch.set_grad_enabled(learns), pytest.raises(ValueError, match=rf"^GRU: {message}|^GRU: .*{message}"):
        run(lf.GRU(4, 6), steps())


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize(
    ("hx", "message"),
    [
        (torch.zeros(1, 6, 6), "hx: expected a tuple of hidden and cell states, got Tensor"),
        ((torch.zeros(1, 6, 6),), "hx: expected a tuple of hidden and cell states, got 1 of them"),
        ((torch.zeros(1, 6, 6), None), r"hx\[1\]: expected a torch tensor, got NoneType"),
        ((torch.zeros(6, 6), torch.zeros(6, 6)), r"hx\[0\]: expected 3 dimensions, as many as input has, got 2"),
        (
            (torch.zeros(1, 6, 6), torch.zeros(1, 5, 6)),
            r"hx\[1\]: Expected hidden\[1\] size \(1, 6, 6\), got \(1, 5, 6\)",
        ),
        ((torch.zeros(1, 6, 6), torch.zeros(1, 6, 6).double()), r"hx\[1\]: expected torch\.float32, .* torch\.float64"),
    ],
)
def test_states_of_an_lstm_that_do_not_fit_are_refused(hx, message, learns):
    with torch.set_grad_enabled(learns), pytest.raises(ValueError, match=rf"^LSTM: {message}"):
        lf.LSTM(4, 6)(steps(), hx)


def both_ways() -> lf.GRU:
    return lf.GRU(4, 6, bidirectional=True)


def nested() -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a prototype
        return torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(1, 4)])


def test_neither_import_nor_a_first_pass_bring_in_the_compiler(run_python):
    code = """
import sys, torch, lvm_fast as lf
lf.GRU(4, 6)(torch.randn(5, 4, 4))[0].sum().backward()
lf.l2_normalize(torch.randn(3, 4, requires_grad=True)).sum().backward()
lf.create_model("lstm", input_dim=4, hidden_dim=6)(torch.randn(2, 3, 4)).sum().backward()
assert "torch._dynamo" not in sys.modules
"""
    ended = run_python(code)
    assert ended.returncode == 0, ended.stderr
