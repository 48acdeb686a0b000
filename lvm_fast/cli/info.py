"""`lvm-fast info`: what this installation runs on."""

from __future__ import annotations

import argparse

HELP = "print versions, instruction set, threads, devices and model types"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(args: argparse.Namespace) -> int:
    del args
    for name, value in facts().items():
        print(f"{name:<12} {value}")
    return 0


def facts() -> dict[str, str]:
    """What a bug report or a benchmark should state, in the order to print it."""
    import platform

    import torch

    from .. import __version__, kernels
    from ..device import available_devices
    from ..models.registry import model_names

    return {
        "lvm_fast": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "simd": f"{kernels.simd_level()} (of {', '.join(kernels.simd_levels())})",
        "threads": str(kernels.num_threads()),
        "devices": ", ".join(available_devices()),
        "torch": torch.__version__,
        **{name: installed_version(name) for name in ("numpy", "safetensors", "coremltools", "matplotlib")},
        "encoders": installed_version("sentence-transformers"),
        "models": ", ".join(model_names()),
    }


def cpu_name() -> str:
    import platform
    from pathlib import Path

    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def installed_version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
