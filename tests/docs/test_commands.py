"""Every command and every piece of Python in README and docs runs as it stands, in the order of its page."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from docs_pages import PAGES, Block, blocks, name_of

from lvm_fast.cli import build_parser

RUN = [page for page in PAGES if any(block.runs for block in blocks(page))]


def is_slow(page: Path) -> bool:
    return any(block.mark == "slow" for block in blocks(page))


def run(block: Block, folder: Path, names: dict[str, Any], where: str) -> None:
    """Run a block in a folder: commands by bash, Python among the names of the page's earlier blocks."""
    if block.language == "python":
        exec(compile("\n" * block.line + block.code, where, "exec"), names)
        return
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["bash", "-euo", "pipefail", "-c", block.code]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, (
        f"{where}, line {block.line}:\n{block.code}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    )


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=name_of(page), marks=[pytest.mark.slow] * is_slow(page)) for page in RUN]
)
def test_the_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    pytest.importorskip("coremltools")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.runs:
            run(block, tmp_path, names, name_of(page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_that_do_not_run_here_are_at_least_commands_that_there_are(page):
    for block in blocks(page):
        for line in block.code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if not block.runs and words[:1] == ["lvm-fast"]:
                build_parser().parse_args(words[1:])  # ends with 2 at an unknown command or flag


def test_marks_are_read_from_the_line_above_a_block(tmp_path):
    page = tmp_path / "page.md"
    mac, python, listing = "```bash\nsay hello\n```\n", "```python\nx = 1\n```\n", "```bash\nls\n```\n"
    page.write_text(f"<!-- skip: needs a Mac -->\n{mac}\n{python}<!-- slow -->\n{listing}")
    assert blocks(page) == [
        Block("bash", "say hello\n", 2, "skip: needs a Mac"),
        Block("python", "x = 1\n", 6, ""),
        Block("bash", "ls\n", 10, "slow"),
    ]
    page.write_text("<!-- skipped -->\n```bash\nls\n```\n")
    with pytest.raises(ValueError, match=r"page\.md, line 2: unknown mark 'skipped' above a block"):
        blocks(page)


def test_a_command_that_fails_is_found(tmp_path):
    with pytest.raises(AssertionError, match=r"page\.md, line 3:\n\s*false \| cat"):
        run(Block("bash", "false | cat\n", 3, ""), tmp_path, {}, "page.md")
