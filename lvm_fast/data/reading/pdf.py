"""The text of PDF files, by pypdf."""

from __future__ import annotations

import logging
from pathlib import Path

from ..._util.optional import optional_module
from .readers import EXTRA, PURPOSE, Read, paragraphs


def read_pdf(path: Path) -> Read:
    """Read all pages; what is a picture, such as a scanned page, has no text.

    Raises:
        ImportError: pypdf is missing.
        ValueError: the file is damaged, or opens with a password only.
    """
    pypdf = optional_module("pypdf", EXTRA, PURPOSE)
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it tells of every oddity that it mends
    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(path).pages]
    except OSError:
        raise
    except Exception as error:  # whatever it stumbles over
        raise ValueError(f"{path}: no PDF file that can be read: {error}") from error
    empty = [number for number, text in enumerate(pages, 1) if not text.strip()]
    shown = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
    return Read(paragraphs(pages), f"{len(empty)} of {len(pages)} pages hold no text (page {shown})" if empty else "")
