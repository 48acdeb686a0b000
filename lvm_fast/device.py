"""Which device to work on."""

from __future__ import annotations

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
    found = {"cpu": True, "mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available()}
    return [kind for kind, is_there in found.items() if is_there]
