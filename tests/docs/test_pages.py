"""What the pages say agrees with the package: its names, its commands, its rooms, and the links between them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import command_help
import draw_architecture
import pytest
import root_pages
from docs_pages import PAGES, ROOT, name_of

import lvm_fast as lf

DOCS = ROOT / "docs"
CODE = {".py", ".pyi", ".cpp", ".h", ".swift", ".md", ".txt", ".yaml"}
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("name", lf.__all__)
def test_every_public_name_has_an_entry_in_the_reference(name):
    entry = rf"^\.\. (autofunction|autoclass|py:data):: {re.escape(name)}$"
    assert re.search(entry, (DOCS / "reference" / "api.md").read_text(), re.MULTILINE)


def test_what_tests_use_of_the_tools_needs_nothing_of_the_site():
    block = "import sys; sys.modules |= dict.fromkeys(('docutils', 'sphinx'))"
    code = f"{block}; import command_help, draw_architecture, root_pages; command_help.help_of('info')"
    subprocess.run([sys.executable, "-c", code], cwd=DOCS / "tools", check=True)


def test_every_command_has_a_section_in_the_reference():
    shown = re.findall(r"^```\{command-help\} (\S+)$", (DOCS / "reference" / "commands.md").read_text(), re.MULTILINE)
    assert shown == command_help.command_names()


def test_the_reference_of_a_command_is_its_own_help():
    assert "--warm-start" in command_help.help_of("train")
    assert "usage: lvm-fast " in command_help.help_of(None)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
def test_links_between_pages_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        if re.match(r"https?:|#", target):
            continue
        file, _, heading = target.partition("#")
        place = (page.parent / file).resolve()
        assert place.exists(), f"{name_of(page)} links to {target}"
        if heading:
            assert heading in anchors(place), f"{name_of(page)} links to {target}"


def test_pages_that_the_code_names_are_there():
    folders = ("lvm_fast", "python", "csrc", "bench", "examples")
    code = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in CODE]
    named = {page for path in code for page in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text())}
    assert "docs/explanation/champion.md" in named
    assert [page for page in sorted(named) if not (ROOT / page).is_file()] == []


def test_files_that_the_guides_name_are_there():
    folders = ("bench", "csrc", "docs", "examples", "lvm_fast", "python", "tests")
    there = [*ROOT.iterdir(), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    for page in ("CONTRIBUTING.md", "ARCHITECTURE.md"):
        named = re.findall(r"`(\w[\w./-]*\.(?:cpp|h|md|py|toml))`", (ROOT / page).read_text())
        assert named
        for name in named:
            is_there = any(path.as_posix().endswith(f"/{name}") for path in there)
            assert is_there or "your_" in name, f"{page} names {name}"


def test_the_sessions_of_the_guide_are_those_of_the_noxfile():
    table = re.findall(r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    sessions = re.findall(r"@nox\.session\n(?:@nox\..*\n)*def (\w+)", (ROOT / "noxfile.py").read_text())
    assert sorted(table) == sorted(sessions)


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [page for page in PAGES if DOCS in page.parents], ids=name_of)
def test_every_page_of_the_site_is_in_a_table_of_contents(page):
    listed = {
        (index.parent / f"{line}.md").resolve()
        for index in DOCS.rglob("*.md")
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```$", index.read_text(), re.MULTILINE | re.DOTALL)
        for line in tree.split()
    }
    assert page == DOCS / "index.md" or page in listed


def test_pages_from_the_root_link_as_the_site_does():
    text = root_pages.text_of("contributing")
    assert "[ARCHITECTURE](architecture.md)" in text
    assert "[glossary](glossary.md)" in text
    assert "(../LICENSE)" in text


def test_the_picture_of_the_rooms_is_current():
    drawn = draw_architecture.picture(draw_architecture.import_graph())
    assert draw_architecture.PICTURE.read_text() == drawn, "draw it by `python docs/tools/draw_architecture.py`"


@pytest.mark.parametrize("room", draw_architecture.rooms())
def test_every_room_is_in_the_architecture(room):
    assert re.search(rf"^\| `{room}/?` \|", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    assert draw_architecture.MEANINGS[room]


def test_an_arrow_that_follows_from_others_is_left_out():
    graph = {"top": {"middle", "bottom"}, "middle": {"bottom"}, "bottom": set()}
    assert draw_architecture.layers(graph) == [["top"], ["middle"], ["bottom"]]
    assert draw_architecture.reduced(graph) == {"top": {"middle"}, "middle": {"bottom"}, "bottom": set()}


def test_lazy_relative_and_whole_imports_are_all_seen(tmp_path, monkeypatch):
    room = tmp_path / "lvm_fast" / "models"
    room.mkdir(parents=True)
    (room / "toy.py").write_text(
        "from ..ops import gru\nfrom .. import spaces\nimport lvm_fast.data.store\nimport torch\n"
        "def late():\n    from ..retrieval.bank import VectorBank\n    from .base import Model\n"
    )
    monkeypatch.setattr(draw_architecture, "ROOT", tmp_path)
    found = set(draw_architecture.imported(room / "toy.py"))
    assert found == {"ops", "spaces", "data", "retrieval", "models"}


def test_the_site_trains_in_several_processes_by_the_form_that_works_in_a_clone():
    page = (DOCS / "how-to" / "distributed.md").read_text()
    assert "torchrun --nproc-per-node 4 --no-python lvm-fast train" in page
    assert not re.search(r"^torchrun .* -m ", page, re.MULTILINE)


def test_the_words_of_the_front_page_are_in_the_glossary():
    glossary = (DOCS / "glossary.md").read_text()
    terms = {term.strip() for line in re.findall(r"^(.+)\n: ", glossary, re.MULTILINE) for term in line.split(",")}
    asked = {"chunk", "chain", "context", "delta", "pool", "unread", "space", "query", "keys", "Hit@K", "closed form"}
    assert asked | {"the reference", "champion"} <= terms
    assert "lnsp-phase-4" in glossary
