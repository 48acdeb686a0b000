"""How fast is a package on this Mac, where does Core ML run it, and does it compute what it should?

python bench/coreml_device.py model.mlpackage                          # every function on every compute unit
python bench/coreml_device.py model.mlpackage --units CPU_AND_NE --repeat 500

For each function and compute unit: seconds to load it, milliseconds a call (median and 95th percentile), the shares of
the estimated cost that Core ML plans for Neural Engine, GPU and CPU (`MLComputePlan`), and the CPU's own time a call.
The last two hint at energy: what the CPU does not do costs least. Outputs are compared with what export has left beside
the package, ``NAME.expected.safetensors``; a cosine below what that file demands ends with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lvm_fast.evaluation.markdown_table import table
from lvm_fast.export.expectations import Parts, read_expectations

UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")
_DEVICES = {"MLNeuralEngineComputeDevice": "NE", "MLGPUComputeDevice": "GPU", "MLCPUComputeDevice": "CPU"}


class Measured(NamedTuple):
    """One function on one compute unit.

    `placement` says what share of the estimated cost each device gets; `worst` is the least cosine of a next vector, or
    of a query in the model's space, with the expected one, or 1 - the largest error of a score; `least` is what it has
    to reach.
    """

    function: str
    units: str
    load_s: float
    median_ms: float
    p95_ms: float
    cpu_ms: float
    placement: dict[str, float]
    max_error: float
    worst: float
    least: float

    @property
    def passed(self) -> bool:
        return self.worst >= self.least


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="the package (.mlpackage), with NAME.expected.safetensors beside it")
    parser.add_argument("--units", nargs="+", choices=UNITS, default=UNITS, help="compute units (default: all four)")
    parser.add_argument("--repeat", type=int, default=100, help="timed calls (default: 100)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args(arguments)
    if sys.platform != "darwin":
        print(f"Core ML runs on Apple systems only; this is {platform.system()}: nothing was measured", file=sys.stderr)
        return 2
    try:
        functions, about = read_expectations(args.package)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = [
        measure(CoreML(args.package, name, units), name, units, parts, args.repeat, about)
        for units in args.units
        for name, parts in functions.items()
    ]
    print(report(rows, about))
    print(f"\n{args.repeat} calls each, one context a call; macOS {platform.mac_ver()[0]}, {platform.machine()}")
    if args.json:
        args.json.write_text(json.dumps([row._asdict() for row in rows], indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.passed for row in rows) else 1


class CoreML:
    """A function of a package on a compute unit, as Core ML runs it."""

    def __init__(self, package: Path, function: str, units: str) -> None:
        self._package, self._function, self._units = package, function, units

    def load(self) -> Any:
        """The model that coremltools makes of it."""
        import coremltools as ct

        name = None if self._function == "main" else self._function
        return ct.models.MLModel(str(self._package), function_name=name, compute_units=ct.ComputeUnit[self._units])

    def placement(self, model: Any) -> dict[str, float]:
        """What share of the estimated cost of the loaded model each device gets."""
        import coremltools as ct

        units = ct.ComputeUnit[self._units]
        plan = ct.models.compute_plan.MLComputePlan.load_from_path(model.get_compiled_model_path(), units)
        costs: Counter[str] = Counter()
        for operation in _operations(plan.model_structure.program.functions[self._function].block):
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
            if usage is not None and cost is not None:  # constants have neither
                costs[_DEVICES[type(usage.preferred_compute_device).__name__]] += cost.weight
        total = sum(costs.values())
        return {device: cost / total for device, cost in costs.items()} if total else {}


def _operations(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _operations(inner)


def measure(device: Any, function: str, units: str, parts: Parts, repeat: int, about: Mapping[str, Any]) -> Measured:
    """Load a function, compare its outputs with what is expected, and time it.

    Args:
        device: What loads it, as `CoreML`.
        function: Its name.
        units: The compute unit's.
        parts: Its expected inputs and outputs, a row for each call.
        repeat: Timed calls.
        about: What else the expectations say.
    """
    started = time.perf_counter()
    model = device.load()
    load_s = time.perf_counter() - started
    name = next(part for part in ("context", "vector", "query") if part in parts)
    calls = [{name: parts[name][place : place + 1]} for place in range(len(parts[name]))]
    options = {"state": model.make_state()} if name == "vector" else {}
    found = [model.predict(call, **options) for call in calls]
    error, worst = _compare(found, parts)
    seconds, cpu_started = [], time.process_time()
    for place in range(repeat):
        started = time.perf_counter()
        model.predict(calls[place % len(calls)], **options)
        seconds.append(time.perf_counter() - started)
    cpu_s = (time.process_time() - cpu_started) / repeat
    least = 1 - float(about["max_score_error"]) if name == "query" else float(about["min_cosine"])
    return Measured(
        function,
        units,
        load_s,
        *(1e3 * float(part) for part in np.percentile(seconds, (50, 95))),
        1e3 * cpu_s,
        device.placement(model),  # last: planning takes longer than loading
        error,
        worst,
        least,
    )


def _compare(found: list[dict[str, NDArray[Any]]], parts: Parts) -> tuple[float, float]:
    """The largest error, and `Measured.worst`; not a number where an output is not."""
    if "scores" in parts:
        errors = [_score_error(*rows) for rows in zip(found, parts["scores"], parts["ids"], strict=True)]
        error = float(np.max(errors))
        return error, 1 - error
    named = [part for part in ("next_vector", "delta", "query") if part in parts]
    got = {part: np.concatenate([outputs[part] for outputs in found]) for part in named}
    error = np.max([np.abs(got[part] - parts[part]).max() for part in named])
    cosines = [(got[part] * parts[part]).sum(axis=1) for part in named if part != "delta"]
    return float(error), float(np.min(cosines))


def _score_error(outputs: dict[str, NDArray[Any]], scores: NDArray[Any], ids: NDArray[Any]) -> float:
    """The largest error of a score of one query, and of a score as that of its id.

    Rounding may swap close calls: an id has to have the score that is expected of it, wherever it stands, or, where
    none is, about the last one.
    """
    found, found_ids = outputs["scores"][0], outputs["ids"][0]
    if len(np.unique(found_ids)) < len(ids):
        return float("inf")
    of_ids = dict(zip(ids.tolist(), scores.tolist(), strict=True))
    of_found = [of_ids.get(index, scores[-1]) for index in found_ids.tolist()]
    return float(np.max(np.abs([found - scores, found - of_found])))


def report(rows: list[Measured], about: Mapping[str, Any]) -> str:
    """The figures as a table."""
    head = ["function, units", "load s", "median ms", "p95 ms", "CPU ms", "planned for", "max error", "cosine", ""]
    lines = [
        [
            f"{row.function}, {row.units}",
            f"{row.load_s:.2f}",
            f"{row.median_ms:.3f}",
            f"{row.p95_ms:.3f}",
            f"{row.cpu_ms:.3f}",
            ", ".join(f"{device} {share:.0%}" for device, share in sorted(row.placement.items())) or "unknown",
            f"{row.max_error:.1e}",
            f"{row.worst:.5f}",
            "" if row.passed else "WRONG",
        ]
        for row in rows
    ]
    title = f"{about['model_type']}, {about['precision']}, compress {about['compress'] or 'none'}"
    return "\n".join([title, "", *table(head, lines)])


if __name__ == "__main__":
    raise SystemExit(main())
