"""Several models on one split and one pool: the same queries, the same candidates, differences in pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._util.did_you_mean import unknown_name
from .._util.numbers import plain, whole_number
from ..data.windows import Windows, query_windows
from ..inference.router import Router, reach_of
from .compare_markdown import render_comparison
from .compare_plot import save_comparison
from .evaluate import evaluate
from .figures import CLOSED_FORMS, MODEL, RAW_COSINE, ComparisonFigures, Entry, Figures, Interval
from .latency import latencies
from .report import Report
from .short_forms import comparison_line, comparison_table
from .write_files import save_documents

if TYPE_CHECKING:
    from ..data.chain_store import ChainStore
    from ..models.base import LatentVectorModel
    from ..retrieval.bank import VectorBank


@dataclass(frozen=True)
class Contender:
    """A model to compare, and what is known of it.

    Attributes:
        name: What it is called.
        model: The model or router.
        context_length: The most vectors it is to see, those it was trained on; all it can read unless given.
        training_seconds: How long it was trained.
        package_bytes: Size of its Core ML package.
        note: What a reader has to know, such as that it may have seen the queries.
    """

    name: str
    model: LatentVectorModel | Router
    context_length: int | None = None
    training_seconds: float | None = None
    package_bytes: int | None = None
    note: str | None = None


@dataclass(frozen=True, repr=False)
class Comparison(ComparisonFigures):
    """The result of `compare`: the attributes of `ComparisonFigures`, and documents in Markdown, JSON and PNG."""

    def __repr__(self) -> str:
        return comparison_line(self, type(self).__name__)

    def _repr_html_(self) -> str:
        return comparison_table(self)

    def to_markdown(self, picture: str | None = None) -> str:
        """Return the comparison as Markdown: sentences and tables.

        Args:
            picture: File name of the picture to show, relative to the document.
        """
        return render_comparison(self, picture)

    def save(self, folder: str | Path, name: str = "comparison") -> list[Path]:
        """Write ``comparison.json``, ``.md`` and, with matplotlib, ``.png``; see `Report.save`."""
        return save_documents(folder, name, self.to_dict(), self.to_markdown, lambda path: save_comparison(self, path))


_RIVAL = "contender "


def compare(
    contenders: Sequence[Contender] | Mapping[str, LatentVectorModel | Router],
    store: ChainStore | Windows,
    context_length: int | None = None,
    pool: str | int | VectorBank = "targets",
    *,
    against: str | None = None,
    stride: int | None = None,
    min_length: int = 7,
    timed: int = 20,
    **options: Any,
) -> Comparison:
    """Score models on the same queries and candidates, beside the baselines and each other.

    Every contender is asked every query. One that was trained on shorter contexts sees the last vectors of each.

    Args:
        contenders: Models by name, or a list of `Contender`, no name twice; at least one, of one input_dim.
        store: Held-out chains, or windows over them, as `evaluate` takes them.
        context_length: Most context vectors a window has; the longest context of a contender, or 100, unless given.
        pool: The candidates, as `evaluate` takes them.
        against: The name of the contender that the others are compared with; the first unless given.
        stride, min_length: As `evaluate` takes them.
        timed: Contexts to time, one at a time, spread evenly over all lengths.
        **options: Everything else that `evaluate` takes but rivals.

    Raises:
        ValueError: Names or dimensions do not fit, or as `evaluate`.

    Example:
        >>> from lvm_fast import create_model, load_model, sample
        >>> models = {"closed form": create_model("whitened_recency"), "general": load_model("general")}
        >>> comparison = compare(models, sample(), 16, stride=150)
        >>> [entry.name for entry in comparison.entries]
        ['closed form', 'general']
    """
    if isinstance(contenders, Mapping):
        contenders = [Contender(name, model) for name, model in contenders.items()]
    by_name = {contender.name: contender for contender in contenders}
    if len(by_name) < max(1, len(contenders)):
        names = ", ".join(contender.name for contender in contenders)
        raise ValueError(f"compare: contenders are called {names or 'nothing'}; expected at least one, no name twice")
    if against is not None and against not in by_name:
        raise ValueError(f"compare: against: {unknown_name('contender', against, by_name)}")
    against = contenders[0].name if against is None else against
    timed = whole_number(timed, "compare: timed", 1)
    windows = store
    if not isinstance(windows, Windows):
        longest = max((length for contender in contenders if (length := _reach(contender))), default=100)
        longest = longest if context_length is None else context_length
        windows = query_windows(windows, longest, stride, min_length)
    check_contenders(contenders, windows)
    models = {contender.name: _limited(contender, windows.context_length) for contender in contenders}
    rivals = {_RIVAL + name: model for name, model in models.items() if name != against}
    report = evaluate(models[against], windows, pool=pool, rivals=rivals, curve=False, **options)
    times = latencies(models, windows, timed)
    entries = [
        Entry(
            name=contender.name,
            model_type=contender.model.model_type,
            parameters=sum(parameter.numel() for parameter in contender.model.parameters()),
            context_length=min(_reach(contender) or windows.context_length, windows.context_length),
            training_seconds=plain(contender.training_seconds),
            package_bytes=plain(contender.package_bytes),
            note=contender.note,
            latency=times[contender.name],
            figures=_figures(report, _called(contender, against)),
            raw_cosine=_raw_cosine(report, _called(contender, against)),
        )
        for contender in contenders
    ]
    others = [name for name in report.baselines if name in CLOSED_FORMS or name == "chance"]
    return Comparison(against, entries, {name: _figures(report, name) for name in others}, report)


def check_contenders(contenders: Sequence[Contender], windows: Windows) -> None:
    """Raise ValueError for the first contender that does not read vectors of the windows' width."""
    for contender in contenders:
        dim, expected = contender.model.input_dim, windows.store.dim
        if dim != expected:
            raise ValueError(f"compare: {contender.name} reads {dim} dimensions; expected {expected}, as the data has")


