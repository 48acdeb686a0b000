"""Our LSTM against torch.nn.LSTM: states and every gradient, at every instruction set and awkward sizes."""

from __future__ import annotations

import pickle

import pytest
import torch
from gru_pairs import without_onednn
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import lvm_fast as lf
from lvm_fast.ops import runtime

SIZES = [  # input, hidden, layers, batch, length
    (5, 1, 1, 1, 1),
    (7, 7, 2, 3, 4),
    (16, 16, 1, 33, 2),
    (9, 17, 4, 2, 30),
    (8, 65, 2, 5, 7),
    (20, 512, 1, 9, 6),
]
MANY_SIZES = [
    (11, hidden, layers, batch, length)
    for layers in (1, 2, 3, 4)
    for hidden, shapes in [
        *((narrow, ((1, 1), (1, 1000), (33, 1), (2, 300), (33, 60))) for narrow in (1, 7, 16)),
        *((wide, ((1, 40), (33, 3), (2, 100))) for wide in (512, 513)),
    ]
    for batch, length in shapes
]


def pair(
    inputs: int = 6, hidden: int = 5, layers: int = 2, dtype: torch.dtype = torch.float64, **settings: bool
) -> tuple[lf.LSTM, nn.LSTM]:
    torch.manual_seed(0)
    ours = lf.LSTM(inputs, hidden, layers, batch_first=True, **settings)
    theirs = nn.LSTM(inputs, hidden, layers, batch_first=True, **settings).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def test_fresh_parameters_are_those_of_torch():
    torch.manual_seed(7)
    ours = lf.LSTM(6, 5, 3, bidirectional=True).state_dict()
    torch.manual_seed(7)
    theirs = nn.LSTM(6, 5, 3, bidirectional=True).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(("inputs", "hidden", "layers", "batch", "length"), SIZES)
def test_states_and_gradients_agree_with_torch_in_float64(simd_level, inputs, hidden, layers, batch, length, both):
    check_against_float64(inputs, hidden, layers, batch, length, both)


@pytest.mark.slow
@pytest.mark.parametrize(("inputs", "hidden", "layers", "batch", "length"), MANY_SIZES)
def test_many_sizes_agree_with_torch_in_float64(simd_level, inputs, hidden, layers, batch, length):
    check_against_float64(inputs, hidden, layers, batch, length, False)


def check_against_float64(inputs: int, hidden: int, layers: int, batch: int, length: int, both: bool) -> None:
    """States, final states and every gradient, each within 1e-5 of its own norm."""
    modules, ways = pair(inputs, hidden, layers, bidirectional=both), 2 if both else 1
    given = torch.randn(batch, length, inputs), *torch.randn(2, ways * layers, batch, hidden)
    weights = torch.randn(batch, length, ways * hidden)
    results = []
    for module, dtype in zip(modules, (torch.float32, torch.float64), strict=True):
        x, hx, cx = (tensor.detach().to(dtype).requires_grad_() for tensor in given)
        states, (final, cell) = module(x, (hx, cx))
        ((states * weights.to(dtype)).sum() + final.sin().sum() + cell.cos().sum()).backward()
        grads = {name: parameter.grad for name, parameter in module.named_parameters()}
        found = {"states": states, "final": final, "cell": cell, "input": x.grad, "hx": hx.grad, "cx": cx.grad}
        results.append({**found, **grads})
    for name, expected in results[1].items():
        error = (results[0][name].double() - expected).norm() / expected.norm()
        most = 1e-5 if hidden > 1 else 1e-4  # sums of a few numbers cancel
        assert error <= most, f"{name}: off by {error:.1e}"


