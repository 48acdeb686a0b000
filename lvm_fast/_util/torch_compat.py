"""Every private name of torch and numpy that the package uses, in one place."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from numpy._core.multiarray import _reconstruct, scalar
from torch import Tensor, nn
from torch._weights_only_unpickler import _get_allowed_globals
from torch.autograd import forward_ad
from torch.nn.modules import module as torch_module
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

F = TypeVar("F", bound=Callable[..., Any])
Module = TypeVar("Module", bound=nn.Module)

# what torch keeps in the `__dict__` of every module: its mode, tensors, submodules and hooks
MODULE_OWN = frozenset(nn.Module().__dict__) | {"_compiled_call_impl"}

# what makes numpy's scalars and arrays of what a pickle holds of them
NUMPY_MAKERS = (scalar, _reconstruct)


def shallow_copy(module: Module) -> Module:
    """Copy a module with the same tensors, submodules and attributes, in dicts of its own.

    It is eager where `module` was compiled in place. (Torch's `_replicate_for_data_parallel` takes ten times as long.)
    """
    copied: Module = object.__new__(type(module))
    held = copied.__dict__
    held.update(module.__dict__)
    for name in ("_parameters", "_buffers", "_modules"):
        held[name] = held[name].copy()
    if "_flat_weights" in held:  # a recurrent module writes them whenever a parameter is set
        held["_flat_weights"] = list(held["_flat_weights"])
    held["_compiled_call_impl"] = None
    return copied


def compiled_from(module: nn.Module) -> nn.Module:
    """Return the module that `torch.compile` made this one of; the module itself where it is none of these."""
    return module.get_submodule("_orig_mod") if "dynamo_ctx" in module.__dict__ else module


def function_compiled(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the function that `torch.compile` made this one of; None where it is none of these."""
    original: Callable[..., Any] | None = getattr(function, "_torchdynamo_orig_callable", None)
    return original


def own_tensors(module: nn.Module) -> dict[str, Any]:
    """Return a module's own parameters and buffers by name, None where there is none of a name."""
    return module._parameters if not module._buffers else {**module._parameters, **module._buffers}


def own_modules(module: nn.Module) -> dict[str, nn.Module | None]:
    """Return a module's submodules by name, None where there is none of a name."""
    return module._modules


def has_forward_hooks(module: nn.Module) -> bool:
    """Return whether something runs before or after the module's `forward`, and may change what it takes or gives."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def calls_are_watched() -> bool:
    """Return whether global hooks or a mode see, and may change, every call of a module or every operator."""
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        return True
    if torch._C._len_torch_dispatch_stack():
        return True
    return any(not isinstance(mode, DeviceContext) for mode in _get_current_function_mode_stack())  # type: ignore[no-untyped-call]


def allowed_in_checkpoints() -> set[str]:
    """Return the full names of the classes and functions that `torch.load(weights_only=True)` takes."""
    return set(_get_allowed_globals())


# within it, operators are called as if nothing were to be differentiated
below_autograd = torch._C._AutoDispatchBelowAutograd


def is_transformed() -> bool:
    """Return whether torch.func (grad, jvp, vmap, ...) or forward-mode differentiation is at work."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def are_numbers_hidden() -> bool:
    """Return whether what a tensor holds may not decide what is done: it is compiled, recorded or transformed."""
    return torch.compiler.is_compiling() or is_recorded() or is_transformed()


def has_tangent(tensor: Any) -> bool:
    """Return whether the compiler traces a dual number: it does not enter the level that `is_transformed` looks at."""
    traced = isinstance(tensor, Tensor) and not are_torchs_own(tensor)
    return traced and forward_ad.unpack_dual(tensor, level=0).tangent is not None  # type: ignore[no-untyped-call]


def any_autocast() -> bool:
    """Return whether autocast is on, for whatever device."""
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


def compiler_errors() -> type[Exception]:
    """Return what errors of `torch.compile` have in common; this imports the compiler."""
    from torch._dynamo.exc import TorchDynamoException

    return TorchDynamoException


def is_recorded() -> bool:
    """Return whether `torch.jit.trace` or `torch.export` records what is done, for places where there is only torch."""
    is_traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return is_traced or torch.compiler.is_exporting()


def are_torchs_own(*tensors: Any) -> bool:
    """Return whether all are tensors of torch's own class, or None: others have operator rules of their own."""
    return all(tensor is None or type(tensor) in (Tensor, nn.Parameter) for tensor in tensors)


def is_watched(module: nn.Module) -> bool:
    """Return whether something runs before or after a call of the module."""
    own = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return bool(
        own
        or torch_module._global_forward_hooks
        or torch_module._global_forward_pre_hooks
        or torch_module._global_backward_hooks
        or torch_module._global_backward_pre_hooks
    )
