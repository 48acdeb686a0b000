"""Our GRU under bfloat16 autocast: no less exact than torch's own, whatever the sizes and lengths."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import lvm_fast as lf
from lvm_fast import _core
from lvm_fast.ops import runtime
from lvm_fast.ops.gru_bf16 import gru_bf16_layer, gru_bf16_layer_backward

LEVELS = [level for level in runtime.simd_levels() if level in ("avx512bf16", "amx")]
pytestmark = pytest.mark.skipif(not LEVELS, reason="this CPU has no bfloat16 products")

SIZES = [  # input, hidden, layers, batch, length
    (3, 1, 1, 1, 1),
    (7, 7, 2, 3, 4),
    (16, 16, 1, 33, 2),
    (9, 17, 4, 2, 30),
    (64, 64, 1, 32, 70),
    (40, 65, 2, 5, 7),
    (33, 512, 2, 20, 9),
    (20, 513, 1, 9, 6),
    (12, 8, 1, 3, 1000),
    (24, 16, 3, 1, 200),
]


@pytest.fixture(autouse=True, params=LEVELS)
def bf16_level(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each instruction set with bfloat16 products in turn."""
    before = runtime.simd_level()
    runtime.set_simd_level(request.param)
    assert _core.has_half_gru()
    yield
    runtime.set_simd_level(before)


def run(module: nn.Module, x: Tensor, hx: Tensor, weights: Tensor, bf16: bool) -> list[Tensor]:
    """States, final states, and all gradients, in float64."""
    x, hx = x.clone().requires_grad_(), hx.clone().requires_grad_()
    module.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        states, final = module(x, hx)
    ((states * weights.to(states.dtype)).sum() + final.sin().sum()).backward()
    found = [states, final, x.grad, hx.grad, *(parameter.grad for parameter in module.parameters())]
    return [tensor.detach().double() for tensor in found]


