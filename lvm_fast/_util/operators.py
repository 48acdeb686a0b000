"""Torch operators of our own: a quick kernel, and the same in plain torch for whatever the kernel cannot do."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .torch_compat import below_autograd, has_tangent, is_transformed, outside_compiler

_NAMESPACE = "lvm_fast"
_LIBRARY: Any = torch.library.Library(_NAMESPACE, "FRAGMENT")  # type: ignore[no-untyped-call]
_KEYS = {None: "CompositeExplicitAutograd", "cpu": "CPU", "cuda": "CUDA"}

Function: TypeAlias = Callable[..., Any]
Dtypes: TypeAlias = torch.dtype | tuple[torch.dtype, ...]


def define_operator(
    *,
    fake: Function,
    plain: Function,
    save: Function | None = None,
    backward: Function | None = None,
    device: str | None = None,
) -> Callable[[Function], Any]:
    """Make a function the kernel of ``torch.ops.lvm_fast.<its name>``, and return that operator.

    Its annotations are the operator's schema; it never sees a tensor with a history. `plain` takes its place under
    torch.func's transforms (grad, vjp, jvp, vmap, ...), in forward-mode differentiation, and where a gradient is asked
    for that no `backward` is given for: so the gradient of a gradient is that of the plain form of whatever operator
    `backward` calls.

    Args:
        fake: The shapes, dtypes and strides of the results, for the compiler.
        plain: The same results from torch's own operators: differentiable, and without a look at a tensor's numbers.
        save: Called with the context, the arguments and the results: keeps what `backward` needs.
        backward: The gradients of the arguments, given the context and the gradients of the results.
        device: The kind of device that the kernel serves, "cpu" or "cuda"; None for every one.
    """

    def define(kernel: Function) -> Any:
        name = kernel.__name__
        _LIBRARY.define(name + torch.library.infer_schema(kernel, mutates_args=()), tags=(torch.Tag.pt2_compliant_tag,))
        operator = getattr(getattr(torch.ops, _NAMESPACE), name).default
        composed = _without_autocast(plain)
        recorded = composed if backward is None else _recorded(operator, save, backward)

        def differentiate(*args: Any) -> Any:
            if is_transformed() or any(map(has_tangent, args)):
                return composed(*args)
            if torch.is_grad_enabled() and any(isinstance(arg, Tensor) and arg.requires_grad for arg in args):
                return recorded(*args)
            with below_autograd():
                return operator(*args)

        _LIBRARY.impl(name, outside_compiler(kernel), _KEYS[device])
        _LIBRARY.impl(name, outside_compiler(differentiate), "Autograd")
        _LIBRARY.impl(name, outside_compiler(composed), "FuncTorchBatched")
        torch.library.register_fake(f"{_NAMESPACE}::{name}", fake, lib=_LIBRARY)
        return operator

    return define


def _recorded(operator: Any, save: Function | None, backward: Function) -> Function:
    """Return the operator as a step in torch's graph of what is to be differentiated."""

    def forward(ctx: Any, *args: Any) -> Any:
        with below_autograd():
            results = operator(*args)
        if save is not None:
            save(ctx, args, results)
        return results

    name = operator.name().split("::")[1].title().replace("_", "")
    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    function: Any = type(name, (torch.autograd.Function,), members)
    apply: Function = function.apply
    return apply


def _without_autocast(function: Function) -> Function:
    """Return the function, whose products keep the dtype of what they are given."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        device = next(arg.device.type for arg in args if isinstance(arg, Tensor))
        if not torch.amp.is_autocast_available(device):
            return function(*args)
        with torch.autocast(device, enabled=False):
            return function(*args)

    return call


def check_tensors(operator: str, **expected: tuple[Tensor | None, Dtypes, tuple[int, ...]]) -> None:
    """Raise ValueError naming the first tensor that is not of its dtype (one of several) and shape; None passes."""
    for name, (tensor, dtypes, shape) in expected.items():
        if tensor is None:
            continue
        allowed = dtypes if isinstance(dtypes, tuple) else (dtypes,)
        if tensor.dtype not in allowed or tensor.shape != shape:
            wanted = f"{' or '.join(map(str, allowed))} {tuple(shape)}"
            raise ValueError(f"{operator}: {name} is {tensor.dtype} {tuple(tensor.shape)}; expected {wanted}")


def check_lengths(operator: str, lengths: Tensor | None, steps: int) -> Tensor | None:
    """Return int64 lengths (B,) contiguous; raise ValueError unless they are non-increasing, from `steps` down to 0."""
    if lengths is None:
        return None
    counts = [steps, *lengths.tolist(), 0]
    for place, (before, after) in enumerate(itertools.pairwise(counts)):
        if after > before:
            row = min(place, len(counts) - 3)
            expected = f"non-increasing numbers from {steps} to 0"
            raise ValueError(f"{operator}: lengths[{row}] is {counts[row + 1]}; expected {expected}")
    return lengths.contiguous()
