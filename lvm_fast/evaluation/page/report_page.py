"""Renders a report as one HTML file: the verdict, the pictures, the tables, and the questions to look at."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ..._version import __version__
from ..describe_data import describe_data, describe_queries
from ..figures import MODEL
from ..markdown_table import heading
from ..report_markdown import (
    describe_pool,
    display_name,
    headline,
    headline_metric,
    how_to_read,
    other_way_title,
    verdict,
)
from .assets import fill
from .charts import colour_of, curve_picture, history_picture, hits_picture
from .question_data import question_data

if TYPE_CHECKING:
    from ..figures import Interval, ReportFigures

_COSINES = ("mean_cosine", "direction_margin")


def render_page(report: ReportFigures, history: Sequence[Mapping[str, Any]] | None = None) -> str:
    """Return the report as a page that needs no other file and no network.

    Args:
        report: The report; its `questions` are what the browser shows.
        history: The training's rows, one an epoch, for a picture of it.
    """
    title = f"How well {report.model_type} predicts the next chunk"
    data = describe_data(report)
    return fill(
        "report.html",
        "report.js",
        question_data(report),
        {
            "title": escape(title),
            "version": escape(__version__),
            "sentence": escape(headline(report)),
            "figures": escape(verdict(report).removeprefix(headline(report)).strip()),
            "tiles": _tiles(report),
            "warnings": _warnings(report.warnings),
            "charts": _charts(report, history or ()),
            "tables": _tables(report),
            "browser": _browser(report),
            "reading": _reading(report),
            "footer": escape(" ".join(filter(None, [data, f"Made by lvm_fast {__version__}."]))),
        },
    )


def _tiles(report: ReportFigures) -> str:
    metric, best = headline_metric(report), report.yardstick
    mine = report.hits[metric]
    tiles = [(f"{heading(metric)} of the model", f"{100 * mine:.1f}%", _ends(report.intervals[MODEL][metric]))]
    if best is not None:
        theirs, ends = report.baselines[best][metric], report.intervals[f"{MODEL} - {best}"][metric]
        tiles.append(("Best without training", f"{100 * theirs:.1f}%", display_name(best)))
        tiles.append(("Lead over it", f"{100 * (mine - theirs):+.1f}", f"points {_ends(ends, signed=True)}"))
    read = "read chunks left out" if report.exclude_read else "read chunks among them"
    tiles.append(("Candidates in the pool", f"{report.pool:,}", read))
    tiles.append(("Questions", f"{report.queries:,}", f"from {report.chains:,} chain{'s' * (report.chains != 1)}"))
    return "".join(
        f'<div class="tile"><dt>{escape(name)}</dt><dd>{escape(figure)}<small>{escape(more)}</small></dd></div>\n'
        for name, figure, more in tiles
    )


def _ends(ends: Interval | None, signed: bool = False) -> str:
    if ends is None:
        return "no interval"
    form = "+.1f" if signed else ".1f"
    return f"[{100 * ends[0]:{form}}, {100 * ends[1]:{form}}]"


def _warnings(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="warnings">{items}</ul>\n' if items else ""


def _charts(report: ReportFigures, history: Sequence[Mapping[str, Any]]) -> str:
    pictures = [hits_picture(report)]
    if len(report.curve) > 1:
        pictures.append(curve_picture(report))
    if history:
        pictures.append(history_picture(report, history))
    return "".join(pictures)


def _tables(report: ReportFigures) -> str:
    metrics = list(report.scores[MODEL])
    note = f"{describe_pool(report)[2:].capitalize()}. Hits and MRR in percent, cosines as they are; 95% intervals."
    parts = [
        '<section><h2 id="methods">Every method, the same questions</h2>',
        f'<p class="note">{escape(describe_queries(report))}</p>',
        _table(report, report.scores, metrics, report.intervals),
        f'<p class="note">{escape(note)}</p>',
    ]
    if report.other_way:
        parts.append(f"<details><summary>{escape(other_way_title(report))}</summary>")
        parts.append(_table(report, report.other_way, [*report.hits, "mrr"], {}))
        parts.append("</details>")
    return "\n".join([*parts, "</section>\n"])


def _table(
    report: ReportFigures,
    rows: Mapping[str, Mapping[str, float]],
    metrics: Sequence[str],
    intervals: Mapping[str, Mapping[str, Interval | None]],
) -> str:
    head = "".join(f'<th scope="col">{escape(heading(metric))}</th>' for metric in metrics)
    lines = []
    for name, scores in rows.items():
        kind = ' class="strong"' if name in (MODEL, report.yardstick) else ""
        dot = f'<span class="dot" style="background:{colour_of(name)}"></span>'
        best = " <small>best without training</small>" if name == report.yardstick else ""
        cells = "".join(_cell(metric, scores.get(metric), intervals.get(name, {}).get(metric)) for metric in metrics)
        lines.append(f'<tr{kind}><th scope="row">{dot}{escape(display_name(name))}{best}</th>{cells}</tr>')
    body = "\n".join(lines)
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">method</th>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(metric: str, value: float | None, ends: Interval | None) -> str:
    if value is None:
        return "<td></td>"
    scale, form = (1, ".3f") if metric in _COSINES else (100, ".1f")
    interval = "" if ends is None else f" <small>[{scale * ends[0]:{form}}, {scale * ends[1]:{form}}]</small>"
    return f"<td>{scale * value:{form}}{interval}</td>"


def _browser(report: ReportFigures) -> str:
    if not report.questions:
        return ""
    best = display_name(str(report.yardstick))
    options = {
        "all": "all",
        "found": "found: among the first five",
        "missed": "missed",
        "gained": f"found by the model, missed by {best}",
        "lost": f"missed by the model, found by {best}",
    }
    outcomes = "".join(f'<option value="{value}">{escape(words)}</option>' for value, words in options.items())
    whole = "" if len(report.questions) == report.queries else f", spread evenly over all {report.queries:,}"
    said = any(question.target.text is not None for question in report.questions)
    texts = "" if said else " The store has no texts beside it, so chunks are told by their place."
    return _BROWSER.format(
        intro=escape(f"{len(report.questions):,} questions{whole}.{texts}"),
        outcomes=outcomes,
    )


_BROWSER = """<section id="browser"><h2>Look at the questions</h2>
<p class="note">{intro} <span class="hint">Keys: <kbd>↑</kbd> <kbd>↓</kbd> or <kbd>k</kbd> <kbd>j</kbd> go to the next
question, <kbd>/</kbd> to the words, <kbd>Esc</kbd> leaves them.</span></p>
<div class="filters" role="search">
<label>Show <select id="outcome">{outcomes}</select></label>
<label>Chain <select id="chain"><option value="">all chains</option></select></label>
<label class="narrow">Rank from <input id="least" type="number" min="1" inputmode="numeric" placeholder="1"></label>
<label class="narrow">to <input id="most" type="number" min="1" inputmode="numeric" placeholder="any"></label>
<label class="words">Words <input id="words" type="search" placeholder="in what was read or came next"></label>
<button type="button" id="clear">Clear</button>
</div>
<p class="note" id="count" role="status"></p>
<div class="browser"><ol class="list" id="list" aria-label="questions"></ol>
<article class="panel" id="panel" aria-live="polite"></article></div>
<noscript><p class="note">The browser of questions needs JavaScript; it is part of this file.</p></noscript>
</section>
"""


def _reading(report: ReportFigures) -> str:
    """Return the explanations of the Markdown report, whose only marks are lists and bold words."""
    title, *lines = how_to_read(report).splitlines()
    items: list[str] = []
    for line in filter(None, lines):
        if line.startswith("- "):
            items.append(line[2:])
        else:
            items[-1] += f" {line.strip()}"
    return f"<section><h2>{escape(title.removeprefix('## '))}</h2>\n<ul>{''.join(map(_item, items))}</ul></section>\n"


def _item(text: str) -> str:
    marked = re.sub(r"[*][*](.+?)[*][*]", r"<strong>\1</strong>", escape(text))
    return f"<li>{marked}</li>"
