"""Draws docs/architecture.svg: the Ansible layers, and the packages of fluxlora with the imports between them.

`make docs` writes the picture. The rows of packages are those of the table in docs/design.md. The arrows are the
imports in the source, without those that follow from others. It needs only the standard library; the same source gives
the same picture.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import combinations, pairwise
from pathlib import Path
from statistics import fmean

# Pixels. A character of the notes is at most 6.4 wide at 12 px, one of a name 8.4 at 13 px.
WIDTH, MARGIN, NOTES = 960, 20, 278
BOX, LANE, GAP = 96, 12, 12
HEIGHT, PITCH, BAND = 36, 74, 52
NOTE_LINE, NOTE_CHARACTERS, BAND_CHARACTERS = 15, 42, 92
PORT = 14  # between two arrows that leave one box
SWEEPS = 24

# What a package talks to, by the library that it imports for it.
CLIENTS = {"vastai": "vast.ai", "huggingface_hub": "Hugging Face", "ansible_runner": "Ansible"}
STYLE = """\
  text { font-family: "DejaVu Sans", Verdana, Arial, sans-serif; font-size: 12px; fill: #24292f }
  .name { font-size: 13px; font-weight: bold; text-anchor: middle }
  .client { font-size: 10px; text-anchor: middle; fill: #57606a }
  .heading { font-weight: bold }
  .box { fill: #f6f8fa; stroke: #57606a }
  .used { fill: #ddf4ff; stroke: #0969da }
  .line { fill: none; stroke: #57606a; stroke-width: 1.3 }
  .rule { stroke: #d0d7de }"""


@dataclass(frozen=True)
class Row:
    """One layer: packages that do not import each other, and what they hold."""

    packages: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class Node:
    """A package in its own row; elsewhere the lane through which the arrows to it pass that row."""

    package: str
    row: int
    is_lane: bool = False

    @property
    def width(self) -> int:
        return LANE if self.is_lane else BOX


def picture(project: Path) -> str:
    """The whole SVG."""
    rows = layers(project)
    imported = package_imports(project)
    drawn = {package: sorted(without_implied(package, imported)) for row in rows for package in row.packages}
    ordered = _ordered(*_graph(rows, drawn))
    places = _places(*ordered)
    bands, top = _bands(project)
    parts = [*bands, *_drawn_rows(rows, top, places, project), *_arrows(rows, top, ordered[1], places)]
    bottom = top + PITCH * len(rows)
    legend = (
        "An arrow points to the package that is imported; arrows that follow from others are left out. Blue packages "
        "are also imported by the modules and plugins. Small print: what a package talks to. runner calls playbooks."
    )
    parts += _lines(MARGIN, bottom + 10, textwrap.wrap(legend, 140))
    sentences = [f"{package} imports {other}." for package in drawn for other in drawn[package]]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 40}" role="img">',
            "<!-- Made by `make docs`; do not edit. -->",
            "<title>The architecture of fluxlora</title>",
            f"<desc>{escape(' '.join(sentences))}</desc>",
            f"<style>\n{STYLE}\n</style>",
            '<marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            '<path d="M0 0 8 4 0 8z" fill="#57606a"/></marker>',
            f'<rect width="{WIDTH}" height="{bottom + 40}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def layers(project: Path) -> list[Row]:
    """The rows of the table of packages in docs/design.md, the highest first."""
    text = (project / "docs" / "design.md").read_text(encoding="utf-8")
    section = re.search(r"^## Packages\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    table = re.findall(r"^\| (`.*?) \| (.*) \|$", section[1] if section else "", re.MULTILINE)
    rows = [Row(tuple(re.findall(r"`(\w+)`", names)), note.replace("`", "")) for names, note in table]
    return rows[::-1]


def package_imports(project: Path) -> dict[str, set[str]]:
    """The packages of fluxlora that each of its packages imports."""
    source = project / "src" / "fluxlora"
    found: dict[str, set[str]] = {}
    for path in sorted(source.rglob("*.py")):
        package = path.relative_to(source).with_suffix("").parts[0]
        found.setdefault(package, set()).update(_imported(path) - {package})
    return found


def without_implied(package: str, imported: Mapping[str, set[str]]) -> set[str]:
    """The imports of a package that no other of its imports leads to."""

    def reached(start: str) -> set[str]:
        direct = imported.get(start, set())
        return direct.union(*(reached(other) for other in direct))

    direct = imported.get(package, set())
    return direct - set().union(*(reached(other) for other in direct))


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file imports by its full name, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _imported(path: Path) -> set[str]:
    """The packages of fluxlora that a file imports."""
    return {name.split(".")[1] for name in _imports(path) if name.startswith("fluxlora.")}


def _graph(rows: Sequence[Row], drawn: Mapping[str, Sequence[str]]) -> tuple[list[list[Node]], list[tuple[Node, Node]]]:
    """Nodes by row, and the edges, each from one row to the next. Arrows to one package share its lanes."""
    row_of = {package: number for number, row in enumerate(rows) for package in row.packages}
    nodes = [[Node(package, number) for package in row.packages] for number, row in enumerate(rows)]
    edges: dict[tuple[Node, Node], None] = {}
    for package, others in drawn.items():
        for other in others:
            steps = [Node(package, row_of[package])]
            steps += [Node(other, number, True) for number in range(row_of[package] + 1, row_of[other])]
            steps.append(Node(other, row_of[other]))
            for upper, lower in pairwise(steps):
                edges[upper, lower] = None
                if lower not in nodes[lower.row]:
                    nodes[lower.row].append(lower)
    return nodes, list(edges)


def _ordered(
    nodes: list[list[Node]], edges: list[tuple[Node, Node]]
) -> tuple[list[list[Node]], list[tuple[Node, Node]]]:
    """The same, with few crossings: rows are sorted by the mean place of their neighbours, then nodes are swapped."""
    best = rows = [list(row) for row in nodes]
    neighbours = _neighbours(edges)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for number in range(len(rows)) if down else reversed(range(len(rows))):
            near = _position(rows, number - 1 if down else number + 1)
            own = _position(rows, number)
            means = {
                node: fmean([near[n] for n in neighbours.get(node, []) if n in near] or [own[node]]) for node in own
            }
            rows[number] = sorted(means, key=means.__getitem__)
        if _crossings(rows, edges) < _crossings(best, edges):
            best = [list(row) for row in rows]
    while better := _with_a_swap(best, edges):
        best = better
    return best, edges


def _with_a_swap(rows: list[list[Node]], edges: list[tuple[Node, Node]]) -> list[list[Node]] | None:
    """The rows with the first exchange of two nodes that removes a crossing."""
    now = _crossings(rows, edges)
    for number, row in enumerate(rows):
        for left in range(len(row)):
            for right in range(left + 1, len(row)):
                changed = [list(row_before) for row_before in rows]
                changed[number][left], changed[number][right] = row[right], row[left]
                if _crossings(changed, edges) < now:
                    return changed
    return None


def _position(rows: Sequence[Sequence[Node]], number: int) -> dict[Node, float]:
    row = rows[number] if 0 <= number < len(rows) else []
    return {node: (place + 0.5) / len(row) for place, node in enumerate(row)}


def _neighbours(edges: Sequence[tuple[Node, Node]]) -> dict[Node, list[Node]]:
    found: dict[Node, list[Node]] = {}
    for upper, lower in edges:
        found.setdefault(upper, []).append(lower)
        found.setdefault(lower, []).append(upper)
    return found


def _crossings(rows: Sequence[Sequence[Node]], edges: Sequence[tuple[Node, Node]]) -> int:
    place = {node: position for row in rows for position, node in enumerate(row)}
    by_row: dict[int, list[tuple[int, int]]] = {}
    for upper, lower in edges:
        by_row.setdefault(upper.row, []).append((place[upper], place[lower]))
    pairs = (pair for ends in by_row.values() for pair in combinations(ends, 2))
    return sum((a - c) * (b - d) < 0 for (a, b), (c, d) in pairs)


def _places(rows: Sequence[Sequence[Node]], edges: Sequence[tuple[Node, Node]]) -> dict[Node, float]:
    """The middle of each node: near its neighbours, in its row's order, no two closer than they are wide."""
    left, right = MARGIN + NOTES, WIDTH - MARGIN
    places = {
        node: left + share * (right - left) for n in range(len(rows)) for node, share in _position(rows, n).items()
    }
    neighbours = _neighbours(edges)
    for sweep in range(SWEEPS * 20):
        for row in rows if sweep % 2 else reversed(rows):
            wanted, weights = [], []
            for node in row:
                near = neighbours.get(node, [])
                # Two lanes in a line count more, so that long arrows are straight.
                pulls = [16.0 if node.is_lane and other.is_lane else 1.0 for other in near]
                total = sum(pulls)
                mean = sum(p * places[n] for p, n in zip(pulls, near, strict=True)) / total if near else places[node]
                wanted.append(mean)
                weights.append(max(total, 1.0))
            places.update(zip(row, _spread(row, wanted, weights, left, right), strict=True))
    return places


def _spread(
    row: Sequence[Node], wanted: Sequence[float], weights: Sequence[float], left: float, right: float
) -> list[float]:
    """The places nearest to the wanted ones, by weighted squares, that keep order, distance and both borders."""
    offsets = [0.0]
    for before, after in pairwise(row):
        offsets.append(offsets[-1] + (before.width + after.width) / 2 + GAP)
    blocks: list[tuple[float, float, int]] = []  # the mean without the offsets, its weight, how many nodes
    for place, offset, weight in zip(wanted, offsets, weights, strict=True):
        blocks.append((place - offset, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (mean1, weight1, count1), (mean2, weight2, count2) = blocks[-2:]
            weight_sum = weight1 + weight2
            blocks[-2:] = [((mean1 * weight1 + mean2 * weight2) / weight_sum, weight_sum, count1 + count2)]
    means = [mean for mean, _, count in blocks for _ in range(count)]
    lowest, highest = left + row[0].width / 2, right - row[-1].width / 2 - offsets[-1]
    return [min(max(mean, lowest), highest) + offset for mean, offset in zip(means, offsets, strict=True)]


def _bands(project: Path) -> tuple[list[str], int]:
    """The Ansible layers above the packages, and where these begin."""
    kinds = sorted(path.name for path in project.glob("plugins/*/") if any(path.glob("*.py")))
    contents = [
        (
            "Playbooks",
            "one for each command",
            sorted(path.stem for path in project.glob("*.yml") if (project / "playbooks" / path.name).is_file()),
        ),
        (
            "Roles",
            "the tasks, here and on an instance",
            sorted(path.parent.name for path in project.glob("roles/*/tasks")),
        ),
        ("Modules and plugins", "they call the packages below", kinds),
    ]
    parts = []
    for number, (heading, note, names) in enumerate(contents):
        y = MARGIN + number * (BAND + 18)
        lines = textwrap.wrap(", ".join(names), BAND_CHARACTERS)
        left = MARGIN + NOTES
        parts.append(f'<rect class="box" x="{left}" y="{y}" width="{WIDTH - MARGIN - left}" height="{BAND}" rx="4"/>')
        parts += _lines(left + 12, y + (BAND - NOTE_LINE * len(lines)) / 2, lines)
        parts.append(f'<text class="heading" x="{MARGIN}" y="{y + 23}">{heading}</text>')
        parts.append(f'<text x="{MARGIN}" y="{y + 23 + NOTE_LINE}">{note}</text>')
        middle, end = (WIDTH - MARGIN + left) / 2, y + BAND
        parts.append(f'<path class="line" marker-end="url(#head)" d="M{middle:.0f} {end}V{end + 18}"/>')
    bottom = MARGIN + len(contents) * (BAND + 18)
    parts.append(f'<path class="rule" d="M{MARGIN} {bottom}H{WIDTH - MARGIN}"/>')
    parts.append(f'<text class="heading" x="{MARGIN}" y="{bottom + 22}">Packages of src/fluxlora</text>')
    return parts, bottom + 34


def _drawn_rows(rows: Sequence[Row], top: int, places: Mapping[Node, float], project: Path) -> Iterator[str]:
    used = set().union(*(_imported(path) for path in project.glob("plugins/*/*.py")))
    for number, row in enumerate(rows):
        y = top + number * PITCH
        lines = textwrap.wrap(row.note[:1].upper() + row.note[1:], NOTE_CHARACTERS)
        yield from _lines(MARGIN, y + (HEIGHT - NOTE_LINE * len(lines)) / 2, lines)
        for package in row.packages:
            x = places[Node(package, number)]
            shown = "box used" if package in used else "box"
            yield f'<rect class="{shown}" x="{x - BOX / 2:.1f}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="4"/>'
            clients = _clients(project, package)
            yield f'<text class="name" x="{x:.1f}" y="{y + (16 if clients else 23)}">{escape(package)}</text>'
            if clients:
                yield f'<text class="client" x="{x:.1f}" y="{y + 29}">{escape(", ".join(clients))}</text>'


def _clients(project: Path, package: str) -> list[str]:
    source = project / "src" / "fluxlora"
    files = [*source.glob(f"{package}.py"), *source.glob(f"{package}/**/*.py")]
    names = {name.split(".")[0] for path in files for name in _imports(path)}
    return [client for library, client in CLIENTS.items() if library in names]


def _arrows(
    rows: Sequence[Row], top: int, edges: Sequence[tuple[Node, Node]], places: Mapping[Node, float]
) -> Iterator[str]:
    for upper, lower in edges:
        leaving = sorted((other for node, other in edges if node == upper), key=lambda other: places[other])
        port = 0.0 if upper.is_lane else PORT * (leaving.index(lower) - (len(leaving) - 1) / 2)
        x1, x2 = places[upper] + port, places[lower]
        y1 = top + upper.row * PITCH + HEIGHT
        y2 = top + lower.row * PITCH
        middle = (y1 + y2) / 2
        # A lane passes its whole row; an arrow's head is at a box.
        rest = f"V{y2 + HEIGHT}" if lower.is_lane else ""
        head = "" if lower.is_lane else ' marker-end="url(#head)"'
        curve = f"M{x1:.1f} {y1}C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2}{rest}"
        yield f'<path class="line"{head} d="{curve}"/>'


def _lines(x: float, y: float, lines: Sequence[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f'<text x="{x:.0f}" y="{y + 11 + number * NOTE_LINE:.0f}">{escape(line)}</text>'
