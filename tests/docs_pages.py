"""The pages of README and docs, and their blocks of commands and Python.

A comment right above a block says how it is tested: ``<!-- skip: reason -->`` not at all, ``<!-- slow -->`` with the
slow tests, ``<!-- test command -->`` by `.ci/run`. The blocks of a page belong together: with one slow block the whole
page is slow.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted(path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"),
    *sorted((ROOT / "docs").rglob("*.md")),
]

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^>]*?) -->\n)?^```(?P<language>bash|python)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A fenced block: its language, what it says, the line it begins at, and the comment above it."""

    language: str
    code: str
    line: int
    mark: str

    @property
    def runs(self) -> bool:
        """Whether the tests run it."""
        return not self.mark.startswith("skip: ") and self.mark != "test command"


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in order. Raises ValueError for a comment above a block that means nothing."""
    text = page.read_text()
    found = [
        Block(match["language"], match["code"], text.count("\n", 0, match.start("code")), match["mark"] or "")
        for match in _BLOCK.finditer(text)
    ]
    for block in found:
        if not re.fullmatch(r"(skip: .+|slow|test command)?", block.mark):
            raise ValueError(f"{page.name}, line {block.line}: unknown mark {block.mark!r} above a block")
    return found


def name_of(page: Path) -> str:
    """The page's path from the root."""
    return str(page.relative_to(ROOT))
