"""A report in plain words: the verdict first, then the tables behind it, every hit figure with its pool."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

from .queries import data_in_words, queries_in_words
from .report import CURVE_K, MODEL
from .tables import cell, heading, table

if TYPE_CHECKING:
    from .report import Interval, Report

_NAMES = {MODEL: "model", "copy_last": "copy-last", "recency_mean": "recency mean"}


def spoken(name: str) -> str:
    """A predictor's name as people say it; rivals keep the name they were given."""
    return _NAMES.get(name, name)


def headline(report: Report) -> str:
    """Where the model stands against all baselines and rivals, in one sentence."""
    metric = headline_metric(report)
    others = [name for name in report.baselines if name != "chance"]
    outcomes = {name: _outcome(report, name, metric) for name in others}
    stands = []
    for outcome in ("loses to", "cannot be told apart from", "beats"):
        names = [spoken(name) for name in others if outcomes[name] == outcome]
        if names:
            stands.append(f"{outcome} {listed(names)}")
    if report.chains < 2:
        return f"On a single chain, which proves nothing, the model {listed(stands)}."
    return f"The model {listed(stands)}."


def verdict(report: Report) -> str:
    """The headline and the figures behind it."""
    metric = headline_metric(report)
    figure = _with_interval(report.hits[metric], report.intervals[MODEL][metric])
    sentences = [headline(report), f"{heading(metric)} {figure} in a pool of {report.pool:,}."]
    sentences += [_comparison(report, name, metric) for name in report.baselines if name != "chance"]
    return " ".join(sentences)


def headline_metric(report: Report) -> str:
    """Hit@5, or the largest K where the report does without it."""
    return f"hit@{CURVE_K}" if f"hit@{CURVE_K}" in report.hits else list(report.hits)[-1]


