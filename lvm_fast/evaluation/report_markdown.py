"""Renders a report as Markdown: the verdict first, then the tables behind it, every hit figure with its pool."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

from .describe_data import describe_data, describe_queries
from .figures import CLOSED_FORMS, CURVE_K, MODEL, RAW_COSINE, headline_of
from .markdown_table import cell, heading, table

if TYPE_CHECKING:
    from .figures import Interval, ReportFigures

_NAMES = {
    MODEL: "model",
    "copy_last": "copy-last",
    "recency_mean": "recency mean",
    "centred_recency": "centred recency",
    "whitened_recency": "whitened recency",
}
BEST = "the best without training"


def display_name(name: str) -> str:
    """Return a predictor's name as people say it; rivals keep the name they were given."""
    searcher = name.removesuffix(RAW_COSINE)
    return f"{display_name(searcher)}, plain cosine" if searcher != name else _NAMES.get(name, name)


def headline(report: ReportFigures) -> str:
    """Say where the model stands against the best closed form and all rivals, in one sentence."""
    metric = headline_metric(report)
    others = _to_beat(report)
    outcomes = {name: _outcome(report, name, metric) for name in others}
    stands = []
    for outcome in ("loses to", "cannot be told apart from", "beats"):
        names = [_introduced(report, name) for name in others if outcomes[name] == outcome]
        if names:
            stands.append(f"{outcome} {join_names(names)}")
    if report.chains < 2:
        return f"On a single chain, which proves nothing, the model {join_names(stands)}."
    return f"The model {join_names(stands)}."


def _to_beat(report: ReportFigures) -> list[str]:
    """List what the model is measured against: the best closed form, if any, and the rivals."""
    rivals = [name for name in report.baselines if name not in (*CLOSED_FORMS, "chance", MODEL + RAW_COSINE)]
    rivals = [name for name in rivals if not name.endswith(RAW_COSINE) or name.removesuffix(RAW_COSINE) not in rivals]
    return [*([] if report.yardstick is None else [report.yardstick]), *rivals]


def _introduced(report: ReportFigures, name: str) -> str:
    return f"{display_name(name)} ({BEST})" if name == report.yardstick else display_name(name)


def verdict(report: ReportFigures) -> str:
    """Return the headline and the figures behind it."""
    metric = headline_metric(report)
    figure = _with_interval(report.hits[metric], report.intervals[MODEL][metric])
    sentences = [headline(report), f"{heading(metric)} {figure} in {describe_pool(report)}."]
    sentences += [_comparison(report, name, metric) for name in _to_beat(report)]
    return " ".join(sentences)


def describe_pool(report: ReportFigures) -> str:
    """Say the pool's size, and whether read chunks are left out of it."""
    return f"a pool of {report.pool:,}{', read chunks left out' if report.exclude_read else ''}"


def headline_metric(report: ReportFigures) -> str:
    """Return the metric of the headline: Hit@5, or the largest K where the report does without it."""
    return headline_of(report.hits)


