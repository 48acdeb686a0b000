"""The row kernels as torch operators: gradients, compilation, and the plain-torch twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.ops.rowwise_torch import twin

DIMS = (1, 3, 7, 8, 15, 16, 31, 768, 769)
TOLERANCE = {torch.float64: 1e-14, torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def rows(*shape: int, dtype: torch.dtype = torch.float32, grad: bool = False, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(grad)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_forward_and_gradients_agree_with_float64_torch(simd_level, dtype, dim):
    x, delta = rows(4, dim, dtype=dtype, grad=True), rows(4, dim, dtype=dtype, grad=True, seed=1)
    weight = rows(4, dim, dtype=dtype, seed=2)
    wide_x, wide_delta = (t.detach().double().requires_grad_() for t in (x, delta))
    got, expected = lf.reconstruct(x, delta), twin(wide_x, wide_delta, 1e-8)
    (got * weight).sum().backward()
    (expected * weight.double()).sum().backward()
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(got.double(), expected, atol=tolerance, rtol=tolerance)
    scale = (wide_x + wide_delta).detach().norm(dim=-1, keepdim=True) / weight.double().norm(dim=-1, keepdim=True)
    for ours, theirs in ((x, wide_x), (delta, wide_delta)):  # the projection cancels: errors scale with ||g|| / ||v||
        torch.testing.assert_close(ours.grad.double() * scale, theirs.grad * scale, atol=4 * tolerance, rtol=0)


def test_gradcheck():
    x, delta = rows(3, 7, dtype=torch.float64, grad=True), rows(3, 7, dtype=torch.float64, grad=True, seed=1)
    assert torch.autograd.gradcheck(lf.l2_normalize, (x,))
    assert torch.autograd.gradcheck(lf.reconstruct, (x, delta))
    assert torch.autograd.gradcheck(lambda a: lf.l2_normalize(a.transpose(0, 1)), (x,))


@pytest.mark.parametrize("magnitude", [1e-30, 1e-20, 1e20, 1e30])
def test_gradients_at_extreme_magnitudes(simd_level, magnitude):
    x, weight = rows(2, 19) * magnitude, rows(2, 19, seed=1)
    ours, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    (lf.l2_normalize(ours, eps=1e-40) * weight).sum().backward()
    (twin(theirs, None, 1e-40) * weight.double()).sum().backward()
    torch.testing.assert_close(ours.grad.double() * magnitude, theirs.grad * magnitude, atol=1e-5, rtol=1e-5)


def test_gradient_of_a_zero_row_is_finite():
    x = torch.zeros(1, 4, requires_grad=True)
    lf.l2_normalize(x, eps=0.5).sum().backward()
    torch.testing.assert_close(x.grad, torch.full((1, 4), 2.0))


def test_only_what_needs_a_gradient_gets_one():
    x, delta = rows(3, 8), rows(3, 8, grad=True, seed=1)
    lf.reconstruct(x, delta).sum().backward()
    assert x.grad is None
    assert delta.grad is not None


@pytest.mark.parametrize("with_delta", [False, True])
def test_opcheck(with_delta):
    x, delta = rows(3, 5, grad=True), rows(3, 5, grad=True, seed=1) if with_delta else None
    torch.library.opcheck(torch.ops.lvm_fast.normalize_rows.default, (x, delta, 1e-8))
    inputs = (x.detach(), None if delta is None else delta.detach(), rows(3, 5, seed=2), 1e-8)
    torch.library.opcheck(torch.ops.lvm_fast.normalize_rows_backward.default, inputs)
    strided = rows(5, 3).transpose(0, 1).requires_grad_()
    torch.library.opcheck(torch.ops.lvm_fast.normalize_rows.default, (strided, None, 1e-8))


def test_compiles_to_one_graph_and_agrees_with_eager():
    def loss(x: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        return (lf.reconstruct(x, delta) * lf.l2_normalize(x)).sum()

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True)
    x, delta = rows(4, 24, grad=True), rows(4, 24, grad=True, seed=1)
    copies = [t.detach().clone().requires_grad_() for t in (x, delta)]
    ours, eager = compiled(x, delta), loss(*copies)
    ours.backward()
    eager.backward()
    torch.testing.assert_close(ours, eager)
    for got, expected in zip((x, delta), copies, strict=True):
        torch.testing.assert_close(got.grad, expected.grad)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, delta), eager.detach())


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_twin_computes_the_same(dtype):
    x, delta = rows(6, 33, dtype=dtype), rows(6, 33, dtype=dtype, seed=1)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(twin(x, delta, 1e-8), lf.reconstruct(x, delta), atol=tolerance, rtol=tolerance)


def test_tensors_elsewhere_take_the_twin():
    meta = torch.empty(3, 4, device="meta")
    assert lf.reconstruct(meta, meta).device.type == "meta"
    assert lf.l2_normalize(meta).shape == (3, 4)


def test_strided_tensors_and_any_leading_shape(simd_level):
    x = rows(4, 6, 10)
    for view in (
        x,
        x[:, ::2],
        x.transpose(0, 1),
        x[..., ::3],
        x.transpose(1, 2),
        x[0, 0],
        x[:0],
        x[:1].expand(3, 6, 10),
    ):
        torch.testing.assert_close(lf.l2_normalize(view), twin(view, None, 1e-8), atol=1e-6, rtol=1e-6)


def test_out_of_a_tensor_is_filled_and_returned():
    x, out = rows(3, 8), torch.empty(3, 8)
    assert lf.l2_normalize(x, out=out) is out
    torch.testing.assert_close(out, twin(x, None, 1e-8))


def test_a_negated_view_is_read_as_its_values():
    x = rows(3, 8)
    torch.testing.assert_close(lf.l2_normalize(torch._neg_view(x)), lf.l2_normalize(-x))
    torch.testing.assert_close(
        lf.reconstruct(x, torch._neg_view(rows(3, 8, seed=1))), lf.reconstruct(x, -rows(3, 8, seed=1))
    )
    strided = torch.complex(x, x).conj().imag
    torch.testing.assert_close(lf.l2_normalize(strided), lf.l2_normalize(-x))
    with pytest.raises(ValueError, match="out: expected a plain tensor"):
        lf.l2_normalize(x, out=torch._neg_view(rows(3, 8)))


def test_out_is_memory_of_its_own_or_exactly_an_argument():
    buffer = rows(9, 8)
    expected = lf.l2_normalize(buffer[:3])
    torch.testing.assert_close(lf.l2_normalize(buffer[:3], out=buffer[3:6]), expected)
    torch.testing.assert_close(lf.reconstruct(buffer[:3] * 0, buffer[:3], out=buffer[:3]), expected)
    for x, out in ((buffer[:3], buffer[1:4]), (buffer[1:4], buffer[:3]), (buffer[::2], buffer[:5])):
        before = buffer.clone()
        with pytest.raises(ValueError, match="out: expected memory of its own or exactly an argument's"):
            lf.l2_normalize(x, out=out)
        with pytest.raises(ValueError, match="got a partial overlap"):
            lf.l2_normalize(x.numpy(), out=out.numpy())
        assert torch.equal(buffer, before)
    assert lf.l2_normalize(buffer[:0], out=buffer[:0]).shape == (0, 8)


def test_dtypes_without_a_common_one_are_both_named():
    whole, half = np.ones((2, 3), np.int32), np.ones((2, 3), np.float16)
    with pytest.raises(ValueError, match=r"reconstruct: expected .* got int32 and float32"):
        lf.reconstruct(whole, np.ones((2, 3), np.float32))
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    with pytest.raises(ValueError, match=r"reconstruct: expected .* got float16 and bfloat16"):
        lf.reconstruct(half, half.astype(bfloat16))
    assert lf.reconstruct(half.astype(np.float32), half.astype(bfloat16)).dtype == np.float32


def test_float_types_promote_as_in_plain_addition():
    assert lf.reconstruct(rows(2, 4), rows(2, 4, dtype=torch.bfloat16)).dtype == torch.float32


def test_torch_func_transforms_work():
    x = rows(3, 5)
    torch.testing.assert_close(torch.func.vmap(lf.l2_normalize)(x), lf.l2_normalize(x))
    gradient = torch.func.grad(lambda a: lf.l2_normalize(a)[:, 0].sum())(x)
    leaf = x.clone().requires_grad_()
    lf.l2_normalize(leaf)[:, 0].sum().backward()
    torch.testing.assert_close(gradient, leaf.grad)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lf.l2_normalize(torch.ones(2, 3, dtype=torch.int32)), r"x: expected float32, .*got torch\.int32"),
        (lambda: lf.l2_normalize(torch.tensor(1.0)), r"x: expected shape \(\.\.\., D\), got a single number"),
        (lambda: lf.reconstruct(torch.ones(2, 3), torch.ones(3, 3)), r"delta: expected shape \(2, 3\)"),
        (lambda: lf.reconstruct(torch.ones(2, 3), torch.ones(2, 3, device="meta")), r"delta: expected device cpu"),
        (lambda: lf.reconstruct(torch.ones(2, 3), None), r"delta: expected"),
        (lambda: lf.l2_normalize(torch.tensor([[1.0, float("nan")]])), r"x row 0 holds NaN or infinity"),
        (lambda: lf.l2_normalize(torch.ones(2, 3), out=torch.ones(3, 2).T), r"out: expected a contiguous"),
        (lambda: lf.l2_normalize(torch.ones(2, 3, requires_grad=True), out=torch.ones(2, 3)), r"out: expected no grad"),
    ],
)
def test_bad_arguments_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
