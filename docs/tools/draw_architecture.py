"""Draw the rooms of the package and who imports whom, as ARCHITECTURE.md shows them.

python docs/tools/draw_architecture.py          # write docs/images/architecture.svg
python docs/tools/draw_architecture.py --check  # only say whether it is current

A room is a folder of lvm_fast. All imports count: those inside functions and those for types alone, too. An arrow that
follows from others is left out: where a imports b and b imports c, none is drawn from a to c.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "lvm_fast"
PICTURE = ROOT / "docs" / "images" / "architecture.svg"

Graph = dict[str, set[str]]

MEANINGS = {
    "_core": "compiled C++ core",
    "_util": "files, numbers, messages, registry",
    "ops": "kernels as torch operators",
    "layers": "GRU, LSTM, heads",
    "data": "text, chains, splits, windows",
    "spaces": "raw, centred, whitened",
    "adapters": "calls of other libraries",
    "retrieval": "exact search and mining",
    "models": "one file an architecture",
    "inference": "predictions, streams, routers",
    "training": "from a recipe to the best weights",
    "evaluation": "scores, baselines, reports",
    "export": "packages and their proof",
    "cli": "one file a command",
}
WIDTH, HEIGHT, GAP, ROW = 236, 52, 24, 104


def rooms() -> list[str]:
    """The folders of the package that hold modules, and the compiled core."""
    return [*sorted(folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()), "_core"]


def import_graph() -> Graph:
    """Which room imports which others."""
    names = rooms()
    graph: Graph = {name: set() for name in names}
    for room in names:
        for path in sorted((PACKAGE / room).rglob("*.py")):
            graph[room] |= {name for name in imported(path) if name in graph and name != room}
    return graph


def imported(path: Path) -> Iterator[str]:
    """The names right below lvm_fast that a module imports, or asks for by `import_module` with a plain text."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            places = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            start = (*base, *(node.module.split(".") if node.module else ()))
            places = [(*start, alias.name) for alias in node.names]
        else:
            continue
        yield from (place[1] for place in places if place[0] == "lvm_fast" and len(place) > 1)


def reach(graph: Graph) -> Graph:
    """What each room imports, and what that imports in turn."""
    found = {room: set(below) for room, below in graph.items()}
    for _ in found:  # no way is longer than there are rooms
        found = {room: below.union(*(found[each] for each in below)) for room, below in found.items()}
    return found


def layers(graph: Graph) -> list[list[str]]:
    """Rooms by height: each stands one above the highest that it imports; rooms of a circle stand side by side."""
    reached = reach(graph)
    below = {room: {each for each in reached[room] if room not in reached[each]} for room in graph}
    height: dict[str, int] = {}
    for room in sorted(graph, key=lambda room: len(below[room])):
        height[room] = 1 + max((height[each] for each in below[room]), default=-1)
    return [sorted(room for room in graph if height[room] == level) for level in range(max(height.values()), -1, -1)]


def reduced(graph: Graph) -> Graph:
    """The graph without the arrows that follow from others, outside circles."""
    reached = reach(graph)

    def follows(room: str, to: str) -> bool:
        between = {by for by in graph[room] if by not in reached[to] and room not in reached[by]}
        return any(to in reached[by] for by in between)

    return {room: {to for to in below if not follows(room, to)} for room, below in graph.items()}


def picture(graph: Graph) -> str:
    """The rooms as boxes, high above low, and the arrows between them, as SVG."""
    rows = layers(graph)
    width = max(len(row) for row in rows) * (WIDTH + GAP) + GAP
    place = {
        room: (width / 2 + (index - (len(row) - 1) / 2) * (WIDTH + GAP), 30 + level * ROW)
        for level, row in enumerate(rows)
        for index, room in enumerate(row)
    }
    arrows = [(place[a], place[b]) for a, targets in sorted(reduced(graph).items()) for b in sorted(targets)]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {len(rows) * ROW + 10}" role="img"'
        ' font-family="Helvetica, Arial, sans-serif" text-anchor="middle" aria-label="The rooms of lvm_fast">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#7b8794"/></marker></defs>',
        '<rect width="100%" height="100%" rx="12" fill="#ffffff"/>',
        *(arrow(start, end) for start, end in arrows),
        *(box(room, *place[room]) for row in rows for room in row),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """From the lower edge of one box to the upper edge of another; sideways, and red, between rooms of a circle."""
    (x, y), (to_x, to_y) = start, end
    if y == to_y:
        side = WIDTH / 2 if to_x > x else -WIDTH / 2
        curve = f"M{x + side:g} {y + HEIGHT / 2:g}L{to_x - side:g} {to_y + HEIGHT / 2:g}"
        return f'<path d="{curve}" fill="none" stroke="#c0392b" stroke-width="2" marker-end="url(#tip)"/>'
    y += HEIGHT
    bend = (to_y - y) * 0.45
    curve = f"M{x:g} {y:g}C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g} {to_x:g} {to_y - 2:g}"
    return f'<path d="{curve}" fill="none" stroke="#7b8794" stroke-width="1.3" marker-end="url(#tip)"/>'


def box(room: str, x: float, y: float) -> str:
    """A room with its name and, below it, what it is for."""
    meaning = MEANINGS.get(room, "")
    corner = f'x="{x - WIDTH / 2:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}"'
    return (
        f'<rect {corner} rx="7" fill="#eaf1f8" stroke="#1d5fae"/>'
        f'<text x="{x:g}" y="{y + 22:g}" font-size="15" font-weight="bold" fill="#1f2933">{room}</text>'
        f'<text x="{x:g}" y="{y + 41:g}" font-size="12" fill="#3e4c59">{meaning}</text>'
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where the picture is old")
    drawn = picture(import_graph())
    if parser.parse_args().check:
        if PICTURE.read_text() != drawn:
            print(f"{PICTURE.relative_to(ROOT)} is old; draw it by `python docs/tools/draw_architecture.py`")
            return 1
        return 0
    PICTURE.write_text(drawn)
    print(PICTURE.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
