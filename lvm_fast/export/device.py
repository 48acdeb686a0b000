"""Measures a package on this Mac: how fast Core ML runs it, on which processors, and whether its outputs are right.

Outputs are compared with the file that export writes beside a package, ``NAME.expected.safetensors``. The processors
and the CPU's own time hint at energy: work that the CPU does not do costs the least.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .._util.did_you_mean import unknown_name
from .._util.numbers import whole_number
from ..evaluation.markdown_table import table
from .expectations import Parts, read_expectations

UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")

_PROCESSORS = {"MLNeuralEngineComputeDevice": "NE", "MLGPUComputeDevice": "GPU", "MLCPUComputeDevice": "CPU"}
_HEAD = ["function, units", "load s", "median ms", "p95 ms", "CPU ms", "planned for", "max error", "cosine", ""]


@dataclass(frozen=True)
class DeviceCheck:
    """Measures one function of a package with one choice of compute units.

    Attributes:
        function: The function.
        units: The compute units, one of `UNITS`.
        load_s: Seconds to load it.
        median_ms: Milliseconds a call, the median.
        p95_ms: Milliseconds a call, the 95th percentile.
        cpu_ms: The CPU's own milliseconds a call.
        placement: The share of the estimated cost that Core ML plans for each processor: "NE", "GPU" and "CPU".
        max_error: The largest difference of any output from the expected one.
        min_cosine: The least cosine of a unit vector with the expected one; for ``topk``, 1 - `max_error`.
        least_cosine: The smallest `min_cosine` that is right.
    """

    function: str
    units: str
    load_s: float
    median_ms: float
    p95_ms: float
    cpu_ms: float
    placement: dict[str, float]
    max_error: float
    min_cosine: float
    least_cosine: float

    @property
    def passed(self) -> bool:
        return self.min_cosine >= self.least_cosine  # NaN never is


@dataclass(frozen=True)
class DeviceVerification:
    """The result of `verify_on_device`.

    Attributes:
        checks: One for each function and choice of compute units.
        about: Facts on the package, as `read_expectations` returns them.
        repeat: Timed calls of each.
        system: The system and the machine.
    """

    checks: tuple[DeviceCheck, ...]
    about: Mapping[str, Any]
    repeat: int
    system: str

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        checks = [asdict(check) | {"passed": check.passed} for check in self.checks]
        return {"passed": self.passed, "system": self.system, "repeat": self.repeat, "checks": checks}

    def to_text(self) -> str:
        """Return a Markdown table, with the package above and the machine below."""
        title = f"{self.about['model_type']}, {self.about['precision']}, compress {self.about['compress'] or 'none'}"
        lines = table(_HEAD, [_cells(check) for check in self.checks])
        return "\n".join([title, "", *lines, "", f"{self.repeat} calls each, one context a call; {self.system}"])


class Loader(Protocol):
    """Loads a function of a package, as `CoreML` does."""

    def load(self) -> Any: ...

    def placement(self, model: Any) -> dict[str, float]: ...


class CoreML:
    """Loads a function of a package with a choice of compute units, as Core ML runs it."""

    def __init__(self, package: Path, function: str, units: str) -> None:
        self._package, self._function, self._units = package, function, units

    def load(self) -> Any:
        """Return coremltools' model of the function."""
        from .coremltools_compat import ct

        name = None if self._function == "main" else self._function
        return ct.models.MLModel(str(self._package), function_name=name, compute_units=ct.ComputeUnit[self._units])

    def placement(self, model: Any) -> dict[str, float]:
        """Return the share of the loaded model's estimated cost that Core ML plans for each processor."""
        from .coremltools_compat import ct

        units = ct.ComputeUnit[self._units]
        plan = ct.models.compute_plan.MLComputePlan.load_from_path(model.get_compiled_model_path(), units)
        costs: Counter[str] = Counter()
        for operation in _operations(plan.model_structure.program.functions[self._function].block):
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
            if usage is not None and cost is not None:  # constants have neither
                costs[_PROCESSORS[type(usage.preferred_compute_device).__name__]] += cost.weight
        total = sum(costs.values())
        return {processor: cost / total for processor, cost in costs.items()} if total else {}


