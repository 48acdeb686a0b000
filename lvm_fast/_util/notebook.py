"""HTML that a notebook shows in place of a repr."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def html_table(title: str, notes: Sequence[str], head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a title, a table and notes below it; every text is escaped."""
    heads = "".join(f"<th>{escape(text)}</th>" for text in head)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
    below = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return (
        f"<div><p><strong>{escape(title)}</strong></p>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>{below}</div>"
    )