@pytest.mark.parametrize("spoilt", ["inputs", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "hx", "cx"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("hidden", [7, 16])
def test_what_is_not_finite_goes_where_torch_has_it(simd_level, spoilt, number, hidden):
    ours, theirs = pair(5, hidden, 2, torch.float32)
    given = {"inputs": torch.randn(4, 6, 5), "hx": torch.randn(2, 4, hidden), "cx": torch.randn(2, 4, hidden)}
    with torch.no_grad():
        for module in (ours, theirs):
            (given[spoilt] if spoilt in given else getattr(module, spoilt)).view(-1)[1] = number
    found, expected = [], []
    for module, results in ((ours, found), (theirs, expected)):
        x, hx, cx = (tensor.clone().requires_grad_() for tensor in given.values())
        with without_onednn():
            states, final = module(x, (hx, cx))
        results += [states, *final]
        if number != number:  # where an infinity meets a zero going back depends on the order of products
            results += torch.autograd.grad(states.sin().sum(), [x, hx, cx, *module.parameters()])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4, equal_nan=True)


def test_strided_inputs_and_gradients(simd_level):
    ours, theirs = pair(6, 10, 2)
    x = torch.randn(5, 4, 12)[..., ::2].transpose(0, 1)
    torch.testing.assert_close(ours(x)[0].double(), theirs(x.double())[0], atol=2e-6, rtol=1e-5)
    ours(x)[0][:, -1].sum().backward()  # most steps get no gradient of their own, and an expanded one
    theirs(x.double())[0][:, -1].sum().backward()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.double(), reference.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("of", [0, 1, 2])
def test_gradients_of_one_result_alone(simd_level, of):
    modules, x, slopes = pair(), torch.randn(4, 7, 6), []
    for module, dtype in zip(modules, (torch.float32, torch.float64), strict=True):
        states, (final, cell) = module(x.to(dtype))
        result = (states, final, cell)[of]
        slopes.append([g.double() for g in torch.autograd.grad(result.sin().sum(), list(module.parameters()))])
    torch.testing.assert_close(*slopes, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("given", ["sorted", "in any order"])
@pytest.mark.parametrize("both", [False, True])
def test_packed_sequences(simd_level, given, both):
    modules = pair(5, 9, 3, torch.float32, bidirectional=both)
    lengths = torch.tensor([7, 5, 5, 2, 1] if given == "sorted" else [2, 7, 1, 5, 5])
    packed = pack_padded_sequence(torch.randn(7, 5, 5), lengths, enforce_sorted=given == "sorted")
    results = []
    for module in modules:
        states, (final, cell) = module(packed)
        loss = states.data.sin().sum() + final.cos().sum() + cell.sin().sum()
        results.append([states.data, final, cell, *torch.autograd.grad(loss, list(module.parameters()))])
        assert torch.equal(states.batch_sizes, packed.batch_sizes)
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rubbish", [0.0, float("nan")])
@pytest.mark.parametrize("lengths", [[3, 9, 1, 9, 4], [9, 9, 9, 9, 9]])
def test_sequences_of_several_lengths_equal_one_by_one(simd_level, lengths, rubbish):
    ours, _ = pair(6, 17, 2)
    x = torch.randn(5, 9, 6)
    for b, length in enumerate(lengths):
        x[b, length:] = rubbish
    x.requires_grad_()
    together = ours.states(x, lengths=torch.tensor(lengths))
    alone = [ours.states(x[b : b + 1, :length])[0] for b, length in enumerate(lengths)]
    results = [together[b, :length] for b, length in enumerate(lengths)], alone
    learned = [x, *ours.parameters()]
    gradients = [torch.autograd.grad(sum(states.sin().sum() for states in each), learned) for each in results]
    for mine, reference in zip((*results[0], *gradients[0]), (*results[1], *gradients[1]), strict=True):
        torch.testing.assert_close(mine, reference, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (1, 9), (4, 9)])
def test_steps_one_by_one_are_those_of_a_sequence(batch, steps):
    ours, theirs = pair()
    inputs = torch.randn(batch, steps, 6)
    expected, state = theirs(inputs.double())[0], ours.start(batch)
    for step in range(steps):
        hidden, state = ours.advance(state, inputs[:, step])
        torch.testing.assert_close(hidden.double(), expected[:, step], atol=2e-6, rtol=1e-5)


def test_what_reads_both_ways_has_no_next_step():
    both = lf.LSTM(4, 6, bidirectional=True)
    with pytest.raises(ValueError, match="advance: expected an LSTM that reads forwards only"):
        both.advance(both.start(2), torch.ones(2, 4))


def test_results_do_not_depend_on_the_number_of_threads(restore_threads):
    ours, _ = pair(8, 31, 2)
    x, results = torch.randn(13, 9, 8), []
    for threads in (1, 2, 5):
        runtime.set_num_threads(threads)
        results.append(ours(x)[0])
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_dropout_lies_between_layers_and_only_in_training():
    lstm, inputs = lf.LSTM(6, 5, 2, dropout=0.9), torch.randn(3, 7, 6)
    below = lstm.layer_states(inputs.transpose(0, 1))[0]
    assert not torch.allclose(lstm.train()(inputs)[0], lstm.eval()(inputs)[0])
    torch.testing.assert_close(lstm.layer_states(inputs.transpose(0, 1))[0], below)


def test_both_ways_drop_the_same_numbers_of_a_layer_below():
    torch.manual_seed(0)
    lstm = lf.LSTM(3, 4, 2, dropout=0.5, bidirectional=True)
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):  # the way back does what the way there does
            getattr(lstm, f"{name}_l1_reverse").copy_(getattr(lstm, f"{name}_l1"))
    states, _ = lstm(torch.randn(1, 5, 3))  # of one step
    torch.testing.assert_close(states[..., :4], states[..., 4:])


