"""The report of one evaluation: its figures, and the documents they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._util.atomic_files import atomic_write_text
from .figures import ReportFigures
from .page.report_page import render_page
from .report_markdown import render_report, summary
from .report_plot import save_picture
from .short_forms import report_line, report_table
from .three_predictions import three_predictions
from .write_files import save_documents


@dataclass(frozen=True, repr=False)
class Report(ReportFigures):
    """The result of `evaluate`: the attributes of `ReportFigures`, and documents in Markdown, JSON, PNG and HTML."""

    def __repr__(self) -> str:
        return report_line(self, type(self).__name__)

    def _repr_html_(self) -> str:
        return report_table(self)

    def to_markdown(self, picture: str | None = None) -> str:
        """Return the report as Markdown: sentences and tables.

        Args:
            picture: File name of the picture to show, relative to the document.
        """
        return render_report(self, picture)

    def summary(self, width: int = 100) -> str:
        """Return the verdict and the hits of all, in lines that fit a terminal."""
        return summary(self, width)

    def three_predictions(self, width: int = 100) -> str:
        """Return three of the `questions` in words: two that the model finds, one that it misses.

        Raises:
            ValueError: No questions were kept.
        """
        if not self.questions:
            raise ValueError(
                "Report.three_predictions: no questions were kept; ask for some by evaluate(questions=...)"
            )
        return three_predictions(self.questions, width)

    def to_html(self, history: Sequence[dict[str, Any]] | None = None) -> str:
        """Return the report as one page of HTML that needs no network: sentences, pictures, tables, and `questions`.

        Args:
            history: The training's rows, one an epoch, for a picture of it.
        """
        return render_page(self, history)

    def save_html(self, path: str | Path, history: Sequence[dict[str, Any]] | None = None) -> Path:
        """Write the page of `to_html`; it appears whole or not at all. Returns its path."""
        atomic_write_text(path, self.to_html(history))
        return Path(path)

    def save(
        self, folder: str | Path, history: Sequence[dict[str, Any]] | None = None, name: str = "report"
    ) -> list[Path]:
        """Write ``report.json``, ``report.md`` and, with matplotlib, ``report.png``; each appears whole or not at all.

        Without matplotlib the document says which extra brings it.

        Args:
            folder: Where; made if it is not there.
            history: The training's rows, one an epoch, for the picture's training curves.
            name: What the files are called instead of "report".

        Returns:
            The files written.
        """
        return save_documents(
            folder, name, self.to_dict(), self.to_markdown, lambda path: save_picture(self, path, history)
        )
