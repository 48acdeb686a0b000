"""Gives all peers real vectors and the same threads; their results are checked before they are timed.

Run `python bench/table.py` for the table with ratios; `--store FILE` benches on a chain store of your own.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import faiss
import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast._util.process import keep_freed_memory


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes and 10 GB; bench/table.py --long runs it too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="needs --long"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also a million vectors, mining, long contexts")
    parser.addoption("--store", help="a chain store whose vectors are scored (default: the sample)")


@pytest.fixture(scope="session", autouse=True)
def same_conditions_for_all() -> None:
    """Set the same threads for all, and let the allocator keep freed memory: nobody pays for fresh pages."""
    keep_freed_memory()
    threads = lf.kernels.num_threads()
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)


class Limits:
    """Measures the machine's own limits, again where a figure is older than a minute: a shared machine's change."""

    FLAGS: ClassVar = {
        "TILES_INT8": ["-mavx512f", "-mamx-tile", "-mamx-int8"],
        "TILES_BF16": ["-mavx512f", "-mamx-tile", "-mamx-bf16"],
        "VECTORS_INT8": ["-mavx512f", "-mavx512vnni"],
        "VECTORS_BF16": ["-mavx512f", "-mavx512bf16"],
        "VECTORS_FP32": ["-mavx512f"],
        "YMM_INT8": ["-mavx2", "-mfma"],
        "YMM_FP32": ["-mavx2", "-mfma"],
        "YMM_FP64": ["-mavx2", "-mfma"],
    }
    FRESH = 60.0  # seconds

    def __init__(self, folder: Path) -> None:
        self._folder = folder  # of the compiled programs
        self._measured: dict[str, tuple[float, float | None]] = {}  # by unit: when, and TOP/s

    def int8_ops(self, level: str) -> float | None:
        """Measure TOP/s of int8 products at an instruction set; None without a micro-benchmark."""
        wide = {"amx": "TILES_INT8", "avx512bf16": "VECTORS_INT8", "avx512": "VECTORS_INT8", "avx2": "YMM_INT8"}
        return self.ops(wide[level]) if level in wide else None

    def fp32_ops(self) -> float | None:
        """Measure TFLOP/s of float32 products with the widest registers."""
        return self.ops("VECTORS_FP32") or self.ops("YMM_FP32")

    def bf16_ops(self) -> float | None:
        """Measure TFLOP/s of bfloat16 products by the quickest unit; None where there is none."""
        return self.ops("TILES_BF16") or self.ops("VECTORS_BF16")

    def ops(self, unit: str) -> float | None:
        """Measure TOP/s of a unit's products in registers, all threads; None without the unit or a compiler."""
        when, ops = self._measured.get(unit, (-self.FRESH, 0.0))
        if ops is not None and time.monotonic() - when > self.FRESH:
            self._measured[unit] = time.monotonic(), self._measure(unit)
        return self._measured[unit][1]

    def _measure(self, unit: str) -> float | None:
        program = self._program(unit)
        if program is None:
            return None
        try:
            command = [str(program), str(lf.kernels.num_threads())]
            return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        except (OSError, subprocess.CalledProcessError):
            return None

    @cache  # noqa: B019 - one object a run
    def _program(self, unit: str) -> Path | None:
        source, program = Path(__file__).with_name("unit_ceiling.cpp"), self._folder / unit
        build = ["c++", "-O2", "-std=c++20", f"-DUNIT={unit}", *self.FLAGS[unit], str(source), "-o", str(program)]
        try:
            subprocess.run([*build, "-pthread"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return program

    @cache  # noqa: B019
    def copy_bandwidth(self) -> float:
        """Measure the bytes a second that a plain copy reads and writes: the best of several, all threads."""
        source = torch.zeros(100_000, 768)
        target = torch.zeros_like(source)
        times = []
        for _ in range(10):
            start = time.perf_counter()
            target.copy_(source)
            times.append(time.perf_counter() - start)
        return 2 * source.numel() * source.element_size() / min(times)


@pytest.fixture(scope="session")
def limits() -> Iterator[Limits]:
    with tempfile.TemporaryDirectory() as folder:
        yield Limits(Path(folder))


@pytest.fixture(scope="session")
def vectors(pytestconfig: pytest.Config) -> np.ndarray:
    """Return every vector of the store, (T, 768) float32."""
    path = pytestconfig.getoption("--store")
    store = lf.ChainStore.open(path) if path else lf.sample()
    return np.asarray(store.vectors, dtype=np.float32)


@pytest.fixture(scope="session")
def model() -> torch.nn.Module:
    """Build a memory_gru of the reference's size."""
    torch.manual_seed(0)
    return lf.create_model("memory_gru")


@pytest.fixture
def timed(benchmark: Any) -> Callable[..., Any]:
    """Return a function that times a call: warmed up, the median of `rounds`, or of more for quick calls.

    `note(result, median)` is printed beside the time. `value(result)`, a number and its text, replaces the time where
    something else is measured.
    """

    def run(
        group: str,
        name: str,
        call: Callable[[], Any],
        rounds: int = 15,
        note: Callable[[Any, float], str] | None = None,
        value: Callable[[Any], tuple[float, str]] | None = None,
    ) -> Any:
        benchmark.group = group
        benchmark.name = name
        benchmark.extra_info["peer"] = name
        warmups = 0 if rounds == 1 else 1 if rounds < 10 else 3
        for _ in range(warmups):
            start = time.perf_counter()
            call()
            enough = int(1 / (time.perf_counter() - start))  # a second's: a core takes some time to be at its best
            rounds = max(rounds, min(enough, 300))
        result = benchmark.pedantic(call, rounds=rounds)
        if note and benchmark.stats:
            benchmark.extra_info["note"] = note(result, benchmark.stats.stats.median)
        if value:
            benchmark.extra_info["measured"], benchmark.extra_info["value"] = value(result)
        return result

    return run
