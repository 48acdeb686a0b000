"""The questions of a report as the script of its page reads them: every chunk once, all else by number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..figures import CURVE_K, MODEL, Chunk
from ..report_markdown import display_name

if TYPE_CHECKING:
    from ..figures import ReportFigures


def question_data(report: ReportFigures) -> dict[str, Any]:
    """Return plain JSON values.

    ``chains`` are names; ``chunks`` are [chain, position, text or null]; of a question ``context``, ``target`` and
    ``best`` name chunks by number, and ``ranks`` stand in the order of ``names``. A hit is within ``within``.
    """
    chains: dict[str, int] = {}
    chunks: dict[Chunk, int] = {}

    def number(chunk: Chunk | None) -> int | None:
        return None if chunk is None else chunks.setdefault(chunk, len(chunks))

    names = list(report.questions[0].ranks) if report.questions else []
    shown = [name for name in (MODEL, report.yardstick) if names and name in report.questions[0].best]
    questions = [
        {
            "context": [number(chunk) for chunk in question.context],
            "read": question.read,
            "target": number(question.target),
            "ranks": [question.ranks[name] for name in names],
            "best": [
                [[round(found.score, 4), number(found.chunk), found.is_right] for found in question.best[str(name)]]
                for name in shown
            ],
        }
        for question in report.questions
    ]
    told = [[chains.setdefault(chunk.chain, len(chains)), chunk.position, chunk.text] for chunk in chunks]
    titles = {name: display_name(name) for name in names}
    if report.yardstick in titles:
        titles[str(report.yardstick)] += " (best without training)"
    return {
        "within": CURVE_K,
        "names": names,
        "shown": shown,
        "titles": titles,
        "chains": list(chains),
        "chunks": told,
        "questions": questions,
    }
