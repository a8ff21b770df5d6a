"""A picture of tables and of how they refer to each other: where its boxes and arrows are, for a template.

The layout is graphlay's: layers (Sugiyama), boxes of their own sizes, arrows at right angles around them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

import graphlay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lockstep.snapshot.tables import Column, Table

#: Up to so many tables a table has its columns, up to a number; of more tables the keys alone. Of still more
#: nothing is drawn: nobody would find anything on it, and laying it out holds up the whole process.
DETAILED, MOST = 20, 120
_COLUMNS, _KEYS = 14, 4
#: In CSS pixels, as the stylesheet has them: a sign of the fixed-width type, a line, what is
#: above the first one, around them, and before a column's name.
SIGN, LINE, HEAD, PADDING, MARK = 7.3, 18, 28, 10, 26
_LONGEST = 30
_SHORT = {
    "timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp",
    "character varying": "varchar", "double precision": "double", "boolean": "bool",
}  # fmt: skip
_OPTIONS = {
    "direction": "leftright",
    "effort": "fast",
    "spacing": {"layer_gap": 64.0, "node_gap": 28.0, "isolated_gap": 28.0},
}
_MARGIN = 12


@dataclass(frozen=True)
class Line:
    """A column in a box."""

    text: str
    type: str
    mark: str
    """PK, FK, or nothing."""
    y: float


@dataclass(frozen=True)
class Box:
    """A table."""

    table: str
    name: str
    """As it is written, which is cut where it is long."""
    x: float
    y: float
    width: float
    height: float
    lines: Sequence[Line]
    more: int
    """How many columns are not shown."""


@dataclass(frozen=True)
class Arrow:
    """A foreign key: from the table that has it to the one that it refers to."""

    says: str
    table: str
    refers_to: str
    points: Sequence[tuple[float, float]]

    @property
    def path(self) -> str:
        """As an SVG path has it."""
        return "M" + " L".join(f"{x:g} {y:g}" for x, y in self.points)


@dataclass(frozen=True)
class Picture:
    """Everything, from (0, 0) to its width and height."""

    width: float
    height: float
    boxes: Sequence[Box]
    arrows: Sequence[Arrow]


#: What a picture is of, so that the same is laid out once: (table, ((mark, column, type), …), how many more)
#: and (what a foreign key says, its table, the one that it refers to).
_Node = tuple[str, tuple[tuple[str, str, str], ...], int]
_Edge = tuple[str, str, str]


def picture(tables: Sequence[Table]) -> Picture | None:
    """Lay the tables out; None where there are none, or too many for a picture."""
    if not 0 < len(tables) <= MOST:
        return None
    nodes = tuple(_node(table, detailed=len(tables) <= DETAILED) for table in tables)
    edges = tuple(
        (
            f"{table.id} ({', '.join(each.columns)}) → {each.table} ({', '.join(each.referred_columns)})",
            table.id,
            each.table,
        )
        for table in tables
        for each in table.references
    )
    return _laid_out(nodes, edges)


def _node(table: Table, *, detailed: bool) -> _Node:
    shown = table.columns if detailed else [c for c in table.columns if c.in_primary_key or c.refers]
    shown = shown[: _COLUMNS if detailed else _KEYS]
    lines = tuple((_mark(c), _cut(c.name), _type(c) if detailed else "") for c in shown)
    return table.id, lines, len(table.columns) - len(shown)


def _mark(column: Column) -> str:
    return "PK" if column.in_primary_key else "FK" if column.refers else ""


def _type(column: Column) -> str:
    name, bracket, rest = column.type.partition("(")
    return _cut(_SHORT.get(name, name) + bracket + rest, 16)


def _cut(text: str, longest: int = _LONGEST) -> str:
    while _signs(text) > longest:
        text = text[: -2 if text.endswith("…") else -1].removesuffix("…") + "…"
    return text


def _signs(text: str) -> int:
    """How many places a text takes in fixed-width type."""
    return sum(2 if east_asian_width(each) in "WF" else 1 for each in text)


def _width(node: _Node) -> float:
    table, lines, more = node
    longest = max(
        [
            _signs(_cut(table)) + 1,  # it is bold
            *(_signs(column) + (2 + _signs(of) if of else 0) + MARK / SIGN for _, column, of in lines),
            len(f"+ {more}") + MARK / SIGN if more else 0,
        ]
    )
    return round(longest * SIGN + 2 * PADDING)


@lru_cache(maxsize=16)
def _laid_out(nodes: tuple[_Node, ...], edges: tuple[_Edge, ...]) -> Picture:
    graph = graphlay.Graph()
    for node in nodes:
        rows = len(node[1]) + bool(node[2])
        graph.node(node[0], width=_width(node), height=HEAD + rows * LINE + PADDING / 2)
    for _, table, refers_to in edges:  # the other way round: what others refer to stands at the left
        graph.edge(refers_to, table)
    found = graphlay.layout(graph, options=_OPTIONS)
    # What is reported as the bounds is that of the boxes alone.
    left, top, right, bottom = _bounds(found)
    dx, dy = _MARGIN - left, _MARGIN - top
    boxes = [
        _box(node, placed["center"]["x"] + dx, placed["center"]["y"] + dy, placed["size"])
        for node, placed in zip(nodes, found.nodes, strict=True)
    ]
    arrows = [
        Arrow(*edge, [(round(p["x"] + dx, 1), round(p["y"] + dy, 1)) for p in reversed(drawn["points"])])
        for edge, drawn in zip(edges, found.edges, strict=True)
    ]
    return Picture(round(right + dx + _MARGIN), round(bottom + dy + _MARGIN), boxes, arrows)


def _bounds(found: graphlay.Layout) -> tuple[float, float, float, float]:
    xs: list[float] = []
    ys: list[float] = []
    for node in found.nodes:
        xs += [node["center"]["x"] + side * node["size"]["width"] / 2 for side in (-1, 1)]
        ys += [node["center"]["y"] + side * node["size"]["height"] / 2 for side in (-1, 1)]
    for edge in found.edges:
        xs += [point["x"] for point in edge["points"]]
        ys += [point["y"] for point in edge["points"]]
    return min(xs), min(ys), max(xs), max(ys)


def _box(node: _Node, x: float, y: float, size: dict[str, Any]) -> Box:
    table, lines, more = node
    width, height = size["width"], size["height"]
    left, top = x - width / 2, y - height / 2
    return Box(
        table, _cut(table), round(left, 1), round(top, 1), width, height,
        [
            Line(column, of, mark, round(top + HEAD + (number + 0.75) * LINE, 1))
            for number, (mark, column, of) in enumerate(lines)
        ],
        more,
    )  # fmt: skip
