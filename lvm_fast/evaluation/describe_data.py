"""What was asked, in plain words: which data, which queries, which candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .report import Report


def queries_in_words(report: Report) -> str:
    """Where the queries come from, and what they were ranked among."""
    regular = f"a target every {report.stride} chunks, " if report.stride else ""
    lines = (
        f"{_origin(report)} {report.queries:,} queries from {report.chains:,} chain{'s' * (report.chains != 1)}, "
        f"{regular}contexts of up to {report.context_length:,} chunks (median {report.median_context:,}). "
        f"The pool of {report.pool:,} holds {report.pool_words}."
    )
    if report.exclude_read:
        lines += " What a question's chain has said before the target is left out of its candidates."
    elif report.pool_holds_current:
        lines += (
            f" For {100 * report.pool_holds_current:.3g}% of the queries it also holds the current chunk, "
            "which copy-last finds first: there, copy-last cannot get Hit@1."
        )
    return lines


def data_in_words(report: Report) -> str | None:
    """Which vectors were scored, as far as the store and the caller say."""
    name, source, encoder = (report.data.get(key) for key in ("name", "source", "encoder"))
    said = f"{name} ({source})" if name and source else name or source
    facts = [f"Data: {said}" if said else None, f"encoder: {encoder}" if encoder else None]
    sentence = "; ".join(fact for fact in facts if fact)
    return f"{sentence[0].upper()}{sentence[1:]}." if sentence else None


def _origin(report: Report) -> str:
    split, dropped = report.data.get("split"), report.data.get("near_duplicates_dropped", 0)
    if not isinstance(split, dict) or not {"part", "fraction", "seed"} <= split.keys():
        return (
            "The chains are no held-out part of a split: the figures mean something only if the model never saw them."
        )
    part = {"val": "validation", "train": "training"}.get(split["part"], split["part"])
    said = f"The chains are the {part} part of a split by chain ({split['fraction']:.0%}, seed {split['seed']}"
    said += f"; {dropped:,} near-duplicates of the other part dropped)."
    if split["part"] == "val":
        said += " Where training picked its best epoch on this part, that flatters the model a little."
    return said
