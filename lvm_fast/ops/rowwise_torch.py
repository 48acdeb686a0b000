"""The row kernels as torch operators: autograd, torch.compile, and a plain-torch twin for CUDA and MPS."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._core import normalize_rows as normalize_in_core
from .._core import normalize_rows_backward as differentiate_in_core
from .._util.operators import check_tensors, define_operator
from .._util.tensors import check_dense
from .._util.torch_compat import is_transformed
from .row_checks import argument_names, check_eps, check_result, check_same_memory, raise_fault
from .rows import tensor_rows

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def normalize(op: str, x: Tensor, delta: Tensor | None, eps: float, out: Tensor | None) -> Tensor:
    """`l2_normalize` (delta is None) and `reconstruct` of `lvm_fast.ops.rowwise`, for torch tensors."""
    check_eps(op, eps)
    x, delta = _checked(op, x, delta)
    if out is not None:
        return _normalize_into(op, x, delta, eps, out)
    if x.device.type != "cpu":
        return twin(x, delta, eps)
    if _is_plain(x) and (delta is None or _is_plain(delta)):
        return _run(op, x, delta, eps, _result_like(x))
    if not (_is_of_torch(x) and (delta is None or _is_of_torch(delta))):
        return twin(x, delta, eps)
    result: Tensor = normalize_rows(x, delta, eps)
    return result


def twin(x: Tensor, delta: Tensor | None, eps: float) -> Tensor:
    """The same in plain torch, for devices that the core does not serve: (..., D) -> (..., D), in at least float32."""
    wide = torch.promote_types(x.dtype, torch.float32)
    v = x.to(wide) if delta is None else x.to(wide) + delta.to(wide)
    norm: Tensor = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    return (v / (norm + eps)).to(x.dtype)


def _result_like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _checked(op: str, x: Any, delta: Any) -> tuple[Tensor, Tensor | None]:
    first, second = argument_names(op)
    _check_tensor(op, first, x)
    if delta is None:
        return x, None
    _check_tensor(op, second, delta)
    if delta.shape != x.shape:
        raise ValueError(f"{op}: {second}: expected shape {tuple(x.shape)} like {first}, got {tuple(delta.shape)}")
    if delta.device != x.device:
        raise ValueError(f"{op}: {second}: expected device {x.device} like {first}, got {delta.device}")
    if delta.dtype != x.dtype:
        common = torch.promote_types(x.dtype, delta.dtype)
        return x.to(common), delta.to(common)
    return x, delta


def _check_tensor(op: str, name: str, x: Any) -> None:
    if not isinstance(x, Tensor):
        raise ValueError(f"{op}: {name}: expected a numpy array or a torch tensor, got {type(x).__name__}")
    if x.dtype not in FLOATS:
        raise ValueError(f"{op}: {name}: expected float32, float16, bfloat16 or float64, got {x.dtype}")
    check_dense(f"{op}: {name}", x)
    if x.ndim == 0:
        raise ValueError(f"{op}: {name}: expected shape (..., D), got a single number")


def _is_plain(x: Tensor) -> bool:
    """Whether the core may read x at once: nobody traces or differentiates it."""
    return (
        not torch.compiler.is_compiling()
        and not is_transformed()
        and _is_of_torch(x)
        and not (x.requires_grad and torch.is_grad_enabled())
    )


def _is_of_torch(x: Tensor) -> bool:
    """Whether x is of torch's own class: others have rules of their own for torch's operators, and none for ours."""
    return type(x) is Tensor or type(x) is torch.nn.Parameter


def _normalize_into(op: str, x: Tensor, delta: Tensor | None, eps: float, out: Tensor) -> Tensor:
    if not isinstance(out, Tensor):
        raise ValueError(f"{op}: out: expected a torch tensor, got {type(out).__name__}")
    check_result(op, out, x, out.is_contiguous())
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, delta, out)):
        raise ValueError(f"{op}: out: expected no gradients to be recorded; use torch.no_grad() or leave out away")
    if x.device.type != "cpu" or not _is_plain(x):
        return out.copy_(twin(x, delta, eps))
    if out.is_neg():
        raise ValueError(f"{op}: out: expected a plain tensor, got one that is negated when it is read")
    for source in (x, delta):
        if source is not None and _share_memory(source, out):
            check_same_memory(op, source.data_ptr() == out.data_ptr() and source.is_contiguous())
    return _run(op, x, delta, eps, out)


def _share_memory(x: Tensor, out: Tensor) -> bool:
    """Whether the bytes from the first to the last number of the one overlap those of the other."""
    (x_begin, x_end), (begin, end) = _reach(x), _reach(out)
    return x_begin < end and begin < x_end


def _reach(x: Tensor) -> tuple[int, int]:
    if x.numel() == 0:
        return 0, 0
    last = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return x.data_ptr(), x.data_ptr() + (last + 1) * x.element_size()


def _run(op: str, x: Tensor, delta: Tensor | None, eps: float, out: Tensor) -> Tensor:
    x_rows, x_memory = tensor_rows(x)
    delta_rows, delta_memory = (None, None) if delta is None else tensor_rows(delta)
    raise_fault(op, normalize_in_core(x_rows, delta_rows, out.data_ptr(), eps))
    del x_memory, delta_memory
    return out


def _check_rows(operator: str, x: Tensor, eps: float, **others: Tensor | None) -> None:
    check_tensors(operator, x=(x, FLOATS, tuple(x.shape)))
    check_tensors(operator, **{name: (other, x.dtype, tuple(x.shape)) for name, other in others.items()})
    if x.ndim == 0:
        raise ValueError(f"{operator}: x is a single number; expected shape (..., D)")
    check_eps(operator, eps)


def _fake(x: Tensor, delta: Tensor | None, eps: float) -> Tensor:
    _check_rows("normalize_rows", x, eps, delta=delta)
    return _result_like(x)


def _save(ctx: Any, given: tuple[Tensor, Tensor | None, float], result: Tensor) -> None:
    x, delta, ctx.eps = given
    ctx.save_for_backward(x, delta)


def _differentiate(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, delta = ctx.saved_tensors
    grad = normalize_rows_backward(x, delta, grad_out, ctx.eps)
    return grad, (None if delta is None else grad), None


@define_operator(fake=_fake, plain=twin, save=_save, backward=_differentiate, device="cpu")
def normalize_rows(x: Tensor, delta: Tensor | None, eps: float) -> Tensor:
    """v / (||v|| + eps) for every row of v = x, or x + delta of the same dtype: (..., D) -> (..., D), contiguous."""
    _check_rows("normalize_rows", x, eps, delta=delta)
    return _run("l2_normalize" if delta is None else "reconstruct", x, delta, eps, _result_like(x))


def _fake_backward(x: Tensor, delta: Tensor | None, grad_out: Tensor, eps: float) -> Tensor:
    _check_rows("normalize_rows_backward", x, eps, delta=delta, grad_out=grad_out)
    return _result_like(x)


def _twin_backward(x: Tensor, delta: Tensor | None, grad_out: Tensor, eps: float) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    v, grad = x.to(wide) if delta is None else x.to(wide) + delta.to(wide), grad_out.to(wide)
    norm = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    scale, direction = norm + eps, v / torch.where(norm > 0, norm, 1)
    along = (direction * grad).sum(dim=-1, keepdim=True)
    slope: Tensor = (grad / scale - v * along / (scale * scale)).to(x.dtype)
    return slope


@define_operator(fake=_fake_backward, plain=_twin_backward, device="cpu")
def normalize_rows_backward(x: Tensor, delta: Tensor | None, grad_out: Tensor, eps: float) -> Tensor:
    """The gradient of v, given that of `normalize_rows`'s result, (..., D)."""
    _check_rows("normalize_rows_backward", x, eps, delta=delta, grad_out=grad_out)
    grad_x = _result_like(x)
    x_rows, x_memory = tensor_rows(x)
    delta_rows, delta_memory = (None, None) if delta is None else tensor_rows(delta)
    grad_rows, grad_memory = tensor_rows(grad_out)
    differentiate_in_core(x_rows, delta_rows, grad_rows, grad_x.data_ptr(), eps)
    del x_memory, delta_memory, grad_memory
    return grad_x