def off(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(("inputs", "hidden", "layers", "batch", "length"), SIZES)
def test_no_less_exact_than_torchs_own_autocast(inputs, hidden, layers, batch, length):
    torch.manual_seed(0)
    ours, theirs = lf.GRU(inputs, hidden, layers, batch_first=True), nn.GRU(inputs, hidden, layers, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    exact = nn.GRU(inputs, hidden, layers, batch_first=True).double()
    exact.load_state_dict(ours.state_dict())
    x, hx = torch.randn(batch, length, inputs), torch.randn(layers, batch, hidden)
    weights = torch.randn(batch, length, hidden)
    found, peers = run(ours, x, hx, weights, True), run(theirs, x, hx, weights, True)
    expected = run(exact, x.double(), hx.double(), weights, False)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x)[0].dtype == torch.float32
    for index, (mine, other, reference) in enumerate(zip(found, peers, expected, strict=True)):
        assert off(mine, reference) < 0.01, index
        least = 0.004 if hidden > 1 else 0.01  # a few numbers do not average
        assert off(mine, reference) <= max(1.1 * off(other, reference), least), index


def test_strided_and_expanded_inputs():
    torch.manual_seed(0)
    ours = lf.GRU(6, 10, 2)
    for x in (torch.randn(5, 4, 12)[..., ::2].transpose(0, 1), torch.randn(4, 1, 6).expand(4, 5, 6)):
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(ours(x)[0], ours(x.contiguous())[0])


def test_sequences_of_several_lengths_equal_one_by_one():
    torch.manual_seed(0)
    ours = lf.GRU(6, 40, 2)
    lengths = torch.tensor([3, 9, 1, 9, 4])
    x = torch.randn(5, 9, 6)
    with torch.autocast("cpu", torch.bfloat16):
        together, last = ours.states(x, lengths=lengths), ours.last_state(x, lengths=lengths)
        for b, length in enumerate(lengths.tolist()):
            alone = ours.states(x[b : b + 1, :length])
            assert torch.equal(together[b, :length], alone[0])
            assert torch.equal(last[b], ours.last_state(x[b : b + 1, :length])[0])


def test_packed_sequences_and_their_gradients():
    torch.manual_seed(0)
    ours, exact = lf.GRU(5, 9, 3), nn.GRU(5, 9, 3).double()
    exact.load_state_dict(ours.state_dict())
    lengths, x = torch.tensor([2, 7, 1, 5, 5]), torch.randn(7, 5, 5)
    results = []
    for module, data in ((ours, x), (exact, x.double())):
        data = data.clone().requires_grad_()
        packed = pack_padded_sequence(data, lengths, enforce_sorted=False)
        with torch.autocast("cpu", torch.bfloat16, enabled=module is ours):
            states, final = module(packed)
        (states.data.sin().sum() + final.cos().sum()).backward()
        results.append([states.data, final, data.grad, *(p.grad for p in module.parameters())])
    for mine, reference in zip(*results, strict=True):
        assert off(mine.detach().double(), reference.detach()) < 0.02
    assert not results[0][2][3:, 0].any()  # nothing comes from beyond a length


def test_threads_share_out_units_without_changing_a_bit(restore_threads):
    torch.manual_seed(0)
    ours, x = lf.GRU(20, 100, 2), torch.randn(30, 12, 20)
    results = []
    for threads in (1, 2, 5):
        runtime.set_num_threads(threads)
        ours.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            states, _ = ours(x)
        states.sin().sum().backward()
        results.append([states, *(p.grad for p in ours.parameters())])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_more_sequences_than_a_step_takes(restore_threads):
    torch.manual_seed(0)
    ours, exact = lf.GRU(10, 33), nn.GRU(10, 33).double()
    exact.load_state_dict(ours.state_dict())
    x = torch.randn(5, 150, 10)
    for threads in (1, 8):  # 8: several teams
        runtime.set_num_threads(threads)
        found = run(ours, x, torch.zeros(1, 150, 33), torch.ones(5, 150, 33), True)
        expected = run(exact, x.double(), torch.zeros(1, 150, 33).double(), torch.ones(5, 150, 33), False)
        assert max(off(a, b) for a, b in zip(found, expected, strict=True)) < 0.02


def test_the_whole_stack_compiles_without_a_graph_break():
    torch.manual_seed(0)
    ours, x = lf.GRU(6, 20, 2, dropout=0.5), torch.randn(4, 3, 6)

    def loss(inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return ours(inputs)[0].float().sin().sum()

    ours.eval()
    expected = torch.autograd.grad(loss(x), list(ours.parameters()))
    found = torch.autograd.grad(torch.compile(loss, fullgraph=True)(x), list(ours.parameters()))
    for mine, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-2, rtol=1e-2)
    ours.train()
    torch.manual_seed(1)
    value = torch.compile(loss, fullgraph=True, backend="aot_eager")(x)
    torch.manual_seed(1)
    torch.testing.assert_close(value, loss(x))


@pytest.mark.parametrize("lengths", [None, torch.tensor([4, 3, 1])])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_operators_keep_torchs_rules(lengths, dtype):
    torch.manual_seed(0)
    shapes = ((4, 3, 7), (15, 7), (15, 5), (15,), (15,), (3, 5))
    inputs, *others = (torch.randn(*shape) for shape in shapes)
    layer = (inputs.to(dtype).requires_grad_(), *(other.requires_grad_() for other in others), lengths)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(gru_bf16_layer, layer, test_utils=checks)
    states, final, gates, candidates = gru_bf16_layer(*layer)
    kept = (*layer, states, gates, candidates, True)
    kept = tuple(tensor.detach() if isinstance(tensor, Tensor) else tensor for tensor in kept)
    grads = (torch.ones_like(states), torch.ones_like(final))
    torch.library.opcheck(gru_bf16_layer_backward, (*grads, *kept), test_utils=checks)


def test_every_model_parameter_learns_as_in_float32():
    torch.manual_seed(3)
    model = lf.create_model("memory_gru", input_dim=16, hidden_dim=12, num_layers=2, memory_slots=8, dropout=0.0).eval()
    context, lengths = torch.randn(8, 7, 16), torch.tensor([3, 7, 7, 2, 5, 7, 6, 4])
    found = []
    for bf16 in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            delta = model(context, lengths)
        found.append([delta, *torch.autograd.grad((delta.float() * torch.arange(16.0)).sum(), model.gru.parameters())])
    for exact, mine in zip(*found, strict=True):
        assert off(mine.detach(), exact.detach()) < 0.05


def test_the_operator_refuses_other_types_by_name():
    bf16 = torch.zeros(15, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"bias_ih is torch\.bfloat16 \(15,\); expected torch\.float32 \(15,\)"):
        gru_bf16_layer(
            torch.zeros(2, 1, 7), torch.zeros(15, 7), torch.zeros(15, 5), bf16, bf16, torch.zeros(1, 5), None
        )
