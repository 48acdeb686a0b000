"""The page of a report: one file, no network, and whatever a text says, it stays text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from made_reports import HISTORY, make_report

from lvm_fast.evaluation.figures import Chunk, Found, Question

EVIL = "</script><script>alert(1)</script><!-- & \"quoted\" 'so' \u2028"


def questions(text: str = "some words", count: int = 6) -> list[Question]:
    def chunk(i: int) -> Chunk:
        return Chunk("a <b>" if i % 2 else "c", i, text)

    return [
        Question(
            context=[chunk(i), chunk(i + 1)],
            read=i + 2,
            target=chunk(i + 2),
            ranks={"model": i + 1, "copy_last": 7 - i},
            best={
                "model": [Found(0.5, chunk(i + 2), i == 0), Found(0.4, None, False)],
                "copy_last": [Found(0.25, chunk(i + 3), False)],
            },
        )
        for i in range(count)
    ]


class Page(HTMLParser):
    """What a browser makes of a page: its elements, their attributes, and the text of each script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words = ""
        self._in = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "script":
            self.scripts[-1] += data
        elif self._in != "style":
            self.words += data


def test_nothing_is_loaded_from_anywhere():
    html = make_report(questions=questions()).to_html(HISTORY)
    page = Page(html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"link", "img", "iframe", "object", "embed", "base", "form"}
    assert not [attrs for _, attrs in page.elements if {"src", "href", "action"} & attrs.keys()]
    assert not re.search(r"https?:|//[a-z]|url\(|@import", html)
    policy = next(attrs["content"] for _, attrs in page.elements if attrs.get("http-equiv"))
    assert str(policy).startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert len(page.scripts) == 2


def test_the_verdict_the_figures_and_the_pictures_are_there():
    report = make_report(questions=questions(), notes=["Only 12 questions, said the owl."])
    page = Page(report.to_html(HISTORY))
    for words in (
        "How well memory_gru predicts the next chunk",
        "The model beats copy-last (the best without training).",
        "35.0%",
        "30.0%",
        "+5.0",
        "[+3.0, +7.0]",
        "1,149",
        "from 20 chains",
        "Only 12 questions, said the owl.",
        "Hit@5 falls as the pool grows",
        "Hit@5 by epoch, pool of 1,149",
        "whole chains are drawn again with replacement, 1,000 times (seed 42)",
    ):
        assert words in page.words, words
    assert [tag for tag, _ in page.elements].count("svg") == 3
    assert "Hit@5 by epoch" not in Page(report.to_html()).words


def test_whatever_a_text_says_it_stays_text():
    report = make_report(questions=questions(EVIL), data={"name": EVIL}, notes=[EVIL], model_type=EVIL)
    page = Page(report.to_html())
    assert len(page.scripts) == 2
    data = json.loads(page.scripts[0])
    assert {chunk[2] for chunk in data["chunks"]} == {EVIL}
    assert "alert" not in page.scripts[1]
    assert page.words.count("<script>alert(1)</script>") >= 3


def test_the_questions_reach_the_script_whole():
    asked = questions()
    report = make_report(questions=asked)
    data = json.loads(Page(report.to_html()).scripts[0])
    assert (data["names"], data["shown"], data["within"]) == (["model", "copy_last"], ["model", "copy_last"], 5)

    def chunk(number):
        return None if number is None else Chunk(data["chains"][data["chunks"][number][0]], *data["chunks"][number][1:])

    for told, question in zip(data["questions"], asked, strict=True):
        assert [*map(chunk, told["context"])] == question.context
        assert (chunk(told["target"]), told["read"]) == (question.target, question.read)
        assert told["ranks"] == list(question.ranks.values())
        for found, best in zip(told["best"], question.best.values(), strict=True):
            assert [(score, chunk(at), right) for score, at, right in found] == [tuple(one) for one in best]


def test_half_of_a_surrogate_pair_does_not_break_the_page(tmp_path):
    path = make_report(questions=questions("caf\udce9")).save_html(tmp_path / "r.html")
    assert json.loads(Page(path.read_text(encoding="utf-8")).scripts[0])["chunks"][0][2] == "caf?"


@pytest.mark.parametrize("chains", [1, 20])
def test_a_report_without_questions_intervals_or_curve_is_a_page_too(chains):
    page = Page(make_report(chains=chains, curve=[]).to_html())
    assert "Look at the questions" not in page.words
    assert ("no interval" in page.words) == (chains == 1)
    assert [tag for tag, _ in page.elements].count("svg") == 1


def test_a_page_is_written_whole_over_an_earlier_one(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    assert make_report().save_html(path) == path
    assert path.read_text().endswith("</html>\n")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
