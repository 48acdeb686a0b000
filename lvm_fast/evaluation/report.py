"""The report of one evaluation: its figures, and the documents they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .figures import ReportFigures
from .report_markdown import render_report
from .report_plot import save_picture
from .write_files import save_documents


@dataclass(frozen=True)
class Report(ReportFigures):
    """The result of `evaluate`: the attributes of `ReportFigures`, and documents in Markdown, JSON and PNG."""

    def to_markdown(self, picture: str | None = None) -> str:
        """Return the report as Markdown: sentences and tables.

        Args:
            picture: File name of the picture to show, relative to the document.
        """
        return render_report(self, picture)

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
