"""Transforms of whole modules: with dropout, lengths, autocast, recomputed layers, and within the compiler."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.utils.rnn import pack_padded_sequence

import lvm_fast as lf

LENGTHS = torch.tensor([5, 2, 4, 1])


def gru(**settings) -> tuple[lf.GRU, Tensor, Tensor]:
    """A GRU, inputs (4, 5, 3) and a direction."""
    torch.manual_seed(0)
    return lf.GRU(3, 6, 2, batch_first=True, **settings), torch.randn(4, 5, 3), torch.randn(4, 5, 3)


def test_sequences_of_several_lengths_are_mapped_with_their_lengths():
    module, x, _ = gru()
    found = vmap(lambda given, count: module.last_state(given[None], lengths=count[None])[0])(x, LENGTHS)
    torch.testing.assert_close(found, module.last_state(x, lengths=LENGTHS))


def test_what_lies_beyond_a_length_has_no_say_in_a_transform():
    module, x, direction = gru()
    beyond = (torch.arange(5) >= LENGTHS[:, None])[..., None]
    tangents, slopes = [], []
    for rubbish in (0.0, float("nan")):
        given = x.masked_fill(beyond, rubbish)
        tangents.append(jvp(lambda z: module.last_state(z, lengths=LENGTHS), (given,), (direction,))[1])
        slopes.append(grad(lambda z: module.last_state(z, lengths=LENGTHS).sum())(given))
    assert torch.equal(*tangents)
    assert torch.equal(*slopes)
    assert slopes[0].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_layers_states_have_tangents(dtype):
    module, x, direction = gru()
    module = module.to(dtype)
    _, found = jvp(module.layer_states, (x.to(dtype),), (direction.to(dtype),))
    exact, step = module.double(), 1e-5
    near = [exact.layer_states(x.double() + sign * step * direction.double()) for sign in (1, -1)]
    expected = (near[0] - near[1]) / (2 * step)
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-3)


def test_dropout_in_a_map_is_drawn_as_torch_is_told():
    module, x, _ = gru(dropout=0.5)
    copies = x.expand(3, 4, 5, 3)
    different = vmap(module.states, randomness="different")(copies)
    same = vmap(module.states, randomness="same")(copies)
    assert not torch.allclose(different[0], different[1])
    torch.testing.assert_close(same[0], same[1])
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(module.states)(copies)


def test_dropout_in_a_transform_is_that_of_the_seed():
    module, x, direction = gru(dropout=0.5)
    results = []
    for run in (lambda: jvp(module.states, (x,), (direction,)), lambda: (module.states(x), None)):
        torch.manual_seed(3)
        results.append(run())
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.manual_seed(3)
    (slope,) = torch.autograd.grad((module.states(x.requires_grad_()) * torch.ones(6).cumsum(0)).sum(), x)
    pushed = (results[0][1] * torch.ones(6).cumsum(0)).sum()
    torch.testing.assert_close(pushed, (slope * direction).sum())


def test_autocast_keeps_a_tangent_as_exact_as_its_products():
    module, x, direction = gru()
    _, exact = jvp(module.states, (x,), (direction,))
    with torch.autocast("cpu", torch.bfloat16):
        _, close = jvp(module.states, (x,), (direction,))
        second = grad(lambda z: grad(lambda y: module.states(y).float().sin().sum())(z).sin().sum())(x)
    assert (close - exact).norm() < 0.02 * exact.norm()
    expected = grad(lambda z: grad(lambda y: module.states(y).sin().sum())(z).sin().sum())(x)
    assert (second - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_second_gradients_of_recomputed_layers(lengths):
    module, x, _ = gru()
    found = []
    for module.recompute in (False, True):
        first = torch.autograd.grad(
            module.states(x.requires_grad_(), lengths=lengths)[:, 0].sin().sum(), x, create_graph=True
        )
        found.append(torch.autograd.grad(first[0].sin().sum(), list(module.parameters())))
    torch.testing.assert_close(*found)
    torch.testing.assert_close(jvp(module.states, (x.detach(),), (x.detach(),))[0], module.states(x.detach()))


def test_second_gradients_of_packed_sequences():
    module, x, _ = gru()
    theirs = nn.GRU(3, 6, 2, batch_first=True)
    theirs.load_state_dict(module.state_dict())
    found = []
    for each in (module, theirs):
        z = x.clone().requires_grad_()
        states, final = each(pack_padded_sequence(z, LENGTHS, batch_first=True, enforce_sorted=False))
        (first,) = torch.autograd.grad(states.data.sin().sum() + final.sin().sum(), z, create_graph=True)
        found.append(torch.autograd.grad(first.sin().sum(), [z, *each.parameters()]))
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


def test_an_lstm_in_float32_has_the_tangents_that_torchs_own_lacks():
    torch.manual_seed(0)
    module, x, direction = lf.LSTM(3, 6, 2), torch.randn(4, 5, 3), torch.randn(4, 5, 3)
    _, found = jvp(module.states, (x,), (direction,))
    _, expected = jvp(module.double().states, (x.double(),), (direction.double(),))
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-4)
    module = module.float()
    torch.testing.assert_close(vmap(module.states)(torch.stack((x, direction)))[1], module.states(direction))


def dual(function, x: Tensor, direction: Tensor) -> Tensor:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(function(forward_ad.make_dual(x, direction))).tangent


USES = {
    "jvp": lambda function, x, direction: jvp(function, (x,), (direction,)),
    "vmap": lambda function, x, direction: vmap(function)(torch.stack((x, direction))),
    "grad": lambda function, x, direction: grad(lambda z: function(z).sin().sum())(x),
    "grad of grad": lambda f, x, _: grad(lambda z: grad(lambda y: f(y).sin().sum())(z).sin().sum())(x),
    "dual numbers": dual,
}


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("GRU", "dual numbers"),
        ("l2_normalize", "dual numbers"),
        ("l2_normalize", "vmap"),
        *(
            pytest.param(name, use, marks=pytest.mark.slow)
            for name in ("GRU", "LSTM", "l2_normalize")
            for use in ("jvp", "vmap", "grad", "grad of grad", "dual numbers")
        ),
    ],
)
def test_transforms_within_the_compiler(name, use):
    torch.compiler.reset()
    module, x, direction = gru()
    function = {"GRU": module.states, "LSTM": lf.LSTM(3, 6, 2).states, "l2_normalize": lf.l2_normalize}[name]
    compiled = torch.compile(lambda *given: USES[use](function, *given), backend="aot_eager")
    found, expected = compiled(x, direction), USES[use](function, x, direction)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_compiled_training_keeps_the_kernels_and_writes_to_its_results():
    torch.compiler.reset()
    module, x, _ = gru()
    seen: list[str] = []

    def note(graph: torch.fx.GraphModule, given):
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return make_boxed_func(graph.forward)

    def loss(inputs: Tensor) -> Tensor:
        states, final = module(inputs)
        return states.relu_().sum() + final.mul_(2).sum()

    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    compiled = torch.compile(loss, backend=aot_autograd(fw_compiler=note, bw_compiler=note), fullgraph=True)
    found = torch.autograd.grad(compiled(x), list(module.parameters()))
    torch.testing.assert_close(found, torch.autograd.grad(loss(x), list(module.parameters())))
    assert [seen.count(f"lvm_fast.{name}.default") for name in ("gru_layer", "gru_layer_backward")] == [2, 2]
    assert not any("tanh" in target for target in seen)


def test_operators_called_eagerly_while_the_compiler_listens():
    torch.compiler.reset()
    module, x, _ = gru()

    @torch._dynamo.disable(recursive=False)
    def hidden(inputs: Tensor) -> Tensor:
        return module(inputs)[0].sum() + lf.l2_normalize(inputs).sum()

    x.requires_grad_()
    compiled = torch.compile(lambda inputs: hidden(inputs), backend="aot_eager")
    found = torch.autograd.grad(compiled(x), x)
    torch.testing.assert_close(found, torch.autograd.grad(hidden(x), x))


def test_gradients_of_each_sample_and_of_each_model():
    module, x, _ = gru()
    values = {name: value.detach() for name, value in module.named_parameters()}

    def loss(own: dict[str, Tensor], sample: Tensor) -> Tensor:
        return functional_call(module, own, (sample[None],))[0].sin().sum()

    found = vmap(grad(loss), (None, 0))(values, x)
    for place, sample in enumerate(x):
        expected = torch.autograd.grad(module(sample[None])[0].sin().sum(), list(module.parameters()))
        torch.testing.assert_close([each[place] for each in found.values()], list(expected), atol=1e-5, rtol=1e-4)