def render_report(report: ReportFigures, picture: str | None = None) -> str:
    """Return the whole report as Markdown."""
    parts = [
        f"# How well {report.model_type} predicts the next chunk",
        f"**{verdict(report)}**",
        describe_data(report),
        describe_queries(report),
        "\n".join(f"- **{note}**" for note in report.warnings),
        f"![Hit@{CURVE_K} against pool size]({picture})" if picture else None,
        "\n".join(["## Scores", "", *_score_table(report)]),
        "\n".join(["## Model minus the others", "", *_difference_table(report)]),
        "\n".join([f"## {other_way_title(report)}", "", *_other_way_table(report)]) if report.other_way else None,
        "\n".join(["## The experts", "", *_expert_table(report)]) if report.experts else None,
        _direction(report),
        "\n".join(["## Production targets", "", *_production_lines(report)]) if report.production_targets else None,
        "\n".join([f"## Hit@{CURVE_K} against pool size", "", *_curve_table(report)]) if report.curve else None,
        how_to_read(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def how_to_read(report: ReportFigures) -> str:
    """Explain the figures of a report."""
    weights = ", ".join(f"{display_name(name)} {decay:g}" for name, decay in report.decays.items())
    reading = READ_LEFT_OUT if report.exclude_read else READ_KEPT
    fitted = f", fitted on {report.fitted_on}" if report.decays else ""
    weights_line = f"  A chunk weighs so much of the one after it: {weights}.\n" if weights else ""
    return _HOW_TO_READ.format(
        resamples=report.bootstrap, seed=report.seed, fitted=fitted, weights=weights_line, reading=reading
    )


def summary(report: ReportFigures, width: int = 100) -> str:
    """Return the verdict, and the hits of all, in lines that fit a terminal."""
    lead = headline_metric(report)
    rows = []
    for name, scores in report.scores.items():
        ends = report.intervals.get(name, {}).get(lead)
        figures = [cell(metric, scores[metric], ends if metric == lead else None) for metric in (*report.hits, "mrr")]
        rows.append([display_name(name), *figures])
    note = f"Pool of {report.pool:,}; hits and MRR in percent, 95% intervals over chains."
    heads = map(heading, (*report.hits, "mrr"))
    lines = [fill(verdict(report), width), "", note, "", *table(["", *heads], rows)]
    if report.other_way:
        lines += ["", f"{other_way_title(report)}:", "", *_other_way_rows(report)]
    return "\n".join(lines)


READ_LEFT_OUT = (
    "The headline's figures leave out of each question's candidates what its chain has said before the\n"
    "  target: that cannot come next."
)
READ_KEPT = "The headline's figures count what a question's chain has said before the target among its candidates."
_HOW_TO_READ = """## How to read this

- **Hit@K**: the true next chunk is among the K candidates closest to the prediction. It falls as the pool grows,
  so compare figures of the same pool only.
- **copy-last** predicts the current chunk again; **recency mean** the average of the context, in which older chunks
  weigh less; **centred recency** and **whitened recency** the same after the mean is subtracted, and after what all
  chunks have in common is toned down (mean and covariance{fitted}).
  None has learned anything. What a model has to beat is the best of the four.
{weights}- {reading}
- **[low, high]** is a 95% interval: whole chains are drawn again with replacement, {resamples:,} times (seed {seed}).
  Differences are paired: the same queries, the same draws.
- An exact duplicate of a target that stands before it in the pool counts as a miss."""


def _outcome(report: ReportFigures, name: str, metric: str) -> str:
    difference = report.scores[MODEL][metric] - report.scores[name][metric]
    return outcome(difference, report.intervals[f"{MODEL} - {name}"][metric])


def outcome(difference: float, interval: Interval | None) -> str:
    """Say what a difference with its interval tells of the one it is taken from."""
    low, high = interval or (difference, difference)
    if low > 0:
        return "beats"
    return "loses to" if high < 0 else "cannot be told apart from"


def _comparison(report: ReportFigures, name: str, metric: str) -> str:
    theirs = report.scores[name][metric]
    difference = report.scores[MODEL][metric] - theirs
    interval = report.intervals[f"{MODEL} - {name}"][metric]
    sentence = f"{display_name(name)[0].upper()}{display_name(name)[1:]} reaches {100 * theirs:.1f}%: the model is "
    if difference == 0:
        sentence += "level with it"
    else:
        sentence += f"{'ahead' if difference > 0 else 'behind'} by {100 * abs(difference):.1f} points"
    if interval is not None:
        low, high = sorted(-end if difference < 0 else end for end in interval)
        sentence += f" [{_points(low)}, {_points(high)}]"
        if low <= 0 <= high and difference != 0:
            sentence += ", not distinguishable"
    return sentence + "."


def _score_table(report: ReportFigures) -> list[str]:
    metrics = list(report.scores[MODEL])
    head = [heading(metric) for metric in metrics]
    rows = []
    for name, scores in report.scores.items():
        intervals = report.intervals.get(name, {})
        cells = [cell(metric, scores[metric], intervals.get(metric)) if metric in scores else "" for metric in metrics]
        rows.append([display_name(name), *cells])
    return [f"Pool of {report.pool:,}; hits and MRR in percent.", "", *table(["", *head], rows)]


def other_way_title(report: ReportFigures) -> str:
    """Say which candidates the second table counts that the first leaves out, or the reverse."""
    return "With read chunks among the candidates" if report.exclude_read else "With read chunks left out"


def _other_way_table(report: ReportFigures) -> list[str]:
    way = "the reference's way" if report.exclude_read else "which `evaluate` makes its headline unless told otherwise"
    return [f"The same questions and pool of {report.pool:,}, {way}; in percent.", "", *_other_way_rows(report)]


def _other_way_rows(report: ReportFigures) -> list[str]:
    metrics = [*report.hits, "mrr"]
    rows = [
        [display_name(name), *(cell(metric, scores[metric], None) for metric in metrics)]
        for name, scores in report.other_way.items()
    ]
    return table(["", *map(heading, metrics)], rows)


def _difference_table(report: ReportFigures) -> list[str]:
    metrics = list(report.scores[MODEL])
    rows = []
    for name, scores in report.baselines.items():
        if name == "chance":
            continue
        intervals = report.intervals[f"{MODEL} - {name}"]
        mine = report.scores[MODEL]
        cells = [cell(metric, mine[metric] - scores[metric], intervals[metric], signed=True) for metric in metrics]
        rows.append([f"minus {display_name(name)}", *cells])
    note = (
        f"Paired, pool of {report.pool:,}; hits and MRR in percentage points. "
        "Where an interval holds 0, the two cannot be told apart."
    )
    return [note, "", *table(["", *(heading(metric) for metric in metrics)], rows)]


def experts_summary(report: ReportFigures, width: int = 100) -> str:
    """Say how a mixture's experts share the queries out, and their hits at the headline's K, for a terminal."""
    note = (
        "Percent of the queries that each expert has most to say on, and has a say in; hits of the model on these, in "
        f"percent, pool of {report.pool:,}."
    )
    return "\n".join([fill(note, width), "", *_experts(report, [headline_metric(report)], brief=True)])


def _expert_table(report: ReportFigures) -> list[str]:
    note = (
        "The share of the queries that each has most to say on, and that it has a say in, in percent; how many these "
        "are, and on them the hits of the model's answers and of the best without training, in percent, in the same "
        f"pool of {report.pool:,}. Each has queries of its own, some harder than others: compare within rows only."
    )
    return [note, "", *_experts(report, list(report.hits))]


def _experts(report: ReportFigures, metrics: list[str], brief: bool = False) -> list[str]:
    """Return a table with a row for each expert; in brief, with the interval of the difference only."""
    lead = headline_metric(report)
    yardstick = str(report.yardstick)
    difference = f"{MODEL} - {yardstick}"
    columns = [*((MODEL, metric) for metric in metrics), (yardstick, lead), (difference, lead)]
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
    head = [
        "first",
        "at all",
        "queries",
        *map(heading, metrics),
        f"{display_name(yardstick)} {heading(lead)}",
        "model minus it",
    ]
    return table(["", *head], rows)


def _direction(report: ReportFigures) -> str:
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


def _production_lines(report: ReportFigures) -> list[str]:
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


def _curve_table(report: ReportFigures) -> list[str]:
    names = list(report.curve[0].hits)
    rows = [
        [f"{point.pool:,}", *(cell("hit", point.hits[name], point.intervals.get(name)) for name in names)]
        for point in report.curve
    ]
    note = f"All queries, in percent: the Hit@{CURVE_K} to expect of a random pool of that size, worked out exactly."
    return [note, "", *table(["pool", *map(display_name, names)], rows)]


def _with_interval(value: float, interval: Interval | None) -> str:
    figure = f"{100 * value:.1f}%"
    return figure if interval is None else f"{figure} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _points(fraction: float) -> str:
    return f"{round(100 * fraction, 1) + 0.0:.1f}"  # + 0.0 turns -0.0 into 0.0


def join_names(names: list[str]) -> str:
    """Join names as a sentence lists them."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
