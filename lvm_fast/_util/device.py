"""Chooses the device to work on, and tells what it can do."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, ClassVar

import torch

_KINDS = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called `name`, once it is known to be there.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps", or "auto": CUDA where there is one, else Apple's MPS, else the CPU.

    Raises:
        ValueError: The name is unknown, or this machine (or this build of torch) has no such device.
    """
    kind, _, index = name.partition(":")
    if kind not in _KINDS or (index and not (kind == "cuda" and index.isdecimal())):
        raise ValueError(f"device = {name!r}; expected one of {', '.join(_KINDS)} (or cuda:N)")
    present = available_devices()
    if kind == "auto":
        return torch.device(present[-1])
    if kind not in present:
        raise ValueError(f"device = {name!r}, which torch does not find here; available: {', '.join(present)}")
    if index and int(index) >= torch.cuda.device_count():
        raise ValueError(f"device = {name!r}; expected cuda:0 to cuda:{torch.cuda.device_count() - 1}")
    return torch.device(name)


def available_devices() -> list[str]:
    """Return the kinds of device that torch finds here, the most wanted last."""
    kinds = {"cpu": True, "mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available()}
    return [kind for kind, is_there in kinds.items() if is_there]


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether a device has bfloat16 products of its own; else they are ten times slower than float32's.

    A CPU has them with AMX or AVX512-BF16, or with Arm's BF16 extension where torch knows to use it.
    """
    if device.type != "cpu":
        return True
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    has_library = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(has_library and torch.ops.mkldnn._is_mkldnn_bf16_supported())


@contextmanager
def full_precision_products() -> Iterator[None]:
    """Within it CUDA takes every number of a product as it is and sums in float32; torch's settings come back after.

    They are the process's: other threads compute so meanwhile, too.
    """
    _precision.enter()
    try:
        yield
    finally:
        _precision.leave()


class _Precision:
    """Torch's settings of CUDA's products: full precision while any thread asks for it."""

    _PRODUCTS: Any = torch.backends.cuda.matmul
    _TF32 = {"fp32_precision": "ieee"} if hasattr(_PRODUCTS, "fp32_precision") else {"allow_tf32": False}
    _FULL: ClassVar = {"allow_fp16_reduced_precision_reduction": False, "allow_fp16_accumulation": False, **_TF32}

    def __init__(self) -> None:
        self._lock, self._inside, self._before = Lock(), 0, dict[str, Any]()

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = {name: getattr(self._PRODUCTS, name) for name in self._FULL}
                self._set(self._FULL)
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._set(self._before)

    def _set(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(self._PRODUCTS, name, value)


_precision = _Precision()
