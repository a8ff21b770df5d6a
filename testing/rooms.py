"""The rooms of both packages, and the picture of them in docs/architecture.md, drawn from the imports.

Run as a module, this draws the picture anew.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "architecture.md"
_PICTURE = re.compile(r"(?<=<!-- drawn by `make docs` -->\n).*?(?=<!-- until here -->)", re.DOTALL)

#: What ``import lockstep`` and ``import folkmoot`` give.
FRONT = "__init__"


@dataclass(frozen=True)
class House:
    """A package."""

    name: str
    rooms: tuple[str, ...]
    """From the top down: a room imports from those after it only."""

    @property
    def folder(self) -> Path:
        return ROOT / self.name / "src" / self.name

    @cache  # noqa: B019  # there are two
    def modules(self) -> dict[str, Path]:
        """Every file by the name that it is imported as, without the package's."""
        names = {
            ".".join(path.relative_to(self.folder).with_suffix("").parts): path
            for path in sorted(self.folder.rglob("*.py"))
        }
        return {name if name == FRONT else name.removesuffix(".__init__"): names[name] for name in names}

    def imported(self, source: str) -> Iterator[str]:
        """The modules of the package that a file imports: within functions and for type checkers, too."""
        known = self.modules()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                if node.level:
                    raise ValueError("imports are absolute")
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                package, _, inner = name.partition(".")
                if package == self.name:
                    yield inner if inner in known else inner.rpartition(".")[0] or FRONT

    def upward(self, module: str, source: str) -> list[str]:
        """The imports that run from a room to one above it."""
        here = self.rooms.index(room_of(module))
        return [
            target for target in self.imported(source) if self.rooms.index(room_of(target)) < here
        ]  # fmt: skip

    def title(self, room: str) -> str:
        """A room's name, and what its own first line says of it."""
        inside = self.folder / room / "__init__.py"
        folder = inside if inside.exists() else self.folder / f"{room}.py"
        name = f"{room}/" if inside.exists() else f"{room}.py"
        if not folder.exists():  # Alembic loads migrations by path
            return f"{room}/"
        first = (ast.get_docstring(ast.parse(folder.read_text())) or "").split("\n", maxsplit=1)[0]
        return f"{self.name if room == FRONT else name}<br>{first.rstrip('.').replace('``', '')}"


LOCKSTEP = House(
    "lockstep",
    (
        "pytest_plugin", FRONT, "environment", "autogenerate", "commands", "doctor", "plan", "operations",
        "archive", "revision", "steps", "snapshot", "postgres", "private_names", "scopes", "errors",
    ),
)  # fmt: skip
FOLKMOOT = House(
    "folkmoot",
    (
        "__main__", "commands", "backups", "app", "pages", "moderation", "posts", "people", "mail", "http",
        "migrations", "postgres", "settings", "mail_settings", FRONT,
    ),
)  # fmt: skip
HOUSES = (FOLKMOOT, LOCKSTEP)


def room_of(module: str) -> str:
    return module.partition(".")[0]


def _edges() -> dict[str, set[str]]:
    """For each room, as ``house.room``, those of both packages that its files import."""
    found: dict[str, set[str]] = {}
    for house in HOUSES:
        for module, path in house.modules().items():
            here = f"{house.name}.{room_of(module)}"
            targets = {
                f"{other.name}.{room_of(target)}"
                for other in HOUSES
                for target in other.imported(path.read_text())
            }
            found.setdefault(here, set()).update(targets - {here})
    return found


def _reached(edges: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        for target in edges.get(todo.pop(), set()) - found:
            found.add(target)
            todo.append(target)
    return found


def picture() -> str:
    """Both packages as a Mermaid chart. An arrow that others of the chart make superfluous is left out."""
    edges = _edges()
    lines = ["```mermaid", "flowchart TD"]
    for house in HOUSES:
        lines.append(f"  subgraph {house.name}_package [{house.name}]")
        lines += [
            f'    {_node(f"{house.name}.{room}")}["{house.title(room)}"]'
            for room in house.rooms
            if f"{house.name}.{room}" in edges and (room != FRONT or edges[f"{house.name}.{room}"])
        ]
        lines.append("  end")
    for here in edges:
        for target in sorted(edges[here]):
            if not any(target in _reached(edges, between) for between in edges[here] - {target}):
                lines.append(f"  {_node(here)} --> {_node(target)}")
    return "\n".join([*lines, "```", ""])


def _node(room: str) -> str:
    return room.replace(".", "_").replace("__init__", "front").replace("__main__", "main")


def drawn(document: str) -> str:
    """The document with the picture as it is now."""
    return _PICTURE.sub(lambda _: picture(), document)


if __name__ == "__main__":
    DOCUMENT.write_text(drawn(DOCUMENT.read_text()))