def report_in_words(report: Report, picture: str | None = None) -> str:
    """The whole report as Markdown."""
    parts = [
        f"# How well {report.model_type} predicts the next chunk",
        f"**{verdict(report)}**",
        data_in_words(report),
        queries_in_words(report),
        "\n".join(f"- **{note}**" for note in report.warnings),
        f"![Hit@{CURVE_K} against pool size]({picture})" if picture else None,
        "\n".join(["## Scores", "", *_score_table(report)]),
        "\n".join(["## Model minus the others", "", *_difference_table(report)]),
        "\n".join(["## The experts", "", *_expert_table(report)]) if report.experts else None,
        _direction(report),
        "\n".join(["## Production targets", "", *_production_lines(report)]) if report.production_targets else None,
        "\n".join([f"## Hit@{CURVE_K} against pool size", "", *_curve_table(report)]) if report.curve else None,
        _HOW_TO_READ.format(resamples=report.bootstrap, seed=report.seed),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(report: Report, width: int = 100) -> str:
    """The verdict, and the hits of all, in lines that fit a terminal."""
    lead = headline_metric(report)
    rows = []
    for name, scores in report.scores.items():
        ends = report.intervals.get(name, {}).get(lead)
        figures = [cell(metric, scores[metric], ends if metric == lead else None) for metric in (*report.hits, "mrr")]
        rows.append([spoken(name), *figures])
    note = f"Pool of {report.pool:,}; hits and MRR in percent, 95% intervals over chains."
    heads = map(heading, (*report.hits, "mrr"))
    return "\n".join([fill(verdict(report), width), "", note, "", *table(["", *heads], rows)])


_HOW_TO_READ = """## How to read this

- **Hit@K**: the true next chunk is among the K candidates closest to the prediction. It falls as the pool grows,
  so compare figures of the same pool only.
- **copy-last** predicts the current chunk again; **recency mean** predicts the average of the context, each older
  chunk weighing 0.8 of the one after it. Neither has learned anything.
- **[low, high]** is a 95% interval: whole chains are drawn again with replacement, {resamples:,} times (seed {seed}).
  Differences are paired: the same queries, the same draws.
- An exact duplicate of a target that stands before it in the pool counts as a miss."""


def _outcome(report: Report, name: str, metric: str) -> str:
    difference = report.scores[MODEL][metric] - report.scores[name][metric]
    return outcome(difference, report.intervals[f"{MODEL} - {name}"][metric])


def outcome(difference: float, interval: Interval | None) -> str:
    """What a difference with its interval says of the one it is taken from."""
    low, high = interval or (difference, difference)
    if low > 0:
        return "beats"
    return "loses to" if high < 0 else "cannot be told apart from"


def _comparison(report: Report, name: str, metric: str) -> str:
    theirs = report.scores[name][metric]
    difference = report.scores[MODEL][metric] - theirs
    interval = report.intervals[f"{MODEL} - {name}"][metric]
    said = f"{spoken(name)[0].upper()}{spoken(name)[1:]} reaches {100 * theirs:.1f}%: the model is "
    if difference == 0:
        said += "level with it"
    else:
        said += f"{'ahead' if difference > 0 else 'behind'} by {100 * abs(difference):.1f} points"
    if interval is not None:
        low, high = sorted(-end if difference < 0 else end for end in interval)
        said += f" [{_points(low)}, {_points(high)}]"
        if low <= 0 <= high and difference != 0:
            said += ", not distinguishable"
    return said + "."


def _score_table(report: Report) -> list[str]:
    metrics = list(report.scores[MODEL])
    head = [heading(metric) for metric in metrics]
    rows = []
    for name, scores in report.scores.items():
        intervals = report.intervals.get(name, {})
        cells = [cell(metric, scores[metric], intervals.get(metric)) if metric in scores else "" for metric in metrics]
        rows.append([spoken(name), *cells])
    return [f"Pool of {report.pool:,}; hits and MRR in percent.", "", *table(["", *head], rows)]


def _difference_table(report: Report) -> list[str]:
    metrics = list(report.scores[MODEL])
    rows = []
    for name, scores in report.baselines.items():
        if name == "chance":
            continue
        intervals = report.intervals[f"{MODEL} - {name}"]
        mine = report.scores[MODEL]
        cells = [cell(metric, mine[metric] - scores[metric], intervals[metric], signed=True) for metric in metrics]
        rows.append([f"minus {spoken(name)}", *cells])
    note = (
        f"Paired, pool of {report.pool:,}; hits and MRR in percentage points. "
        "Where an interval holds 0, the two cannot be told apart."
    )
    return [note, "", *table(["", *(heading(metric) for metric in metrics)], rows)]


def experts_in_words(report: Report, width: int = 100) -> str:
    """How a mixture's experts share the queries out, and their hits at the headline's K, for a terminal."""
    note = (
        "Percent of the queries that each expert has most to say on, and has a say in; hits of the model on these, in "
        f"percent, pool of {report.pool:,}."
    )
    return "\n".join([fill(note, width), "", *_experts(report, [headline_metric(report)], brief=True)])


def _expert_table(report: Report) -> list[str]:
    note = (
        "The share of the queries that each has most to say on, and that it has a say in, in percent; how many these "
        "are, and on them the hits of the model's answers and of copy-last, in percent, in the same pool of "
        f"{report.pool:,}. Each has queries of its own, some harder than others: compare within a row, not rows."
    )
    return [note, "", *_experts(report, list(report.hits))]


def _experts(report: Report, metrics: list[str], brief: bool = False) -> list[str]:
    """A row for each expert; in brief, with the interval of the difference only."""
    lead = headline_metric(report)
    difference = f"{MODEL} - copy_last"
    columns = [*((MODEL, metric) for metric in metrics), ("copy_last", lead), (difference, lead)]
    rows = []
    for expert in report.experts:
        cells = [""] * len(columns)
        if expert.queries:
            cells = [
                cell(
                    metric,
                    expert.hits[name][metric],
                    None if brief and name != difference else expert.intervals[name][metric],
                    signed=name == difference,
                )
                for name, metric in columns
            ]
        rows.append([expert.name, _percent(expert.first), _percent(expert.at_all), f"{expert.queries:,}", *cells])
    head = ["first", "at all", "queries", *map(heading, metrics), f"copy-last {heading(lead)}", "model minus it"]
    return table(["", *head], rows)


def _direction(report: Report) -> str:
    interval = report.intervals[MODEL]["direction_margin"]
    low, high = interval or (report.direction_margin, report.direction_margin)
    if low > 0:
        meaning = "the predictions lie closer to the next chunk than to the current one"
    elif high < 0:
        meaning = (
            "the predictions lie closer to the current chunk than to the next: the model looks back more than ahead"
        )
    else:
        meaning = "the predictions lie about as close to the current chunk as to the next"
    figure = cell("direction_margin", report.direction_margin, interval, signed=True)
    return f"Direction margin cos(predicted, next) - cos(predicted, current): {figure}; {meaning}."


def _production_lines(report: Report) -> list[str]:
    lines = []
    for metric, goal in report.production_targets.items():
        title, target = metric.replace("hit", "Hit"), goal["target"]
        state = f"**{'met' if goal['met'] else 'not met'}** with {100 * goal['reached']:.1f}%"
        if report.baselines["chance"][metric] >= target:
            state += " (and by chance: the pool is too small to mean anything)"
        line = f"- {title} of at least {100 * target:.0f}%: {state} in a pool of {report.pool:,}."
        if report.curve:
            reached = [point.pool for point in report.curve if point.production[metric] >= target]
            line += f" It is met in pools of up to about {max(reached):,}." if reached else " It is met in no pool."
        lines.append(line)
    return lines


def _curve_table(report: Report) -> list[str]:
    names = list(report.curve[0].hits)
    rows = [
        [f"{point.pool:,}", *(cell("hit", point.hits[name], point.intervals.get(name)) for name in names)]
        for point in report.curve
    ]
    note = f"All queries, in percent: the Hit@{CURVE_K} to expect of a random pool of that size, worked out exactly."
    return [note, "", *table(["pool", *map(spoken, names)], rows)]


def _with_interval(value: float, interval: Interval | None) -> str:
    figure = f"{100 * value:.1f}%"
    return figure if interval is None else f"{figure} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _points(fraction: float) -> str:
    return f"{round(100 * fraction, 1) + 0.0:.1f}"  # + 0.0 turns -0.0 into 0.0


def listed(names: list[str]) -> str:
    """Names as a sentence lists them."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
