"""Symptoms of revision files: what fails when they run."""

from __future__ import annotations

import ast
import builtins
import shlex
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lockstep.doctor.diagnosis import Cure, symptom
from lockstep.doctor.revisions import calls_in, is_constant, option, string
from lockstep.doctor.sources import called, shown

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

    from lockstep.doctor.case import Case
    from lockstep.doctor.revisions import Operation, RevisionFile


@symptom("syntax-error", r"SyntaxError: ", r"IndentationError: ")
def syntax_error(case: Case, _said: re.Match[str] | None) -> Iterator[Cure]:
    """Alembic reads all revision files before it does anything."""
    for path, said in case.chain.unreadable:
        yield Cure(
            f"{shown(path)}, {said}; no revision can be run before that is mended",
            f"python -m py_compile {shlex.quote(shown(path))}",
        )


@symptom("name-error", r"NameError: name '(?P<name>\w+)' is not defined")
def name_error(case: Case, _said: re.Match[str] | None) -> Iterator[Cure]:
    """Autogenerate wrote a type's name, and not its import."""
    for file in case.chain.files.values():
        for name, dotted in _undefined(file.tree).items():
            yield Cure(
                f"{file} uses {dotted}, which it does not import (write the line into script.py.mako, too, "
                "for the revisions to come)",
                _import(case, name, dotted),
                f"in {file}, below its imports",
            )


#: What generated files use under a name of its own.
_USUAL = {
    "sa": "import sqlalchemy as sa",
    "op": "from alembic import op",
    "postgresql": "from sqlalchemy.dialects import postgresql",
    "Text": "from sqlalchemy import Text",
}


def _import(case: Case, name: str, dotted: str) -> str:
    if name in _USUAL:
        return _USUAL[name]
    if name == dotted:
        defined = case.sources.classes(name)
        return f"from {defined[0].module} import {name}" if defined else f"import {name}"
    known = {source.module for source in case.sources.files}
    parts = dotted.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:length])
        if module in known or _is_module(module):
            return f"import {module}"
    return f"import {name}"


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except Exception:  # noqa: BLE001  # the packages above it are imported, which may raise anything
        return False


def _undefined(tree: ast.Module) -> dict[str, str]:
    """The names that nothing in the file defines, each with what follows it: ``app.types.Money``."""
    defined = {*dir(builtins), "__file__", "__name__", "__doc__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            if any(alias.name == "*" for alias in node.names):
                return {}
            defined |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            defined.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            defined.add(node.id)
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            dotted = ast.unparse(node)
            first = dotted.partition(".")[0]
            if first.isidentifier() and first not in defined and len(dotted) > len(found.get(first, "")):
                found[first] = dotted
    return found


@symptom("concurrently-in-transaction", r"CONCURRENTLY cannot (?:run|be executed) inside a transaction block")
def concurrently_in_transaction(case: Case, said: re.Match[str] | None) -> Iterator[Cure]:
    """PostgreSQL builds an index so only outside of a transaction, and Alembic opens one."""
    if case.adopted and not said:
        return  # Lockstep ends the transaction itself
    for file in case.pending:
        outside = {
            id(node)
            for block in ast.walk(file.tree)
            if isinstance(block, ast.With) and "autocommit_block" in ast.unparse(block.items[0])
            for node in ast.walk(block)
        }
        for operation in file.operations("create_index", "drop_index", "execute"):
            if id(operation.call) not in outside and _is_concurrent(operation):
                yield Cure(
                    f"revision {file.revision} says CONCURRENTLY inside Alembic's transaction",
                    f"with op.get_context().autocommit_block():\n    {ast.unparse(operation.call)}",
                    f"{operation.where()}, in place of {called(operation.call)}(…)",
                )


def _is_concurrent(operation: Operation) -> bool:
    if operation.name == "execute":
        return "concurrently" in ast.unparse(operation.call).lower()
    return is_constant(option(operation.call, "postgresql_concurrently"), value=True)


@symptom("type-already-exists", r'type "(?P<name>[^"]+)" already exists')
def type_already_exists(case: Case, said: re.Match[str] | None) -> Iterator[Cure]:
    """An enum outlives the table that a downgrade dropped; or two revisions create the same one."""
    if case.database is None:
        if said:
            yield _drop(said["name"], "")
        return
    for file in case.pending:
        for operation, call, name in _created_types(file):
            if name not in case.database.types:
                continue
            if not case.database.types[name]:
                yield _drop(name, f", and {file}, line {operation.line} would create it")
                continue
            arguments = [ast.unparse(one) for one in call.args]
            yield Cure(
                f"the type {name} is there already and used, and revision {file.revision} would create it",
                f"postgresql.ENUM({', '.join(arguments)}, name={name!r}, create_type=False)",
                f"in {file}, line {call.lineno}, in place of {called(call)}(…); above "
                "`from sqlalchemy.dialects import postgresql`",
            )


def _drop(name: str, also: str) -> Cure:
    return Cure(
        f"the type {name} is there already and no column has it{also}: dropping a table leaves its enum "
        f'(write op.execute("DROP TYPE {name}") into that downgrade())',
        f'DROP TYPE "{name}";',
        "in psql",
    )


def _created_types(file: RevisionFile) -> Iterator[tuple[Operation, ast.Call, str]]:
    for operation in file.operations("create_table"):
        for call in calls_in(operation.call.args, "Enum", "ENUM"):
            name = string(option(call, "name"))
            if name and not is_constant(option(call, "create_type"), value=False):
                yield operation, call, name


SYMPTOMS = (syntax_error, name_error, type_already_exists, concurrently_in_transaction)
