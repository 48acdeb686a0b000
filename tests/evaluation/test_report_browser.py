"""The page of a report in a browser: it loads without a word on the console, and its filters do what they say."""

from __future__ import annotations

import pytest
from browser import chromium, page_at
from made_reports import HISTORY, make_report

from lvm_fast.evaluation.figures import Chunk, Found, Question

EVIL = "<script>alert(1)</script> & <b>bold</b>"
COUNT = 40


def question(i: int) -> Question:
    """Question i has rank i + 1 by the model, rank 40 - i by copy-last, and every seventh is of the chain "b"."""
    chain = "b" if i % 7 == 0 else "a <i>"
    target = Chunk(chain, i + 2, f"target number {i}, {EVIL}")
    others = [Found(0.5 - rank / 100, Chunk("c", 100 + rank, f"candidate {rank}"), False) for rank in range(5)]
    best = others.copy()
    if i < 5:
        best[i] = Found(0.5 - i / 100, target, True)
    return Question(
        context=[Chunk(chain, i, f"earlier {i}"), Chunk(chain, i + 1, f"current {i}")],
        read=i + 2,
        target=target,
        ranks={"model": i + 1, "copy_last": COUNT - i},
        best={"model": best, "copy_last": others},
    )


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    report = make_report(questions=[question(i) for i in range(COUNT)], notes=[EVIL])
    return report.save_html(tmp_path_factory.mktemp("page") / "report.html", HISTORY).as_uri()


def listed(page) -> list[int]:
    """The model's ranks of the questions in the list."""
    return [int(text) for text in page.locator("#list .rank").all_inner_texts()]


def test_the_first_question_is_open_and_its_right_answer_marked(browser, address):
    with page_at(browser, address) as page:
        assert listed(page) == list(range(1, COUNT + 1))
        assert page.locator("#count").inner_text() == "40 of 40 questions"
        panel = page.locator("#panel")
        assert panel.locator(".context .chunk").all_inner_texts() == ["earlier 0", "current 0"]
        assert panel.locator(".right").inner_text() == f"target number 0, {EVIL}"
        columns = panel.locator(".hits")
        assert columns.count() == 2
        assert columns.nth(0).locator("li").count() == columns.nth(1).locator("li").count() == 5
        assert panel.locator("li.is-right").count() == 1
        assert "✓ the right one · b, chunk 2 · 0.500" in panel.locator("li.is-right").inner_text()
        assert panel.locator(".ranks").inner_text().split("\n") == ["model 1", "copy-last (best without training) 40"]
        assert page.locator("main b, main i").count() == 0


@pytest.mark.parametrize(
    ("control", "value", "expected"),
    [
        ("outcome", "found", range(1, 6)),
        ("outcome", "missed", range(6, 41)),
        ("outcome", "gained", range(1, 6)),
        ("outcome", "lost", range(36, 41)),
        ("chain", "b", range(1, 41, 7)),
        ("least", "30", range(30, 41)),
        ("most", "3", range(1, 4)),
        ("words", "NUMBER 17,", [18]),
        ("words", "current 3", [4, *range(31, 41)]),
        ("words", "<b>bold", range(1, 41)),
    ],
)
def test_each_filter_keeps_what_it_says(browser, address, control, value, expected):
    with page_at(browser, address) as page:
        if control in ("outcome", "chain"):
            page.select_option(f"#{control}", **{"label" if control == "chain" else "value": value})
        else:
            page.fill(f"#{control}", value)
        assert listed(page) == list(expected)
        assert page.locator("#count").inner_text() == f"{len(list(expected))} of 40 questions"
        shown = page.locator("#panel .bar .rank").inner_text()
        assert shown == f"rank {next(iter(expected))}"
        page.click("#clear")
        assert len(listed(page)) == COUNT


def test_filters_add_up_and_may_leave_nothing(browser, address):
    with page_at(browser, address) as page:
        page.select_option("#outcome", "missed")
        page.fill("#most", "10")
        page.fill("#words", "current 7")
        assert listed(page) == [8]
        page.fill("#words", "nowhere to be found")
        assert listed(page) == []
        assert page.locator("#panel").inner_text() == "No question passes these filters."


def test_keys_go_through_the_questions(browser, address):
    def rank(page) -> str:
        return page.locator("#panel .bar .rank").inner_text()

    with page_at(browser, address) as page:
        page.keyboard.press("j")
        page.keyboard.press("j")
        assert rank(page) == "rank 3"
        assert page.locator("#list button[aria-current=true] .rank").inner_text() == "3"
        page.keyboard.press("k")
        assert rank(page) == "rank 2"
        page.locator("#browser").scroll_into_view_if_needed()
        page.keyboard.press("ArrowDown")
        assert rank(page) == "rank 3"
        page.keyboard.press("/")
        page.keyboard.type("jj")
        assert page.input_value("#words") == "jj"
        page.keyboard.press("Escape")
        page.click("#clear")
        page.locator("[aria-label='next question']").click()
        page.locator("[aria-label='next question']").click()
        assert rank(page) == "rank 3"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground_in_light_and_dark(browser, address, scheme):
    contrast = """() => {
      const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
      const light = (colour) => {
        const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = parts(colour).map((v) => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ground = (element) => {
        for (let e = element; e; e = e.parentElement) {
          const colour = getComputedStyle(e).backgroundColor;
          if (parts(colour).length < 4 || parts(colour)[3] > 0) return colour;
        }
      };
      const words = [...document.querySelectorAll("h1, p, td, th, li, .rank, .where, .mark")];
      return Math.min(...words.map((element) => {
        const [one, other] = [light(getComputedStyle(element).color), light(ground(element))];
        return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
      }));
    }"""
    with page_at(browser, address, color_scheme=scheme) as page:
        assert page.evaluate(contrast) >= 4.5  # WCAG 2.2, level AA
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(ground[4:].split(",")[0]) < 60) == (scheme == "dark")


def test_a_phone_needs_no_sideways_scrolling(browser, address):
    with page_at(browser, address, viewport={"width": 360, "height": 740}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        size = page.evaluate("parseFloat(getComputedStyle(document.querySelector('.chunk')).fontSize)")
        assert size >= 15
