"""The text of Word files, by python-docx."""

from __future__ import annotations

from pathlib import Path

from ..._util.optional import optional_module
from .readers import EXTRA, PURPOSE, Read, paragraphs


def read_docx(path: Path) -> Read:
    """Read paragraphs and tables in their order; pictures, headers, footers and notes are left out.

    Raises:
        ImportError: python-docx is missing.
        ValueError: the file is damaged, or another kind of file.
    """
    docx = optional_module("docx", EXTRA, PURPOSE)
    try:
        document = docx.Document(str(path))
    except OSError:
        raise
    except Exception as error:  # of zip, of XML, of its own
        raise ValueError(f"{path}: no .docx file that can be read: {error}") from error
    parts: list[str] = []
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            parts += [" | ".join(dict.fromkeys(cell.text.strip() for cell in row.cells)) for row in block.rows]
        else:
            parts.append(block.text)
    pictures = len(document.inline_shapes)
    return Read(paragraphs(parts), f"{pictures} picture{'s' * (pictures != 1)}" if pictures else "")
