"""Lists the files of some kinds in a folder and all below it, and says what was left out and why."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .._util.text import unicode_text

_OTHER_KINDS = "of other kinds"
_NAMED = 3


class FolderScan:
    """The files to read, and those that are not, by reason.

    Attributes:
        files: Paths from the folder on, in name order.
        skipped: Paths from the folder on, by the reason they were left out for, such as "hidden".
    """

    def __init__(self) -> None:
        self.files: list[Path] = []
        self.skipped: dict[str, list[Path]] = {}

    def skip(self, reason: str, name: Path) -> None:
        """Note that a file or folder is left out."""
        self.skipped.setdefault(reason, []).append(name)

    def words(self) -> str:
        """Say in one line what was left out; nothing where nothing was."""
        return ", ".join(
            f"{len(names):,} {reason} ({_details(reason, names)})" for reason, names in self.skipped.items()
        )


def scan_folder(folder: Path, suffixes: tuple[str, ...]) -> FolderScan:
    """Find the files that end in one of the suffixes, in any case, in a folder and the folders inside it.

    Links to folders are followed, each folder is read once, and what is hidden (its name begins with a dot) is not.

    Raises:
        OSError: A folder cannot be read.
    """
    scan, seen = FolderScan(), set[str]()
    above = {str(place) for place in Path(os.path.realpath(folder)).parents}
    waiting, links = [Path()], list[Path]()  # links come last: a folder is then called by its own name
    while waiting or links:
        place = waiting.pop() if waiting else links.pop(0)
        real = os.path.realpath(folder / place)
        if real in seen | above:
            scan.skip("linked in a circle or twice", place)
            continue
        seen.add(real)
        for name in _names_in(folder, place):
            path = folder / name
            if name.name.startswith("."):
                scan.skip("hidden", name)
            elif path.is_dir():
                (links if path.is_symlink() else waiting).append(name)
            elif not name.name.lower().endswith(suffixes):
                scan.skip(_OTHER_KINDS, name)
            elif path.is_file():
                scan.files.append(name)
            else:
                scan.skip("that are no files, or links to none", name)
    scan.files.sort()
    return scan


def _names_in(folder: Path, place: Path) -> Iterator[Path]:
    return (place / name for name in sorted(os.listdir(folder / place)))


def _details(reason: str, names: list[Path]) -> str:
    if reason == _OTHER_KINDS:
        kinds = Counter(name.suffix.lower() or "no suffix" for name in names).most_common()
        words = [f"{kind} {count}" if count > 1 else kind for kind, count in kinds]
    else:
        words = [unicode_text(name.as_posix()) for name in names]
    return ", ".join([*words[:_NAMED], *([f"and {len(words) - _NAMED} more"] if len(words) > _NAMED else [])])
