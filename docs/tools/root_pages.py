"""Pages of the site whose text stands at the root of the repository, where people look first: CONTRIBUTING.md, ..."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
PAGES = {
    "architecture": "ARCHITECTURE.md",
    "changelog": "CHANGELOG.md",
    "code-of-conduct": "CODE_OF_CONDUCT.md",
    "contributing": "CONTRIBUTING.md",
    "security": "SECURITY.md",
}


def text_of(page: str) -> str:
    """The text of a file at the root, with links as they are seen from docs/."""
    return re.sub(
        r"\]\((?!https?:|#)([^)]+)\)", lambda link: f"]({seen_from_docs(link[1])})", (ROOT / PAGES[page]).read_text()
    )


def seen_from_docs(target: str) -> str:
    """The target of a link at the root as docs/ writes it."""
    pages = {file: f"{page}.md" for page, file in PAGES.items()}
    return target.removeprefix("docs/") if target.startswith("docs/") else pages.get(target, f"../{target}")


def read(app: Sphinx, page: str, content: list[str]) -> None:
    """Put the text of the root's file into the place of a page that stands for it."""
    if page in PAGES:
        content[0] = text_of(page)
        app.env.note_dependency(str(ROOT / PAGES[page]))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