def test_under_autocast_it_stays_in_float32(simd_level):
    ours, inputs = lf.LSTM(6, 5, 2), torch.randn(3, 7, 6)
    expected = ours(inputs)[0]
    for few in (False, True):
        with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(not few):
            states, final = ours(inputs.bfloat16().float())
            narrow, _ = ours(inputs.bfloat16())
        assert states.dtype == final[0].dtype == final[1].dtype == torch.float32
        torch.testing.assert_close(narrow, states, atol=1e-6, rtol=0)
        torch.testing.assert_close(states, expected, atol=0.02, rtol=0)


def test_replaced_parameters_are_those_that_run():
    ours, theirs = pair(dtype=torch.float32)
    inputs = torch.randn(4, 7, 6)
    for module in (ours, theirs):
        nn.utils.parametrizations.weight_norm(module, "weight_hh_l1")
        module.weight_ih_l0 = nn.Parameter(torch.ones(20, 6))
    expected, _ = theirs(inputs)
    torch.testing.assert_close(ours(inputs)[0], expected)
    state = ours.start(4)
    for step in range(7):
        hidden, state = ours.advance(state, inputs[:, step])
        torch.testing.assert_close(hidden, expected[:, step])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.ones(3, 7, 6).to_sparse(), r"expected a dense tensor, got one of layout torch\.sparse_coo"),
        (torch.ones(3, 7, 6, dtype=torch.int64), r"expected a float dtype, got torch\.int64"),
        (torch.ones(3, 7, 5), "expected 6 numbers a step, got 5"),
        (torch.ones(0, 3, 6), "Expected sequence length to be larger than 0 in RNN, got 0 steps"),
        ([1.0], "expected a torch tensor, got list"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, message):
    with pytest.raises(ValueError, match=f"^LSTM: input: .*{message}"):
        lf.LSTM(6, 5, 2)(inputs)


@pytest.mark.parametrize("lengths", [None, torch.tensor([2, 7, 1, 5])])
@pytest.mark.parametrize("both", [False, True])
def test_recomputed_layers_learn_the_same_from_less(lengths, both):
    ours, x = lf.LSTM(16, 32, 3, dropout=0.4, bidirectional=both), torch.randn(40, 4, 16)
    results, kept = [], []
    for recompute in (False, True):
        ours.recompute, sizes = recompute, []
        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, to=sizes: to.append(t.nbytes) or t, lambda t: t):
            states = ours.states(x.transpose(0, 1), lengths=lengths)
        kept.append(sum(sizes))
        results.append([states, *torch.autograd.grad(states.sin().sum(), list(ours.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert kept[1] < 0.4 * kept[0]


def test_gradients_that_have_faded_are_zero_and_not_denormal():
    torch.manual_seed(0)
    ours, x = lf.LSTM(4, 6), torch.randn(600, 4, 4, requires_grad=True)
    ours(x)[0][-1].sum().backward()
    sizes = x.grad.abs().flatten()
    assert sizes.max() > 1e-3
    assert (sizes == 0).float().mean() > 0.2
    assert not ((sizes > 0) & (sizes < torch.finfo(torch.float32).tiny)).any()


def compiled_and_eager(run, inputs: Tensor) -> None:
    """The compiler makes one graph, with the same results and gradients."""
    torch.compiler.reset()
    ours = lf.LSTM(6, 5, 2, batch_first=True, bidirectional=True)
    whole = torch.compile(lambda given: run(ours, given), fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(whole(inputs), list(ours.parameters()))
    expected = torch.autograd.grad(run(ours, inputs), list(ours.parameters()))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("autocast", [False, True])
def test_the_compiler_gets_one_graph(autocast):
    def run(ours: lf.LSTM, given: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            states, (final, cell) = ours(given)
        return states.relu_().sum() + final.sin().sum() + cell.cos().sum()

    compiled_and_eager(run, torch.randn(4, 7, 6))


def test_the_compiler_gets_one_graph_of_several_lengths():
    lengths = torch.tensor([3, 7, 1, 5])
    compiled_and_eager(lambda ours, given: ours.states(given, lengths=lengths).sin().sum(), torch.randn(4, 7, 6))


def test_a_pickled_lstm_of_version_0_1_loads():
    ours, x = lf.LSTM(6, 5, 2, batch_first=True, dropout=0.25), torch.randn(4, 7, 6)
    old = lf.LSTM.__new__(lf.LSTM)
    own = {name: ours.__dict__[name] for name in nn.Module().__dict__}  # what it was made of then
    state = {**own, "hidden_size": 5, "num_layers": 2, "dropout": 0.25}
    old.__setstate__(state)
    assert (old.batch_first, old.input_size, old.dropout) == (True, 6, 0.25)
    again = pickle.loads(pickle.dumps(old)).eval()
    assert torch.equal(again(x)[0], ours.eval()(x)[0])
