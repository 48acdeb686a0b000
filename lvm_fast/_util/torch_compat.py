"""Every private name of torch that the package uses, in one place."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as torch_module

F = TypeVar("F", bound=Callable[..., Any])

# within it, operators are called as if nothing were to be differentiated
below_autograd = torch._C._AutoDispatchBelowAutograd


def is_transformed() -> bool:
    """Whether torch.func (grad, jvp, vmap, ...) or forward-mode differentiation is at work."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def are_numbers_hidden() -> bool:
    """Whether what a tensor holds may not decide what is done: it is compiled, recorded or transformed."""
    return torch.compiler.is_compiling() or is_recorded() or is_transformed()


def has_tangent(tensor: Any) -> bool:
    """Whether the compiler traces a dual number: it does not enter the level that `is_transformed` looks at."""
    traced = isinstance(tensor, Tensor) and not are_torchs_own(tensor)
    return traced and forward_ad.unpack_dual(tensor, level=0).tangent is not None  # type: ignore[no-untyped-call]


def any_autocast() -> bool:
    """Whether autocast is on, for whatever device."""
    return torch._C._is_any_autocast_enabled()


def constant_for_compiler(function: F) -> F:
    """`torch.compiler.assume_constant_result`, without its import of the compiler."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def outside_compiler(function: F) -> F:
    """`torch.compiler.disable`, but the compiler is imported by those who compile only."""
    disabled = torch._disable_dynamo(function)  # type: ignore[attr-defined]

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        return (disabled if "torch._dynamo" in sys.modules else function)(*args, **kwargs)

    run._torchdynamo_disable = True  # type: ignore[attr-defined]
    return run  # type: ignore[return-value]


def is_recorded() -> bool:
    """Whether `torch.jit.trace` or `torch.export` records what is done, for places where there is only torch."""
    is_traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return is_traced or torch.compiler.is_exporting()


def are_torchs_own(*tensors: Any) -> bool:
    """Whether these are tensors of torch's own class, or None: others have rules of their own for its operators."""
    return all(tensor is None or type(tensor) in (Tensor, nn.Parameter) for tensor in tensors)


def is_watched(module: nn.Module) -> bool:
    """Whether something runs before or after a call of the module."""
    own = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return bool(
        own
        or torch_module._global_forward_hooks
        or torch_module._global_forward_pre_hooks
        or torch_module._global_backward_hooks
        or torch_module._global_backward_pre_hooks
    )