def verify_on_device(package: Path, units: Sequence[str] = UNITS, repeat: int = 100) -> DeviceVerification:
    """Run every function of a package with Core ML, compare its outputs with the expected ones, and time it.

    Args:
        package: The ``.mlpackage``, with ``NAME.expected.safetensors`` beside it.
        units: Compute units to run on, of `UNITS`.
        repeat: Timed calls of each function.

    Raises:
        ValueError: This is no Mac, an argument does not fit, or the expectations are damaged.
        FileNotFoundError: There is no package, or there are no expectations beside it.
        ImportError: coremltools is not installed, or in a version that does not work.
    """
    if platform.system() != "Darwin":
        raise ValueError(f"verify: --device needs a Mac with Core ML; this is {platform.system()}")
    for unit in units:
        if unit not in UNITS:
            raise ValueError(f"verify: {unknown_name('--units', unit, UNITS)}")
    repeat = whole_number(repeat, "verify: --repeat", least=1)
    functions, about = read_expectations(package)
    checks = tuple(
        check_function(CoreML(package, name, unit), name, unit, parts, repeat, about)
        for unit in units
        for name, parts in functions.items()
    )
    return DeviceVerification(checks, about, repeat, f"macOS {platform.mac_ver()[0]}, {platform.machine()}")


def check_function(
    loader: Loader, function: str, units: str, parts: Parts, repeat: int, about: Mapping[str, Any]
) -> DeviceCheck:
    """Load a function, compare its outputs with the expected ones, and time it.

    Args:
        loader: Loads it.
        function: Its name.
        units: The compute units.
        parts: Its inputs and expected outputs by name, with a row for each call.
        repeat: Timed calls.
        about: Facts on the package, as `read_expectations` returns them.
    """
    started = time.perf_counter()
    model = loader.load()
    load_s = time.perf_counter() - started
    name = next(part for part in ("context", "vector", "query") if part in parts)
    calls = [{name: parts[name][place : place + 1]} for place in range(len(parts[name]))]
    options = {"state": model.make_state()} if name == "vector" else {}
    max_error, min_cosine = _compare([model.predict(call, **options) for call in calls], parts)
    seconds, cpu_started = [], time.process_time()
    for place in range(repeat):
        started = time.perf_counter()
        model.predict(calls[place % len(calls)], **options)
        seconds.append(time.perf_counter() - started)
    cpu_s = (time.process_time() - cpu_started) / repeat
    median_ms, p95_ms = (1e3 * float(part) for part in np.percentile(seconds, (50, 95)))
    return DeviceCheck(
        function=function,
        units=units,
        load_s=load_s,
        median_ms=median_ms,
        p95_ms=p95_ms,
        cpu_ms=1e3 * cpu_s,
        placement=loader.placement(model),  # last: planning takes longer than loading
        max_error=max_error,
        min_cosine=min_cosine,
        least_cosine=1 - float(about["max_score_error"]) if name == "query" else float(about["min_cosine"]),
    )


def _operations(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _operations(inner)


def _compare(outputs: Sequence[Mapping[str, NDArray[Any]]], parts: Parts) -> tuple[float, float]:
    """Return the largest error, and `DeviceCheck.min_cosine`; NaN where an output is."""
    if "scores" in parts:
        errors = [_score_error(*rows) for rows in zip(outputs, parts["scores"], parts["ids"], strict=True)]
        error = float(np.max(errors))
        return error, 1 - error
    names = [name for name in ("next_vector", "delta", "query") if name in parts]
    got = {name: np.concatenate([each[name] for each in outputs]) for name in names}
    error = np.max([np.abs(got[name] - parts[name]).max() for name in names])
    cosines = [(got[name] * parts[name]).sum(axis=1) for name in names if name != "delta"]
    return float(error), float(np.min(cosines))


def _score_error(outputs: Mapping[str, NDArray[Any]], scores: NDArray[Any], ids: NDArray[Any]) -> float:
    """Return the largest error of a score of one query, and of a score as that of its id.

    Rounding may swap ids whose scores are close. So each id must have the score that is expected of this id, wherever
    it stands; an id that is not expected must have about the last score.
    """
    got, got_ids = outputs["scores"][0], outputs["ids"][0]
    if len(np.unique(got_ids)) < len(ids):
        return float("inf")
    score_of = dict(zip(ids.tolist(), scores.tolist(), strict=True))
    expected = [score_of.get(index, scores[-1]) for index in got_ids.tolist()]
    return float(np.max(np.abs([got - scores, got - expected])))


def _cells(check: DeviceCheck) -> list[str]:
    return [
        f"{check.function}, {check.units}",
        f"{check.load_s:.2f}",
        f"{check.median_ms:.3f}",
        f"{check.p95_ms:.3f}",
        f"{check.cpu_ms:.3f}",
        ", ".join(f"{processor} {share:.0%}" for processor, share in sorted(check.placement.items())) or "unknown",
        f"{check.max_error:.1e}",
        f"{check.min_cosine:.5f}",
        "" if check.passed else "WRONG",
    ]
