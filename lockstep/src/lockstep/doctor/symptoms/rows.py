"""Symptoms of rows that are there, and of sessions that hold them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from lockstep.doctor.diagnosis import Cure, symptom
from lockstep.doctor.revisions import calls_in, is_constant, option

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

    from lockstep.doctor.case import Case
    from lockstep.doctor.revisions import Operation


@symptom(
    "nulls-under-not-null",
    r'column "(?P<column>[^"]+)" of relation "(?P<table>[^"]+)" contains null values',
)
def nulls_under_not_null(case: Case, said: re.Match[str] | None) -> Iterator[Cure]:
    """A NOT NULL column is added to a table with rows, or set on a column that has NULLs."""
    told = False
    for file in case.pending:
        for operation in file.operations("add_column", "alter_column"):
            meant = said is not None and (operation.table, operation.column) == (
                said["table"], said["column"],
            )  # fmt: skip
            for cure in (
                _added(case, operation, meant=meant)
                if operation.name == "add_column"
                else _set(case, operation, meant=meant)
            ):
                told = True
                yield cure
    if said and not told:
        table, column = said["table"], said["column"]
        yield Cure(
            f"rows of {table} have no value for {column}",
            f"op.execute('UPDATE {table} SET {column} = … WHERE {column} IS NULL')",
            "in the revision, before the column becomes NOT NULL",
        )


def _added(case: Case, operation: Operation, *, meant: bool) -> Iterator[Cure]:
    column = next(calls_in(operation.call.args[1:], "Column"), None)
    if column is None or not is_constant(option(column, "nullable"), value=False):
        return
    if option(column, "server_default") is not None or any(calls_in([column], "Identity", "Computed")):
        return
    table, name = operation.table, operation.column
    if not meant and not _has_rows(case, table):
        return
    what = f"{table} has rows, and revision {operation.file.revision} adds {name} NOT NULL without a default"
    refers = any(calls_in([column], "ForeignKey")) or any(
        name in ast.unparse(key.call) for key in operation.file.operations("create_foreign_key")
    )
    default = None if refers else _default(column)
    if default:
        yield Cure(what, default, f"{operation.where()}, in sa.Column({name!r}, …)")
        return
    arguments = [ast.unparse(each) for each in column.args]
    keywords = [f"{k.arg}={ast.unparse(k.value)}" for k in column.keywords if k.arg != "nullable"]
    added = ", ".join([*arguments, *keywords, "nullable=True"])
    yield Cure(
        f"{what}, and no constant would do: add it, fill it in, then forbid NULLs",
        f"op.add_column({table!r}, sa.Column({added}))\n"
        f'op.execute("UPDATE {table} SET {name} = …")\n'
        f"op.alter_column({table!r}, {name!r}, nullable=False)",
        f"{operation.where()}, in place of op.add_column(…); what stands for … you know",
    )


#: What a new column of a type may begin with.
_BEGIN = {
    "String": "''", "Text": "''", "AutoString": "''", "Unicode": "''", "Integer": "'0'", "BigInteger": "'0'",
    "SmallInteger": "'0'", "Float": "'0'", "Numeric": "'0'", "Boolean": "sa.false()",
    "DateTime": "sa.func.now()", "TIMESTAMP": "sa.func.now()", "Date": "sa.func.current_date()",
    "JSONB": "'{}'", "JSON": "'{}'",
}  # fmt: skip


def _default(column: ast.Call) -> str | None:
    kind = ast.unparse(column.args[1]).partition("(")[0].rpartition(".")[2] if len(column.args) > 1 else ""
    return f"server_default={_BEGIN[kind]}" if kind in _BEGIN else None


def _set(case: Case, operation: Operation, *, meant: bool) -> Iterator[Cure]:
    if not is_constant(option(operation.call, "nullable"), value=False):
        return
    table, column = operation.table, operation.column
    database = case.database
    count = (
        database.nulls(table, column) if database and (table, column) in database.columns else 0
    )  # fmt: skip
    if count or meant:
        yield Cure(
            f"{count or 'some'} rows of {table} have no {column}, and revision {operation.file.revision} "
            "makes it NOT NULL",
            f'op.execute("UPDATE {table} SET {column} = … WHERE {column} IS NULL")',
            f"{operation.where()}, above op.alter_column(…); what stands for … you know",
        )


def _has_rows(case: Case, table: str) -> bool:
    database = case.database
    return database is not None and table in {t for t, _ in database.columns} and database.has_rows(table)


@symptom("it-hangs", r"canceling statement due to lock timeout", r"(?i)lock timeout", r"deadlock detected")
def it_hangs(case: Case, _said: re.Match[str] | None) -> Iterator[Cure]:
    """A session waits for a lock that another one holds."""
    if case.database is None:
        return
    told = set()
    for row in case.database.waiting():
        if row.pid in told:
            continue
        told.add(row.pid)
        who = f"{row.usename or 'another role'}{f' ({row.application_name})' if row.application_name else ''}"
        doing = {"idle in transaction": "sits in an open transaction"}.get(
            row.state or "", f"is {row.state}" if row.state else "does what this role may not see"
        )
        yield Cure(
            f"session {row.waiter} waits for a lock{f' on {row.relation}' if row.relation else ''} that "
            f"session {row.pid} of {who} holds, which {doing} since {row.age} s; commit or close it there, "
            "or end it",
            f"SELECT pg_terminate_backend({row.pid});",
            "in psql",
        )


SYMPTOMS = (it_hangs, nulls_under_not_null)
