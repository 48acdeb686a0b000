"""Holds a tag against the version of the package and the top of the changelog: `check_version.py v1.2.3`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def mistake(tag: str, version_file: str, changelog: str) -> str | None:
    """Return what keeps a tag from being released; None if nothing does."""
    version = re.search(r'^__version__ = "(.+)"$', version_file, re.MULTILINE)
    if not version or tag != f"v{version[1]}":
        return f"the tag is {tag}, _version.py says {version and version[1]}"
    newest = re.search(r"^## (.+)$", changelog, re.MULTILINE)
    if not newest or not re.fullmatch(rf"{re.escape(version[1])} \(\d{{4}}-\d\d-\d\d\)", newest[1]):
        return f"the changelog begins with {newest and newest[1]!r}; expected '{version[1]} (YYYY-MM-DD)'"
    return None


if __name__ == "__main__":
    found = mistake(
        sys.argv[1],
        (ROOT / "lvm_fast" / "_version.py").read_text(encoding="utf-8"),
        (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    )
    sys.exit(found)
