"""A project's own Python files, read and never run: its models, and where something is called."""

from __future__ import annotations

import ast
import os
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: More are not read: a folder with so many is not one project's.
_MOST = 4000


@dataclass(frozen=True)
class Source:
    """A file that Python can read."""

    path: Path
    module: str
    """The name that it is imported by."""
    tree: ast.Module

    def __str__(self) -> str:
        return shown(self.path)

    def calls(self) -> Iterator[ast.Call]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.Call))


@dataclass(frozen=True)
class Model:
    """A class that is mapped to a table."""

    name: str
    table: str | None
    """None where a mixin or a function makes its name."""
    module: str


def shown(path: Path) -> str:
    """A path as somebody in the project's folder writes it."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def parsed(path: Path) -> ast.Module | None:
    """The file's syntax tree; None where it has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is odd in their code
            return ast.parse(path.read_text(encoding="utf-8", errors="replace"), str(path))
    except (SyntaxError, ValueError, OSError):
        return None


def called(call: ast.Call) -> str:
    """What is called, as it is written: ``op.create_table``."""
    return ast.unparse(call.func)


class Sources:
    """The files below a folder, without environments, and without Alembic's own folder."""

    def __init__(self, root: Path, imported_from: Sequence[Path], without: Path | None = None) -> None:
        self.root = root
        self._imported_from = sorted({*imported_from, root, root / "src"}, key=lambda p: -len(p.parts))
        self._without = without

    @cached_property
    def files(self) -> list[Source]:
        return [
            Source(path, self._module(path), tree)
            for path in self._paths()
            if (tree := parsed(path)) is not None
        ]

    def _paths(self) -> Iterator[Path]:
        count = 0
        for folder, inner, names in os.walk(self.root):
            here = Path(folder)
            inner[:] = sorted(
                name
                for name in inner
                if not name.startswith((".", "__pycache__", "node_modules", "site-packages"))
                and not (here / name / "pyvenv.cfg").exists()
                and here / name != self._without
            )
            for name in sorted(names):
                if name.endswith(".py"):
                    count += 1
                    if count > _MOST:
                        return
                    yield here / name

    def _module(self, path: Path) -> str:
        base = next(base for base in self._imported_from if path.is_relative_to(base))
        parts = path.relative_to(base).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def bases(self) -> dict[str, str]:
        """The declarative bases by name, with the module that makes each."""
        found: dict[str, str] = {}
        for source in self.files:
            for node in ast.walk(source.tree):
                if isinstance(node, ast.ClassDef) and _names(node.bases) & {
                    "DeclarativeBase", "DeclarativeBaseNoMeta", "MappedAsDataclass",
                }:  # fmt: skip
                    found.setdefault(node.name, source.module)
                elif (
                    isinstance(node, ast.Assign)
                    and isinstance(node.value, ast.Call)
                    and called(node.value).rpartition(".")[2] == "declarative_base"
                ):
                    found.update((ast.unparse(target), source.module) for target in node.targets)
        return found

    @cached_property
    def models(self) -> list[Model]:
        """The subclasses of the bases, and SQLModel's with ``table=True``."""
        classes = [
            (source, node)
            for source in self.files
            for node in ast.walk(source.tree)
            if isinstance(node, ast.ClassDef)
        ]
        derived = {*self.bases}
        while more := {node.name for _, node in classes if _names(node.bases) & derived} - derived:
            derived |= more
        return [
            Model(node.name, _table(node), source.module)
            for source, node in classes
            if node.name not in self.bases
            and (_is_sqlmodel(node) or (node.name in derived and not _is_abstract(node)))
        ]

    def classes(self, name: str) -> list[Source]:
        """The files that define a class of that name."""
        return [
            source
            for source in self.files
            if any(isinstance(node, ast.ClassDef) and node.name == name for node in source.tree.body)
        ]


def _names(expressions: list[ast.expr]) -> set[str]:
    return {ast.unparse(one).rpartition(".")[2] for one in expressions}


def _assigned(node: ast.ClassDef, name: str) -> ast.expr | None:
    for one in node.body:
        if isinstance(one, ast.Assign) and any(ast.unparse(target) == name for target in one.targets):
            return one.value
        if isinstance(one, ast.AnnAssign) and ast.unparse(one.target) == name:
            return one.value
    return None


def _table(node: ast.ClassDef) -> str | None:
    value = _assigned(node, "__tablename__")
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    return node.name.lower() if _is_sqlmodel(node) and value is None else None


def _is_sqlmodel(node: ast.ClassDef) -> bool:
    return any(k.arg == "table" and getattr(k.value, "value", None) is True for k in node.keywords)


def _is_abstract(node: ast.ClassDef) -> bool:
    return getattr(_assigned(node, "__abstract__"), "value", False) is True