def _reach(contender: Contender) -> int | None:
    """Return the most vectors a contender sees, as far as that is known."""
    given = contender.context_length
    return reach_of(contender.model) if given is None else whole_number(given, f"compare: {contender.name}", 1)


def _limited(contender: Contender, longest: int) -> LatentVectorModel | Router:
    """Keep a model from seeing more than it was trained on: a router of one arm does that."""
    reach, model = _reach(contender), contender.model
    return model if reach is None or reach >= longest or isinstance(model, Router) else Router({reach: model})


def _called(contender: Contender, against: str) -> str:
    """Return the name of a contender in the report."""
    return MODEL if contender.name == against else _RIVAL + contender.name


def _raw_cosine(report: Report, name: str) -> Figures | None:
    plainly = name + RAW_COSINE
    return _figures(report, plainly) if plainly in report.scores else None


def _figures(report: Report, name: str) -> Figures:
    """Turn the report's differences round: it has the contender at 0 minus the others, this the others minus it."""
    scores, mine = report.scores[name], report.scores[MODEL]
    pairs = report.intervals.get(f"{MODEL} - {name}", {})
    over = {} if name in CLOSED_FORMS else report.intervals.get(f"{name} - {report.yardstick}", {})
    return Figures(
        scores=scores,
        intervals=report.intervals.get(name, {}),
        differences={metric: scores[metric] - mine[metric] for metric in pairs},
        difference_intervals={metric: None if ends is None else _negated(ends) for metric, ends in pairs.items()},
        over_yardstick={metric: scores[metric] - report.baselines[str(report.yardstick)][metric] for metric in over},
        over_yardstick_intervals=over,
        other_way=report.other_way.get(name, {}),
    )


def _negated(ends: Interval) -> Interval:
    return 0.0 - ends[1], 0.0 - ends[0]  # -0.0 would show
