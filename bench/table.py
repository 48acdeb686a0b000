"""Run the benchmarks and print one Markdown table: medians, ratios to lvm_fast, the machine and the versions.

python bench/table.py                       # everything, on the sample
python bench/table.py --long                # a million vectors, mining, long contexts too: 15 minutes, 10 GB
python bench/table.py --store FILE -k rows  # further arguments go to pytest
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from lvm_fast.cli.info import describe_installation

PEERS = ("faiss-cpu", "numkong", "scikit-learn", "usearch")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        chosen = [str(Path(__file__).parent), "-q", "-p", "no:cacheprovider", "-W", "default"]
        options = ["--benchmark-enable", "--benchmark-disable-gc", f"--benchmark-json={result}"]
        with redirect_stdout(sys.stderr):  # `python -m pytest` would find the sources, not the package
            code = pytest.main([*chosen, *options, *sys.argv[1:]])
        if result.exists() and result.stat().st_size:
            print(table(json.loads(result.read_text())["benchmarks"]))
    return code


def table(benchmarks: list[dict[str, Any]]) -> str:
    """Return the Markdown table; the ratio is that of the time (or memory) to the group's lvm_fast."""
    lines = ["| work | peer | median | relative to lvm_fast | |", "|---|---|---:|---:|---|"]
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in benchmarks:
        groups.setdefault(run["group"], []).append(run)
    for group, runs in groups.items():
        measured = {
            run["extra_info"]["peer"]: run["extra_info"].get("measured", run["stats"]["median"]) for run in runs
        }
        for run in runs:
            peer, note = run["extra_info"]["peer"], run["extra_info"].get("note", "")
            base = measured.get("lvm_fast")
            ratio = "" if peer == "lvm_fast" or not base else f"{measured[peer] / base:.2f}x"
            shown = run["extra_info"].get("value") or duration(measured[peer])
            lines.append(f"| {group} | {peer} | {shown} | {ratio} | {note} |")
    machine = describe_installation() | {name: version(name) for name in PEERS}
    return "\n".join([*lines, "", ", ".join(f"{name} {value}" for name, value in machine.items())])


def duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


if __name__ == "__main__":
    raise SystemExit(main())
