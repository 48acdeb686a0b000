"""`lvm-fast info`: prints versions, processor, threads and devices of this installation."""

from __future__ import annotations

import argparse
from contextlib import suppress

from ._json_output import add_json, print_json

HELP = "print versions, instruction set, threads, devices and model types"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--devices", action="store_true", help="also ask torch which devices it finds (takes seconds)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    described = describe_installation(args.devices)
    if args.json:
        print_json(described)
        return 0
    for name, value in described.items():
        print(f"{name:<12} {value}")
    return 0


def describe_installation(ask_torch: bool = False) -> dict[str, str]:
    """Return what a bug report or a benchmark should state, in the order to print; `ask_torch` adds the devices."""
    import platform

    from .._version import __version__
    from ..models.registry import model_names
    from ..ops import runtime

    return {
        "lvm_fast": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "simd": f"{runtime.simd_level()} (of {', '.join(runtime.simd_levels())})",
        "threads": str(runtime.num_threads()),
        "devices": devices() if ask_torch else "cpu (`lvm-fast info --devices` asks torch for more)",
        **{name: installed_version(name) for name in ("torch", "numpy", "safetensors", "coremltools", "matplotlib")},
        "encoders": installed_version("sentence-transformers"),
        "models": ", ".join(model_names()),
    }


def devices() -> str:
    """Return the devices that torch finds, the preferred one last."""
    from .._util.device import available_devices

    return ", ".join(available_devices())


def cpu_name() -> str:
    import platform
    from pathlib import Path

    cpuinfo = Path("/proc/cpuinfo")
    with suppress(OSError):  # not Linux
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def installed_version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return str(version(package))
    except PackageNotFoundError:
        return "not installed"
    except Exception:  # a damaged installation
        return "unknown"
