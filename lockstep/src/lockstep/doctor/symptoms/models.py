"""Symptoms of the models: what autogenerate does not see, or takes for something else."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from lockstep.doctor.diagnosis import Cure, symptom
from lockstep.doctor.revisions import calls_in, string

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

    import sqlalchemy as sa

    from lockstep.doctor.case import Case
    from lockstep.doctor.revisions import RevisionFile


@symptom("empty-autogenerate", r"does not provide a MetaData object")
def empty_autogenerate(case: Case, said: re.Match[str] | None) -> Iterator[Cure]:
    """No target_metadata, or models in modules that nobody imports."""
    if case.database is None and said is None:
        return
    known = {table.name for one in case.metadata for table in one.tables.values()}
    missing = [model for model in case.sources.models if model.table and model.table not in known]
    if not missing:
        return
    modules = sorted({model.module for model in missing})
    names = ", ".join(sorted(model.name for model in missing))
    imports = [f"import {module}" for module in modules]
    if case.metadata:
        yield Cure(
            f"autogenerate does not see the models {names}: nobody imports {', '.join(modules)}, so that "
            "their tables are not in target_metadata (an empty revision, or one that drops their tables)",
            "\n".join(imports),
            f"in {case.env_name}, before target_metadata",
        )
        return
    base = next(iter(sorted(case.sources.bases.items())), None)
    imported, metadata = (
        (base[1], f"{base[1]}.{base[0]}.metadata") if base else ("sqlmodel", "sqlmodel.SQLModel.metadata")
    )
    yield Cure(
        f"target_metadata is None: autogenerate cannot compare the models {names} with the database",
        "\n".join([*dict.fromkeys([f"import {imported}", *imports]), f"target_metadata = {metadata}"]),
        f"in {case.env_name}, in place of `target_metadata = None`",
    )


@symptom("rename-as-drop-and-add", r"Detected removed column '(\w+)\.\w+'.*Detected added column '\1\.\w+'")
def rename_as_drop_and_add(case: Case, _said: re.Match[str] | None) -> Iterator[Cure]:
    """A column that goes and one of its type that comes: its values would be lost."""
    told = set()
    for file in case.pending:
        for table, old, new, line in _renames(file):
            told.add((table, old))
            yield Cure(
                f"revision {file.revision} drops {table}.{old} and adds {table}.{new} of the same type: if "
                "that is a rename, its values are lost",
                f'op.alter_column("{table}", "{old}", new_column_name="{new}")',
                f"in {file}, line {line}, in place of the two lines; the names swapped in downgrade()",
            )
    removed = [d for d in case.differences if d[0] == "remove_column"]
    added = [d for d in case.differences if d[0] == "add_column"]
    for _, _, table, old_column in removed:
        same = [d[3] for d in added if d[2] == table and _type(d[3]) == _type(old_column)]
        if len(same) == 1 and (table, old_column.name) not in told:
            yield Cure(
                f"the models have {table}.{same[0].name} where the database has {table}.{old_column.name} of "
                "the same type: autogenerate would drop one and add the other, and lose the values",
                f'op.alter_column("{table}", "{old_column.name}", new_column_name="{same[0].name}")',
                'in upgrade() of a new revision (`alembic revision -m "rename a column"`)',
            )


def _renames(file: RevisionFile) -> Iterator[tuple[str, str, str, int]]:
    """(table, old, new, line) of each pair in upgrade(), by the types that downgrade() gives back."""
    back = [n for n in file.tree.body if isinstance(n, ast.FunctionDef) and n.name == "downgrade"]
    types = {
        (string(call.args[0]), string(column.args[0])): ast.unparse(column.args[1])
        for call in calls_in(back, "add_column")
        for column in calls_in(call.args[1:], "Column")
        if len(column.args) > 1
    }
    added = file.operations("add_column")
    for drop in file.operations("drop_column"):
        before = types.get((drop.table, drop.column))
        same = [
            add
            for add in added
            if add.table == drop.table
            and any(
                len(column.args) > 1 and _bare(ast.unparse(column.args[1])) == _bare(before or "")
                for column in calls_in(add.call.args[1:], "Column")
            )
        ]
        if before and len(same) == 1:
            yield drop.table, drop.column, same[0].column, min(drop.line, same[0].line)


#: What reflection calls otherwise than models do.
_SAME = {
    "VARCHAR": "String",
    "TEXT": "Text",
    "INTEGER": "Integer",
    "BOOLEAN": "Boolean",
    "BIGINT": "BigInteger",
}


def _bare(expression: str) -> str:
    """A type without its module, and without what reflection adds."""
    called, _, arguments = expression.partition("(")
    name = called.rpartition(".")[2]
    return f"{_SAME.get(name, name)}({arguments.replace('autoincrement=False', '')}"


def _type(column: sa.Column[object]) -> str:
    return str(column.type).upper()


@symptom(
    "python-default",
    r'null value in column "(?P<column>[^"]+)" of relation "(?P<table>[^"]+)" violates not-null',
)
def python_default(case: Case, _said: re.Match[str] | None) -> Iterator[Cure]:
    """``default=`` of a model is Python's alone: the database has none for a NOT NULL column."""
    if case.database is None:
        return
    live = case.database.columns
    for metadata in case.metadata:
        for table in metadata.sorted_tables:
            for column in table.columns:
                if column.nullable or column.default is None or column.server_default is not None:
                    continue
                if not column.default.is_scalar:
                    continue
                there = live.get((table.name, column.name))
                if there is not None and (there.filled or not there.attnotnull):
                    continue
                value = server_default(column.default.arg)
                what = (
                    f"{table.name}.{column.name} is NOT NULL and has its default in Python alone: the "
                    "database knows none, for rows that are there or that others insert"
                )
                if there is None:
                    yield Cure(what, value, f"in the model of {table.name}, beside default=")
                else:
                    yield Cure(
                        what,
                        f'op.alter_column("{table.name}", "{column.name}", {value})',
                        'in upgrade() of a new revision (`alembic revision -m "server default"`), and '
                        f"{value} in the model",
                    )


def server_default(value: object) -> str:
    """A Python constant as the argument that a column takes."""
    if isinstance(value, bool):
        return f"server_default=sa.{str(value).lower()}()"
    return f"server_default={str(getattr(value, 'name', value))!r}"


SYMPTOMS = (empty_autogenerate, rename_as_drop_and_add, python_default)
