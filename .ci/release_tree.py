"""Copies what git knows into a new folder, made ready for a package index: `release_tree.py FOLDER [REPOSITORY]`.

An index shows the README alone, so links between files lead nowhere from there. With the address of the repository
they become whole addresses of the released version, and the project's page links to it; without one, pictures of the
repository go, and of links the words stay.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)]+)\)\n*")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)]+)\)")


def for_an_index(readme: str, repository: str, version: str) -> str:
    """Return the README with no link that needs the repository's files beside it."""
    if not repository:
        return _LINK.sub(r"\1", _PICTURE.sub("", readme))
    tag = f"v{version}"
    pictures = _PICTURE.sub(rf"![\1]({repository}/raw/{tag}/\2)\n\n", readme)
    return _LINK.sub(rf"[\1]({repository}/blob/{tag}/\2)", pictures)


def urls(repository: str) -> str:
    """Return the table of the project's addresses, for pyproject.toml."""
    places = {
        "Source": "",
        "Documentation": "/tree/main/docs",
        "Changelog": "/blob/main/CHANGELOG.md",
        "Issues": "/issues",
    }
    return "\n[project.urls]\n" + "".join(f'{name} = "{repository}{path}"\n' for name, path in places.items())


def main(folder: str, repository: str = "") -> None:
    tree = Path(folder)
    shutil.rmtree(tree, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("examples/sample/"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    version = re.search(r'"(.+)"', (ROOT / "lvm_fast" / "_version.py").read_text().splitlines()[-1])
    assert version, "_version.py: its last line names no version"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (tree / "README.md").write_text(for_an_index(readme, repository.rstrip("/"), version[1]), encoding="utf-8")
    if repository:
        with open(tree / "pyproject.toml", "a", encoding="utf-8") as file:
            file.write(urls(repository.rstrip("/")))


if __name__ == "__main__":
    main(*sys.argv[1:])
