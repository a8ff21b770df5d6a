"""How the package is laid out: imports run one way, and in no circle."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import folkmoot

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(folkmoot.__file__).parent
#: From the top of the house down: a room imports from those after it only.
ROOMS = (
    "__main__",
    "commands",
    "app",
    "pages",
    "posts",
    "people",
    "http",
    "migrations",
    "postgres",
    "settings",
)


def modules() -> dict[str, Path]:
    """Every file of the package by the name that it is imported as, `folkmoot.` left out."""
    files = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")
    }
    return {name.removesuffix(".__init__"): path for name, path in files.items() if name != "__init__"}


def imported(source: str, known: set[str]) -> Iterator[str]:
    """The package's own modules that a file imports: within functions and for type checkers, too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name == "folkmoot" or not name.startswith("folkmoot."):
                continue
            inner = name.removeprefix("folkmoot.")
            yield inner if inner in known else inner.rpartition(".")[0]


def upward(module: str, imports: Iterator[str]) -> list[str]:
    """The imports that run from a room to one above it."""
    here = ROOMS.index(module.partition(".")[0])
    return [target for target in imports if ROOMS.index(target.partition(".")[0]) < here]


@pytest.mark.parametrize("module", sorted(modules()))
def test_no_import_runs_upwards(module: str) -> None:
    known = modules()
    assert upward(module, imported(known[module].read_text(), set(known))) == []


def test_no_imports_run_in_a_circle() -> None:
    known = modules()
    graph = {name: set(imported(path.read_text(), set(known))) for name, path in known.items()}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("postgres.pool", "from folkmoot.http import problems"),
        ("people.sessions", "def later():\n    import folkmoot.posts.votes"),
        ("http.etags", "if TYPE_CHECKING:\n    from folkmoot.app import create_app"),
        ("settings", "from folkmoot.postgres.pool import Pool"),
    ],
)
def test_an_import_that_runs_upwards_is_found(module: str, source: str) -> None:
    assert upward(module, imported(source, set(modules())))
