"""The way into cuDNN: on a GPU against float64, elsewhere with a stand-in for cuDNN that runs on the CPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

import lvm_fast as lf
from lvm_fast.layers import gru_dispatch
from lvm_fast.ops import gru_cudnn
from lvm_fast.ops.gru_cudnn import gru_cudnn_layer

CASES = [
    (1, 1, 5, 7, 1),
    (4, 3, 5, 7, 2),
    (30, 9, 16, 16, 4),
    (20, 8, 33, 65, 3),
]  # steps, batch, input, hidden, layers
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.fixture(params=["stand-in", pytest.param("cuda", marks=on_gpu)])
def device(request, monkeypatch):
    """Where the layers of cuDNN run; on the CPU every GRU is made to go that way."""
    if request.param == "cuda":
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
        return torch.device("cuda")
    monkeypatch.setattr(lf.GRU, "_run_layers", run_all_in_cudnn)
    return torch.device("cpu")


def run_all_in_cudnn(self, inputs, hx, weights, lengths):
    initial = inputs.new_zeros(len(weights), inputs.shape[1], self.hidden_size) if hx is None else hx
    return gru_dispatch.run_in_cudnn(inputs, initial, weights, self._dropout(), lengths, self.recompute)


@torch.library.register_kernel("lvm_fast::gru_cudnn_layer", "cpu")
def stand_in(inputs, initial, weights, for_gradient):
    notes = torch.zeros(inputs.numel() + 3 if for_gradient else 0, dtype=torch.uint8)
    return states_of(inputs, initial, weights).clone(), notes


@torch.library.register_kernel("lvm_fast::gru_cudnn_layer_backward", "cpu")
def stand_in_backward(grad_states, inputs, initial, weights, states, notes):
    assert notes.numel() == inputs.numel() + 3

    def gradients():
        given = [tensor.detach().requires_grad_() for tensor in (inputs, initial, weights)]
        return tuple(grad.clone() for grad in torch.autograd.grad(states_of(*given), given, grad_states))

    with ThreadPoolExecutor(1) as apart:  # within an operator autograd is off
        return apart.submit(gradients).result()


def states_of(inputs, initial, weights):
    parts = gru_cudnn._parts(weights, inputs.shape[-1], initial.shape[-1])
    return torch.gru(inputs, initial[None], parts, True, 1, 0.0, True, False, False)[0]


def outcome(model: torch.nn.Module, context: Tensor, hx: Tensor, lengths: Tensor | None) -> list[Tensor]:
    """States, final states and every gradient, in float64 on the CPU; beyond a length states are zeros."""
    context, hx = context.detach().requires_grad_(), hx.detach().requires_grad_()
    if lengths is None:
        states, final = model(context, hx)
    else:
        packed = torch.nn.utils.rnn.pack_padded_sequence(context, lengths, batch_first=True, enforce_sorted=False)
        packed, final = model(packed, hx)
        states, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, total_length=context.shape[1])
    shown = torch.linspace(-1, 1, states.numel(), device=states.device, dtype=states.dtype).view_as(states)
    ((states * shown).sum() + final.pow(2).sum()).backward()
    gradients = [context.grad, hx.grad, *(parameter.grad for parameter in model.parameters())]
    model.zero_grad()
    return [tensor.detach().double().cpu() for tensor in (states, final, *gradients)]


def check_close(found: list[Tensor], expected: list[Tensor], allowed: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= allowed * other.norm() + 1e-12


@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize(("steps", "batch", "width", "hidden", "layers"), CASES)
def test_states_and_gradients_agree_with_torch_in_float64(device, steps, batch, width, hidden, layers, with_lengths):
    torch.manual_seed(0)
    ours = lf.GRU(width, hidden, layers, batch_first=True)
    theirs = torch.nn.GRU(width, hidden, layers, batch_first=True).double()
    theirs.load_state_dict(ours.state_dict())
    context, hx = torch.randn(batch, steps, width), torch.randn(layers, batch, hidden)
    lengths = torch.randint(1, steps + 1, (batch,)) if with_lengths else None
    found = outcome(ours.to(device), context.to(device), hx.to(device), lengths)
    check_close(found, outcome(theirs, context.double(), hx.double(), lengths), 1e-5)


def test_what_lies_beyond_a_length_does_not_matter(device):
    torch.manual_seed(0)
    model = lf.GRU(5, 8, 2, batch_first=True).to(device)
    lengths, context = torch.tensor([3, 6, 1], device=device), torch.randn(3, 6, 5, device=device)
    results = []
    for rubbish in (0.0, float("nan")):
        beyond = torch.arange(6, device=device) >= lengths[:, None]
        given = context.masked_fill(beyond[..., None], rubbish).requires_grad_()
        model.last_state(given, lengths=lengths).sum().backward()
        results.append([given.grad, *(parameter.grad.clone() for parameter in model.parameters())])
        model.zero_grad()
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    assert not results[0][0][0, 3:].any()


def test_dropout_goes_by_the_seed_and_recomputing_changes_nothing(device):
    model, context = lf.GRU(5, 8, 3, dropout=0.5).to(device), torch.randn(6, 4, 5, device=device)
    grads = []
    for seed, recompute in ((0, False), (0, True), (1, False)):
        torch.manual_seed(seed)
        model.recompute = recompute
        model(context)[0].sum().backward()
        grads.append(model.weight_hh_l0.grad.clone())
        model.zero_grad()
    assert torch.equal(grads[0], grads[1])
    assert not torch.equal(grads[0], grads[2])


def test_a_model_without_dropout_learns_in_evaluation_mode(device):
    model = lf.GRU(5, 8).to(device).eval()
    model(torch.randn(6, 4, 5, device=device))[0].sum().backward()
    assert model.weight_hh_l0.grad.any()


@pytest.mark.filterwarnings("ignore")  # the compiler's advice
@pytest.mark.parametrize("with_lengths", [False, True])
def test_the_compiler_takes_it_whole_at_any_shape(device, with_lengths, monkeypatch):
    if device.type == "cpu":  # no cuDNN to ask
        monkeypatch.setattr(gru_cudnn, "_bytes_of_notes", lambda n, b, i, h, kept, *_: (n * b * i + 3) * kept)
    torch.manual_seed(0)
    model = lf.GRU(5, 8, 2).to(device)
    step = torch.compile(lambda context, lengths: model.last_state(context, lengths=lengths), fullgraph=True)
    for batch, steps in ((4, 6), (3, 9), (5, 2)):  # from the second on shapes are symbols
        context = torch.randn(batch, steps, 5, device=device, requires_grad=True)
        lengths = torch.randint(1, steps + 1, (batch,), device=device) if with_lengths else None
        step(context, lengths).sum().backward()
        found = [context.grad.clone(), model.weight_hh_l1.grad.clone()]
        context.grad = None
        model.zero_grad()
        model.last_state(context, lengths=lengths).sum().backward()
        torch.testing.assert_close(found, [context.grad, model.weight_hh_l1.grad])
        model.zero_grad()


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("for_gradient", [False, True])
def test_opcheck(dtype, for_gradient):
    shapes = [(6, 3, 5), (3, 8), (24 * (5 + 8 + 2),)]
    given = [torch.randn(shape, device="cuda", dtype=dtype).requires_grad_(for_gradient) for shape in shapes]
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")  # the other compares cuDNN's notes
    torch.library.opcheck(gru_cudnn_layer, (*given, for_gradient), test_utils=checks)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_as_exact_as_torchs(dtype):
    torch.manual_seed(0)
    ours = lf.GRU(64, 128, 2, batch_first=True).cuda()
    theirs, exact = (torch.nn.GRU(64, 128, 2, batch_first=True).cuda() for _ in range(2))
    for other in (theirs, exact.double()):
        other.load_state_dict(ours.state_dict())
    context, hx = torch.randn(9, 50, 64, device="cuda"), torch.zeros(2, 9, 128, device="cuda")
    expected = outcome(exact, context.double(), hx.double(), None)
    errors = []
    for model in (ours, theirs):
        with torch.autocast("cuda", dtype):
            found = outcome(model, context, hx, None)
        errors.append([float((one - other).norm() / other.norm()) for one, other in zip(found, expected, strict=True)])
    for mine, its in zip(*errors, strict=True):
        assert mine <= 1.2 * its + 1e-5
