"""A comparison of precisions in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..evaluation.describe_data import data_in_words, queries_in_words
from ..evaluation.markdown_table import cell, table
from ..evaluation.report_markdown import spoken
from ..evaluation.yardstick import CLOSED_FORMS

if TYPE_CHECKING:
    from .compare import PrecisionComparison, Row

_HEAD = ["weights", "MB", "max error", "of the program", "min cosine", "Hit@5 %", "change, points", "converted in"]


def comparison_in_words(comparison: PrecisionComparison) -> str:
    """The table, and below it what was asked and how to read it."""
    report = comparison.report
    reference = [
        "torch",
        "",
        "",
        "",
        "",
        cell("hit@5", report.hits["hit@5"], report.intervals["model"]["hit@5"]),
        "",
        "",
    ]
    baselines = [
        [spoken(name), "", "", "", "", cell("hit@5", report.baselines[name]["hit@5"], None), "", ""]
        for name in CLOSED_FORMS
        if name in report.baselines
    ]
    lines = table(_HEAD, [reference, *map(_cells, comparison.rows), *baselines])
    unverified = [row.name for row in comparison.rows if not row.verified]
    return "\n".join(
        [
            *lines,
            "",
            *filter(None, [data_in_words(report), queries_in_words(report), report.interval_note]),
            _HOW_TO_READ,
            *([f"NOT the model: {', '.join(unverified)} failed verification."] if unverified else []),
        ]
    )


def _cells(row: Row) -> list[str]:
    return [
        row.name,
        f"{row.package_bytes / 1e6:.1f}",
        f"{row.max_abs_error:.1e}",
        f"{row.program_error:.1e}",
        f"{row.min_cosine:.6f}",
        cell("hit@5", row.hit5, None),
        cell("hit@5", row.change, row.interval, signed=True),
        f"{row.seconds:.0f} s",
    ]


_HOW_TO_READ = (
    "Sizes and errors are those of the packages; the error of the program is without that of compressed weights. Hit@5 "
    "is that of the same operations and constants, built for many contexts at once and interpreted; [low, high] is a "
    "95% interval over chains, of the difference in pairs for the change."
)
