"""What revisions are made of beside their own files: what they import and read, and what runs them."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
import sysconfig
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from importlib.util import resolve_name
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: The packages that decide what is sent for a revision.
_PACKAGES = ("alembic", "alembic-lockstep", "sqlalchemy")


def versions() -> dict[str, str]:
    """Of the packages that run a revision."""
    return {name: version(name) for name in _PACKAGES}


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def hashes(files: Iterable[Path], folder: str) -> dict[str, str]:
    """The SHA-256 of files, by their paths from a folder."""
    return {os.path.relpath(file, folder): file_hash(file) for file in sorted(files) if file.is_file()}


def imported(files: Iterable[str], root: Path) -> set[Path]:
    """The project's own files that these import, and those that they import in turn."""
    found: set[Path] = set()
    todo = [(Path(file), "") for file in files]
    while todo:
        path, package = todo.pop()
        for name in _names(path, package):
            module = sys.modules.get(name)
            # None of what is built in; None, too, of a folder that is a package without an __init__.py.
            file = Path(getattr(module, "__file__", None) or "built-in").absolute()
            if file.suffix == ".py" and file not in found and _is_own(file, root):
                found.add(file)
                todo.append((file, getattr(module, "__package__", None) or ""))
    return found


def _names(path: Path, package: str) -> Iterator[str]:
    """The modules that a file may import."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (package or not node.level):
            name = resolve_name("." * node.level + (node.module or ""), package or None)
            yield name
            yield from (f"{name}.{alias.name}" for alias in node.names)


def _is_own(file: Path, root: Path) -> bool:
    """Whether a file belongs to the project, and not to what is installed within its folder."""
    installed = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    return (
        file.is_relative_to(root)
        and "__pycache__" not in file.parts
        and not any(file.is_relative_to(folder) for folder in installed)
    )


_heard: list[set[str]] = []
"""Who asked for the files that are opened now."""


@cache
def _listen() -> None:
    """Hear of each file that this process opens; once, for Python has no way to stop it."""

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if _heard and event == "open" and isinstance(arguments[0], str) and not arguments[2] & os.O_ACCMODE:
            for each in _heard:
                each.add(arguments[0])

    sys.addaudithook(hear)


@contextmanager
def opened(root: Path) -> Iterator[set[Path]]:
    """The project's own files that are read in the block; complete at its end."""
    _listen()
    heard: set[str] = set()
    files: set[Path] = set()
    _heard.append(heard)
    try:
        yield files
    finally:
        _heard.remove(heard)
        files |= {path for name in heard if _is_own(path := Path(name).absolute(), root)}
