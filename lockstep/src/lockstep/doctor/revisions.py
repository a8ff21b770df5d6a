"""Revision files, read and never run: where each stands, and which operations it has."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from alembic.util import to_tuple

from lockstep.doctor.sources import called, parsed, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Operation:
    """A call of ``op`` in an upgrade."""

    name: str
    call: ast.Call
    file: RevisionFile

    @property
    def line(self) -> int:
        return self.call.lineno

    def text(self, position: int, *names: str) -> str:
        """An argument that is a string, by its place or by its name; "" where it is none."""
        value: Any = next((k.value for k in self.call.keywords if k.arg in names), None)
        if value is None and 0 <= position < len(self.call.args):
            value = self.call.args[position]
        return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""

    @property
    def table(self) -> str:
        """The table that it is about."""
        position = 1 if self.name in {"create_index", "create_foreign_key", "drop_constraint"} else 0
        return self.text(position, "table_name", "source_table")

    @property
    def column(self) -> str:
        """The column of ``add_column``, ``drop_column`` or ``alter_column``."""
        if self.name == "add_column":
            found = next(iter(calls_in(self.call.args[1:], "Column")), None)
            return string(found.args[0]) if found and found.args else ""
        return self.text(1, "column_name")

    def where(self) -> str:
        return f"in {self.file}, line {self.line}"


def calls_in(nodes: Sequence[ast.AST], *names: str) -> Iterator[ast.Call]:
    """The calls within, of what is called so, whatever module it is written with."""
    for node in nodes:
        for one in ast.walk(node):
            if isinstance(one, ast.Call) and called(one).rpartition(".")[2] in names:
                yield one


def string(node: ast.AST | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def option(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@dataclass(frozen=True)
class RevisionFile:
    """A file of versions/ that says which revision it is."""

    path: Path
    tree: ast.Module
    revision: str
    after: tuple[str, ...]
    """The revisions that it stands on: down_revision and depends_on."""
    down: tuple[str, ...]

    def __str__(self) -> str:
        return shown(self.path)

    def operations(self, *names: str) -> list[Operation]:
        """The operations of upgrade() in the order in which they are written; all where none is named."""
        bodies = [n for n in self.tree.body if isinstance(n, ast.FunctionDef) and n.name != "downgrade"]
        calls = [node for body in bodies for node in ast.walk(body) if isinstance(node, ast.Call)]
        found = [
            Operation(called(call).rpartition(".")[2], call, self)
            for call in calls
            if called(call).startswith("op.")
        ]
        return sorted((one for one in found if not names or one.name in names), key=lambda one: one.line)


class Chain:
    """The revisions of a project, by their files."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders

    @cached_property
    def files(self) -> dict[str, RevisionFile]:
        found: dict[str, RevisionFile] = {}
        for folder in self._folders:
            for path in sorted(folder.rglob("*.py")):
                tree = parsed(path)
                values = _values(tree) if tree else {}
                if tree and isinstance(values.get("revision"), str):
                    down, depends = _many(values.get("down_revision")), _many(values.get("depends_on"))
                    name = values["revision"]
                    found[name] = RevisionFile(path, tree, name, (*down, *depends), down)
        return found

    @cached_property
    def unreadable(self) -> list[tuple[Path, str]]:
        """The files that Python cannot read, with where and why."""
        found = []
        for folder in self._folders:
            for path in sorted(folder.rglob("*.py")):
                try:
                    compile(path.read_bytes(), str(path), "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
                except SyntaxError as error:
                    found.append((path, f"line {error.lineno}: {error.msg}"))
                except ValueError as error:
                    found.append((path, str(error)))
        return found

    def heads(self) -> list[str]:
        below = {name for file in self.files.values() for name in file.down}
        return sorted(set(self.files) - below)

    def ordered(self) -> list[RevisionFile]:
        """Each after those that it stands on."""
        found: dict[str, RevisionFile] = {}
        left = dict(self.files)
        while left:
            ready = [n for n, file in left.items() if not set(file.after) & set(left)] or list(left)
            found.update((name, left.pop(name)) for name in ready)
        return list(found.values())

    def pending(self, applied: Sequence[str]) -> list[RevisionFile]:
        """What an upgrade to the heads would run, from these revisions."""
        done: set[str] = set()
        todo = [name for name in applied if name in self.files]
        while todo:
            name = todo.pop()
            if name not in done:
                done.add(name)
                todo += [each for each in self.files[name].after if each in self.files]
        return [file for file in self.ordered() if file.revision not in done]


def _values(tree: ast.Module) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and value is not None:
            try:
                found[target.id] = ast.literal_eval(value)
            except (ValueError, TypeError):
                continue
    return found


def _many(value: Any) -> tuple[str, ...]:
    return tuple(one for one in to_tuple(value, ()) if isinstance(one, str))
