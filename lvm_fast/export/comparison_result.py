"""Holds a comparison of precisions: plain data that becomes JSON or a Markdown table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..evaluation.describe_data import describe_data, describe_queries
from ..evaluation.figures import CLOSED_FORMS, Interval
from ..evaluation.markdown_table import cell, table
from ..evaluation.report import Report
from ..evaluation.report_markdown import display_name

METRIC = "hit@5"

_HEAD = ["weights", "MB", "max error", "of the program", "min cosine", "Hit@5 %", "change, points", "converted in"]
_HOW_TO_READ = (
    "Sizes and errors are those of the packages; the error of the program is without that of compressed weights. Hit@5 "
    "is that of the same operations and constants, built for many contexts at once and run here; [low, high] is a "
    "95% interval over chains, of the difference in pairs for the change."
)


@dataclass(frozen=True)
class Row:
    """One way to store a model.

    Attributes:
        name: A key of `VARIANTS`.
        package_bytes: Size of the package.
        seconds: How long the conversion took.
        verified: Whether `verify_coreml` passed it.
        max_abs_error: Its largest error against torch, with weights as they are stored.
        program_error: Its largest error with the model's own weights in place of compressed ones.
        min_cosine: Its smallest cosine with torch.
        hit5: Hit@5 on the held-out windows, a fraction.
        change: `hit5` minus that of torch.
        interval: 95% interval of `change`, in pairs; None for fewer than two chains.
    """

    name: str
    package_bytes: int
    seconds: float
    verified: bool
    max_abs_error: float
    program_error: float
    min_cosine: float
    hit5: float
    change: float
    interval: Interval | None


@dataclass(frozen=True)
class PrecisionComparison:
    """The result of `compare_precisions`.

    Attributes:
        rows: One for each way to store the model.
        report: The evaluation of the model in torch; all rows share its pool, queries and chains.
    """

    rows: tuple[Row, ...]
    report: Report

    def to_dict(self) -> dict[str, Any]:
        """Return the table as plain JSON values."""
        report = self.report
        shared = {"pool": report.pool, "queries": report.queries, "chains": report.chains, "data": report.data}
        return {"torch_hit5": report.hits[METRIC], **shared, "rows": [asdict(row) for row in self.rows]}

    def to_text(self) -> str:
        """Return the table in Markdown, with the data, the queries and how to read it below."""
        report = self.report
        torch_row = _hit5_alone("torch", cell(METRIC, report.hits[METRIC], report.intervals["model"][METRIC]))
        baselines = [
            _hit5_alone(display_name(name), cell(METRIC, report.baselines[name][METRIC], None))
            for name in CLOSED_FORMS
            if name in report.baselines
        ]
        unverified = [row.name for row in self.rows if not row.verified]
        return "\n".join(
            [
                *table(_HEAD, [torch_row, *map(_cells, self.rows), *baselines]),
                "",
                *filter(None, [describe_data(report), describe_queries(report), report.interval_note]),
                _HOW_TO_READ,
                *([f"NOT the model: {', '.join(unverified)} failed verification."] if unverified else []),
            ]
        )


def _hit5_alone(name: str, hit5: str) -> list[str]:
    return [name, "", "", "", "", hit5, "", ""]


def _cells(row: Row) -> list[str]:
    return [
        row.name,
        f"{row.package_bytes / 1e6:.1f}",
        f"{row.max_abs_error:.1e}",
        f"{row.program_error:.1e}",
        f"{row.min_cosine:.6f}",
        cell(METRIC, row.hit5, None),
        cell(METRIC, row.change, row.interval, signed=True),
        f"{row.seconds:.0f} s",
    ]
