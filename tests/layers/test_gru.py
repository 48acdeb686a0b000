"""Our GRU against torch.nn.GRU: states and every gradient, at every instruction set and awkward sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import lvm_fast as lf
from lvm_fast.models.recurrence import last_valid
from lvm_fast.ops import runtime
from lvm_fast.ops.gru_f32 import gru_layer, gru_layer_backward

SIZES = [  # input, hidden, layers, batch, length
    (5, 1, 1, 1, 1),
    (7, 7, 2, 3, 4),
    (16, 16, 1, 33, 2),
    (9, 17, 4, 2, 30),
    (8, 65, 2, 5, 7),
    (20, 512, 1, 9, 6),
]


def pair(inputs: int, hidden: int, layers: int, dtype: torch.dtype = torch.float64) -> tuple[lf.GRU, nn.GRU]:
    torch.manual_seed(0)
    ours = lf.GRU(inputs, hidden, layers, batch_first=True)
    theirs = nn.GRU(inputs, hidden, layers, batch_first=True).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("spoilt", ["inputs", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "hx"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("hidden", [7, 16])
def test_what_is_not_finite_goes_where_torch_has_it(simd_level, spoilt, number, hidden):
    ours, theirs = pair(5, hidden, 2, torch.float32)
    given = {"inputs": torch.randn(4, 6, 5), "hx": torch.randn(2, 4, hidden)}
    with torch.no_grad():
        for module in (ours, theirs):
            (given[spoilt] if spoilt in given else getattr(module, spoilt)).view(-1)[1] = number
    found, expected = [], []
    for module, results in ((ours, found), (theirs, expected)):
        leaves = [tensor.clone().requires_grad_() for tensor in given.values()]
        results += module(*leaves)
        if number != number:  # where an infinity meets a zero going back depends on the order of products
            results += torch.autograd.grad(results[0].sin().sum(), [*leaves, *module.parameters()])
    for mine, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-5, rtol=1e-4, equal_nan=True)


MANY_SIZES = [
    (11, hidden, layers, batch, length)
    for layers in (1, 2, 3, 4)
    for hidden, shapes in [
        *((narrow, ((1, 1), (1, 1000), (33, 1), (2, 300), (33, 60))) for narrow in (1, 7, 16)),
        *((wide, ((1, 40), (33, 3), (2, 100))) for wide in (512, 513)),
    ]
    for batch, length in shapes
]


@pytest.mark.parametrize(("inputs", "hidden", "layers", "batch", "length"), SIZES)
def test_states_and_gradients_agree_with_torch_in_float64(simd_level, inputs, hidden, layers, batch, length):
    check_against_float64(inputs, hidden, layers, batch, length)


@pytest.mark.slow
@pytest.mark.parametrize(("inputs", "hidden", "layers", "batch", "length"), MANY_SIZES)
def test_many_sizes_agree_with_torch_in_float64(simd_level, inputs, hidden, layers, batch, length):
    check_against_float64(inputs, hidden, layers, batch, length)


def check_against_float64(inputs: int, hidden: int, layers: int, batch: int, length: int) -> None:
    """States, final states and every gradient, each within 1e-5 of its own norm."""
    ours, theirs = pair(inputs, hidden, layers)
    given = torch.randn(batch, length, inputs), torch.randn(layers, batch, hidden)
    weights = torch.randn(batch, length, hidden)
    results = []
    for module, dtype in ((ours, torch.float32), (theirs, torch.float64)):
        x, hx = (tensor.detach().to(dtype).requires_grad_() for tensor in given)
        states, final = module(x, hx)
        ((states * weights.to(dtype)).sum() + final.sin().sum()).backward()
        grads = {name: parameter.grad for name, parameter in module.named_parameters()}
        results.append({"states": states, "final": final, "input": x.grad, "hx": hx.grad, **grads})
    for name, expected in results[1].items():
        error = (results[0][name].double() - expected).norm() / expected.norm()
        most = 1e-5 if hidden > 1 else 1e-4  # sums of a few numbers cancel
        assert error <= most, f"{name}: off by {error:.1e}"


def test_strided_inputs_and_gradients(simd_level):
    ours, theirs = pair(6, 10, 2)
    x = torch.randn(5, 4, 12)[..., ::2].transpose(0, 1)
    torch.testing.assert_close(ours(x)[0].double(), theirs(x.double())[0], atol=2e-6, rtol=1e-5)
    ours(x)[0][:, -1].sum().backward()  # most steps get no gradient of their own, and an expanded one
    theirs(x.double())[0][:, -1].sum().backward()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.double(), reference.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # the core's recurrence, and torch's
@pytest.mark.parametrize("batch", [2, 5])
def test_the_states_of_every_layer_are_those_of_a_gru_cut_off_there(simd_level, batch, dtype):
    ours, theirs = pair(6, 10, 3)
    ours, x = ours.to(dtype), torch.randn(batch, 7, 6)
    every = ours.layer_states(x.to(dtype))
    assert every.shape == (3, batch, 7, 10)
    pull = torch.randn(3, batch, 7, 10).double()
    (every * pull).sum().backward()
    expected = []
    for layers in (1, 2, 3):
        cut = nn.GRU(6, 10, layers, batch_first=True).double()
        for name in dict(cut.named_parameters()):
            setattr(cut, name, theirs.get_parameter(name))
        expected.append(cut(x.double())[0])
    torch.testing.assert_close(every.double(), torch.stack(expected), atol=2e-6, rtol=1e-5)
    (torch.stack(expected) * pull).sum().backward()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.double(), reference.grad, atol=1e-4, rtol=1e-4)


def test_dropout_lies_between_the_layers_whose_states_are_asked_for():
    torch.manual_seed(0)
    ours, x = lf.GRU(4, 6, 2, dropout=0.9, batch_first=True), torch.randn(3, 5, 4)
    noisy, plain = ours.train().layer_states(x), ours.eval().layer_states(x)
    torch.testing.assert_close(noisy[0], plain[0])
    assert not torch.allclose(noisy[1], plain[1])


def test_other_levels_keep_the_recurrence_in_float32():
    ours, x = lf.GRU(32, 24, 2), torch.randn(8, 20, 32)
    level = runtime.simd_level()
    try:
        runtime.set_simd_level("scalar")
        expected = ours(x)
        with torch.autocast("cpu", torch.bfloat16):
            found, narrow = ours(x), ours(x.bfloat16())
    finally:
        runtime.set_simd_level(level)
    assert all(torch.equal(mine, exact) for mine, exact in zip(found, expected, strict=True))
    assert narrow[0].dtype == torch.float32
    torch.testing.assert_close(narrow[0], expected[0], atol=0.02, rtol=0)


def test_float16_autocast_is_not_taken_for_bfloat16():
    ours, x = lf.GRU(32, 24, 2), torch.randn(8, 20, 32)
    exact = ours(x)[0]
    with torch.autocast("cpu", torch.float16):
        close = ours(x)[0]
    torch.testing.assert_close(close, exact, atol=2e-3, rtol=0)  # bfloat16 is off by more


def test_float64_takes_torchs_own_recurrence_and_passes_gradcheck():
    ours = lf.GRU(3, 4, 2).double()
    x = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ours, (x,))


def test_dropout_lies_between_layers_and_only_in_training():
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="non-zero dropout expects num_layers greater than 1"):
        single = lf.GRU(4, 6, 1, dropout=0.9)
    double = lf.GRU(4, 6, 2, dropout=0.9)
    x = torch.randn(3, 5, 4)
    torch.testing.assert_close(single.train()(x)[0], single.eval()(x)[0])
    assert not torch.allclose(double.train()(x)[0], double.eval()(x)[0])


def test_results_do_not_depend_on_the_number_of_threads(restore_threads):
    from lvm_fast.ops import runtime

    ours, _ = pair(8, 31, 2)
    x = torch.randn(13, 9, 8)
    results = []
    for threads in (1, 2, 5):
        runtime.set_num_threads(threads)
        results.append(ours(x)[0])
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("layout", ["steps first", "batch first", "one sequence", "no bias"])
def test_a_drop_in_for_torchs_with_initial_states(layout):
    torch.manual_seed(0)
    settings = {"num_layers": 2, "batch_first": layout == "batch first", "bias": layout != "no bias"}
    ours, theirs = lf.GRU(5, 8, **settings), nn.GRU(5, 8, **settings)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(6, 5) if layout == "one sequence" else torch.randn(6, 4, 5)
    batch = {"one sequence": (), "batch first": (6,)}.get(layout, (4,))
    initial = torch.randn(2, *batch, 8)
    results = []
    for module in (ours, theirs):
        hx = initial.clone().requires_grad_()
        states, final = module(x, hx)
        (states.sin().sum() + final.cos().sum()).backward()
        results.append([states, final, hx.grad, *(p.grad for p in module.parameters())])
    for mine, reference in zip(*results, strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("given", ["sorted", "in any order"])
def test_packed_sequences(simd_level, given):
    ours, theirs = pair(5, 9, 3, torch.float32)
    lengths = torch.tensor([7, 5, 5, 2, 1] if given == "sorted" else [2, 7, 1, 5, 5])
    packed = pack_padded_sequence(torch.randn(7, 5, 5), lengths, enforce_sorted=given == "sorted")
    results = []
    for module in (ours, theirs):
        module.zero_grad()
        states, final = module(packed)
        (states.data.sin().sum() + final.cos().sum()).backward()
        results.append([states.data, final, *(p.grad for p in module.parameters())])
        assert torch.equal(states.batch_sizes, packed.batch_sizes)
    for mine, reference in zip(*results, strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-5, rtol=1e-4)


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


@pytest.mark.parametrize("lengths", [None, torch.tensor([4, 3, 1])])
@pytest.mark.parametrize("bf16", [False, True])
def test_the_operators_keep_torchs_rules(lengths, bf16):
    torch.manual_seed(0)
    inputs, weight, bias, initial = (
        torch.randn(*shape, requires_grad=True) for shape in ((4, 3, 15), (15, 5), (15,), (3, 5))
    )
    torch.library.opcheck(gru_layer, (inputs, weight, bias, initial, lengths, bf16))
    with torch.no_grad():
        states, gates, candidates = gru_layer(inputs, weight, bias, initial, lengths, bf16)
        arguments = (torch.randn_like(states), weight.detach(), states, gates, candidates, lengths, bf16)
        torch.library.opcheck(gru_layer_backward, arguments)


@pytest.mark.parametrize("lengths", [None, torch.tensor([4, 3, 1])])
def test_the_gradient_is_the_slope_of_what_the_kernels_compute(simd_level, lengths):
    torch.manual_seed(0)
    shapes = ((4, 3, 15), (15, 5), (15,), (3, 5))
    given = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def states(*exact):  # float32 inside: steps wide enough to rise above its rounding
        return gru_layer(*(tensor.float() for tensor in exact), lengths, False)[0].double()

    assert torch.autograd.gradcheck(states, given, eps=5e-3, atol=2e-4, rtol=2e-3)


@pytest.mark.parametrize("autocast", [False, True])
def test_compiles_whole(autocast):
    torch.compiler.reset()
    ours = lf.GRU(6, 10, 2, batch_first=True)
    x = torch.randn(4, 7, 6)

    def loss(inputs):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            states, final = ours(inputs)
        return states.sin().sum() + final.float().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    expected = torch.autograd.grad(loss(x), list(ours.parameters()))
    got = torch.autograd.grad(compiled(x), list(ours.parameters()))
    for mine, reference in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("autocast", [False, True])
def test_recomputed_layers_learn_the_same_from_less(autocast):
    ours, x = lf.GRU(16, 32, 3, dropout=0.4), torch.randn(40, 8, 16)
    lengths, results, kept = torch.tensor([40, 3, 17, 40, 9, 1, 25, 33]), [], []
    for recompute in (False, True):
        ours.recompute, sizes = recompute, []
        torch.manual_seed(0)
        with (
            torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.nbytes) or t, lambda t: t),
            torch.autocast("cpu", torch.bfloat16, enabled=autocast),
        ):
            states = ours.states(x.transpose(0, 1), lengths=lengths)
        kept.append(sum(sizes))
        results.append([states, *torch.autograd.grad(states.float().sin().sum(), list(ours.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert kept[1] < 0.4 * kept[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lf.GRU(4, 0), "GRU: hidden_size: expected a whole number of at least 1, got 0"),
        (lambda: lf.GRU(4, 4, dropout=1.5), r"GRU: dropout: expected a finite number from 0\.0 to 1\.0, got 1\.5"),
        (lambda: lf.GRU(4, 4)(torch.zeros(2, 3, 5)), "GRU: input: expected 4 numbers a step, got 5"),
        (lambda: lf.GRU(4, 4)(torch.zeros(0, 3, 4)), "GRU: input: Expected sequence length to be larger than 0 in RNN"),
        (lambda: lf.GRU(4, 4)(torch.zeros(2, 3, 4, dtype=torch.int64)), r"GRU: input: expected a float dtype"),
        (
            lambda: lf.GRU(4, 4).states(torch.zeros(5, 3, 4), lengths=torch.tensor([1, 2])),
            r"lengths: expected shape \(5,\)",
        ),
        (
            lambda: lf.GRU(4, 4)(torch.zeros(2, 3, 4), torch.zeros(1, 2, 4)),
            r"GRU: hx: Expected hidden size \(1, 3, 4\), got \(1, 2, 4\)",
        ),
    ],
)
def test_bad_arguments_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_last_valid_picks_each_rows_own_last_step():
    states = torch.arange(24.0).reshape(2, 4, 3)
    torch.testing.assert_close(last_valid(states, None), states[:, 3])
    torch.testing.assert_close(last_valid(states, torch.tensor([1, 3])), torch.stack((states[0, 0], states[1, 2])))


@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_that_have_faded_are_zero_and_not_denormal(autocast):
    torch.manual_seed(0)
    ours, x = lf.GRU(4, 6), torch.randn(600, 2, 4)
    with torch.no_grad():
        ours.weight_hh_l0.mul_(0.1)  # forgets quickly
    projected = x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours(projected)[0][-1].sum().backward()
    sizes = projected.grad.abs().flatten()
    assert sizes.max() > 1e-3
    assert (sizes == 0).float().mean() > 0.2
    assert not ((sizes > 0) & (sizes < torch.finfo(torch.float32).tiny)).any()
