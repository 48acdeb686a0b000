"""Every operator under every way that torch differentiates and maps: the answers are those of torch's own operators."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from operator_cases import CASES, Case, Function
from torch import Tensor
from torch.autograd import forward_ad

from lvm_fast.ops.gru_bf16 import bf16_is_offered


def weighted(function: Function) -> Function:
    """Its results as one number, with curvature."""

    def value(*given: Tensor) -> Tensor:
        result = function(*given)
        return (torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view(result.shape) * result.sin()).sum()

    return value


def pushes(given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.linspace(1, -1, t.numel(), dtype=t.dtype).view(t.shape) for t in given)


def every(function: Function, given: tuple[Tensor, ...]) -> tuple[int, ...]:
    return tuple(range(len(given)))


def learned(given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.clone().requires_grad_() for tensor in given)


def stacked(given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.stack((tensor, 0.5 * tensor, -tensor)) for tensor in given)


def jvp(f: Function, given: tuple[Tensor, ...]):
    return torch.func.jvp(f, given, pushes(given))


def jvp_of_what_learns(f: Function, given: tuple[Tensor, ...]):
    leaves = learned(given)
    _, push = torch.func.jvp(f, leaves, pushes(given))
    return push, torch.autograd.grad(push.sin().sum(), leaves, allow_unused=True, materialize_grads=True)


def vjp(f: Function, given: tuple[Tensor, ...]):
    result, pull = torch.func.vjp(f, *given)
    return result, pull(torch.ones_like(result))


def grad(f: Function, given: tuple[Tensor, ...]):
    return torch.func.grad(weighted(f), every(f, given))(*given)


def jacrev(f: Function, given: tuple[Tensor, ...]):
    return torch.func.jacrev(f, every(f, given))(*given)


def jacfwd(f: Function, given: tuple[Tensor, ...]):
    return torch.func.jacfwd(f, every(f, given))(*given)


def hessian(f: Function, given: tuple[Tensor, ...]):
    return torch.func.hessian(weighted(f))(*given)


def grad_of_grad(f: Function, given: tuple[Tensor, ...]):
    inner = torch.func.grad(weighted(f))
    return torch.func.grad(lambda *at: inner(*at).sin().sum(), every(f, given))(*given)


def gradient(f: Function, given: tuple[Tensor, ...]):
    leaves = learned(given)
    return torch.autograd.grad(weighted(f)(*leaves), leaves)


def second_gradient(f: Function, given: tuple[Tensor, ...]):
    leaves = learned(given)
    first = torch.autograd.grad(weighted(f)(*leaves), leaves, create_graph=True)
    return torch.autograd.grad(sum(g.sin().sum() for g in first), leaves)


def third_gradient(f: Function, given: tuple[Tensor, ...]):
    leaves = learned(given)
    first = torch.autograd.grad(weighted(f)(*leaves), leaves, create_graph=True)
    second = torch.autograd.grad(sum(g.sin().sum() for g in first), leaves, create_graph=True)
    return torch.autograd.grad(sum(g.cos().sum() for g in second), leaves)


def batched_gradients(f: Function, given: tuple[Tensor, ...]):
    leaves = learned(given)
    result = f(*leaves)
    pulls = torch.stack((torch.ones_like(result), result.detach()))
    return torch.autograd.grad(result, leaves, pulls, is_grads_batched=True)


def batched_second_gradients(f: Function, given: tuple[Tensor, ...]):
    return torch.autograd.functional.hessian(weighted(f), given, vectorize=True)


def mapped_pull(f: Function, given: tuple[Tensor, ...]):
    leaves = learned(given)
    result = f(*leaves)
    pulls = torch.stack((torch.ones_like(result), result.detach()))
    return torch.vmap(lambda pull: torch.autograd.grad(result, leaves, pull, retain_graph=True))(pulls)


def dual_numbers(f: Function, given: tuple[Tensor, ...]):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(f(*map(forward_ad.make_dual, given, pushes(given))))


def dual_numbers_without_gradients(f: Function, given: tuple[Tensor, ...]):
    with forward_ad.dual_level(), torch.no_grad():
        return forward_ad.unpack_dual(f(*map(forward_ad.make_dual, given, pushes(given))))


def dual_pull(f: Function, given: tuple[Tensor, ...]):
    leaves = learned(given)
    result = f(*leaves)
    with forward_ad.dual_level():
        pull = forward_ad.make_dual(torch.ones_like(result), result.detach())
        grads = torch.autograd.grad(result, leaves, pull)
        return [forward_ad.unpack_dual(g).tangent for g in grads]


def jacobian_by_rows(f: Function, given: tuple[Tensor, ...]):
    return torch.autograd.functional.jacobian(f, given, vectorize=True)


def double_backward_jvp(f: Function, given: tuple[Tensor, ...]):
    return torch.autograd.functional.jvp(f, given, pushes(given))


def linearized(f: Function, given: tuple[Tensor, ...]):
    _, push = torch.func.linearize(f, *given)
    return push(*pushes(given))


def forward_over_reverse(f: Function, given: tuple[Tensor, ...]):
    slope = torch.func.grad(weighted(f), every(f, given))
    return torch.func.jvp(slope, given, pushes(given))


def mapped(f: Function, given: tuple[Tensor, ...]):
    return torch.vmap(f)(*stacked(given))


def mapped_over_the_first(f: Function, given: tuple[Tensor, ...]):
    return torch.vmap(f, (0, *(None,) * (len(given) - 1)))(stacked(given)[0], *given[1:])


def mapped_over_the_last_dimension(f: Function, given: tuple[Tensor, ...]):
    moved = (tensor.movedim(0, -1) for tensor in stacked(given))
    return torch.vmap(f, -1, -1)(*moved)


def gradients_of_each(f: Function, given: tuple[Tensor, ...]):
    return torch.vmap(torch.func.grad(weighted(f), every(f, given)))(*stacked(given))


def mapped_twice(f: Function, given: tuple[Tensor, ...]):
    return torch.vmap(torch.vmap(f))(*stacked(stacked(given)))


def learned_mapped(f: Function, given: tuple[Tensor, ...]):
    leaves = learned(given)
    result = torch.vmap(f)(*stacked(leaves))
    return result, torch.autograd.grad(result.sin().sum(), leaves)


def one_by_one(transform: Callable, f: Function, given: tuple[Tensor, ...]):
    """What a map must come to, for torch has no map of a GRU of its own."""
    rows = [[tensor[i] for tensor in stacked(given)] for i in range(3)]
    if transform is mapped:
        return torch.stack([f(*row) for row in rows])
    if transform is mapped_over_the_first:
        return torch.stack([f(row[0], *given[1:]) for row in rows])
    if transform is mapped_over_the_last_dimension:
        return torch.stack([f(*row) for row in rows], dim=-1)
    if transform is gradients_of_each:
        return tuple(torch.stack(grads) for grads in zip(*(gradient(f, tuple(row)) for row in rows), strict=True))
    if transform is mapped_twice:
        twice = [zip(*stacked(tuple(row)), strict=True) for row in rows]
        return torch.stack([torch.stack([f(*inner) for inner in row]) for row in twice])
    leaves = learned(given)
    result = torch.stack([f(*row) for row in zip(*stacked(leaves), strict=True)])
    return result, torch.autograd.grad(result.sin().sum(), leaves)


MAPS = (
    mapped,
    mapped_over_the_first,
    mapped_over_the_last_dimension,
    mapped_twice,
    gradients_of_each,
    learned_mapped,
)
TRANSFORMS = (
    jvp,
    jvp_of_what_learns,
    vjp,
    grad,
    jacrev,
    jacfwd,
    hessian,
    grad_of_grad,
    forward_over_reverse,
    pytest.param(linearized, marks=pytest.mark.slow),
    dual_numbers,
    dual_numbers_without_gradients,
)
BACKWARD = (  # forward as ever, and something else on the way back
    gradient,
    second_gradient,
    third_gradient,
    batched_gradients,
    batched_second_gradients,
    mapped_pull,
    dual_pull,
    jacobian_by_rows,
    double_backward_jvp,
)
NEEDS_A_DEVICE = {"gru_bf16_layer": bf16_is_offered(), "gru_cudnn_layer": False}  # as soon as its kernel runs


def check(transform: Callable, case: Case, expected) -> None:
    found = torch.utils._pytree.tree_leaves(transform(case.ours, case.given))
    for mine, reference in zip(found, torch.utils._pytree.tree_leaves(expected), strict=True):
        assert mine.shape == reference.shape
        assert (mine - reference).abs().max() <= case.off * (1 + reference.abs().max())


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node")  # torch's own, of linearize
@pytest.mark.filterwarnings("ignore:.*batching rule for aten")  # torch's own LSTM
@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: t.__name__)
@pytest.mark.parametrize("name", CASES)
def test_transforms_are_those_of_torchs_own(name, transform):
    if transform is linearized and not NEEDS_A_DEVICE.get(name, True):
        pytest.skip("linearize runs the function as it is first, and this machine has no such kernel")
    torch.manual_seed(0)
    case = CASES[name]()
    check(transform, case, transform(case.torchs, case.given))


@pytest.mark.parametrize("transform", MAPS, ids=lambda t: t.__name__)
@pytest.mark.parametrize("name", CASES)
def test_maps_are_the_function_one_by_one(name, transform):
    torch.manual_seed(0)
    case = CASES[name]()
    check(transform, case, one_by_one(transform, case.torchs, case.given))


@pytest.mark.filterwarnings("ignore:.*batching rule for aten")  # torch's own LSTM
@pytest.mark.parametrize("transform", BACKWARD, ids=lambda t: t.__name__)
@pytest.mark.parametrize("name", [name for name in CASES if NEEDS_A_DEVICE.get(name, True)])
def test_ways_back_are_those_of_torchs_own(name, transform):
    torch.manual_seed(0)
    case = CASES[name]()
    check(transform, case, transform(case.torchs, case.given))
