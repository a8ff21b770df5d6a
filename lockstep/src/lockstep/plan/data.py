"""The data of the real database, asked before the first statement runs: what a pending one would fail on.

Nothing is written. Pending statements are read by PostgreSQL's parser and followed in their order, so that a
question is about what a table will hold by then, as far as that can be known.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from lockstep.plan import columns, constraints, objects
from lockstep.plan.asking import Asking
from lockstep.plan.finding import Finding, Kind
from lockstep.plan.pending import EVERYTHING, Pending, columns_of, expression
from lockstep.plan.reading import NotLookedAtError, Reader, meaning
from lockstep.postgres.statements import Statement, StatementKind, classify
from lockstep.postgres.syntax import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy.engine import Connection

    from lockstep.plan.operation import PlannedOperation
    from lockstep.plan.pending import PendingTable
    from lockstep.postgres.syntax import Node

__all__ = ["Finding", "Kind", "findings"]

#: How long one question may take, in seconds, and how large the tables may be that it is put to, in bytes.
STATEMENT_TIMEOUT = 60.0
LARGEST = 100 * 2**30


def findings(
    connection: Connection,
    operations: Iterable[PlannedOperation],
    *,
    statement_timeout: float = STATEMENT_TIMEOUT,
    largest: int | None = LARGEST,
) -> list[Finding]:
    """What stands in the way of pending operations, in their order; what is not known or was not looked at
    is said, too. For a role that may only read.
    """
    reader = Reader(connection, statement_timeout, largest)
    found: list[Finding] = []
    pending = Pending(connection)
    for operation in operations:
        for sql in operation.sql:
            for statement in classify(sql).statements:
                asking = Asking(operation.revision, statement.text, pending, reader, found)
                with reader.reading(operation.search_path):
                    pending.look_in(operation.search_path)
                    try:
                        _ask(asking, statement, reads_rows=operation.operation is None)
                    except DBAPIError as error:
                        _not_looked_at(asking, error, statement_timeout)
    return found


def _ask(asking: Asking, statement: Statement, *, reads_rows: bool) -> None:
    node, fields = statement.node[0], statement.fields
    if statement.in_block and statement.kind is not StatementKind.UNKNOWN:
        _in_block(asking, statement)
        return
    if statement.kind is StatementKind.UNKNOWN:
        asking.pending.unfollowed = (
            f"revision {asking.revision} runs SQL first that cannot be followed ({_start(statement.text)})"
        )
    elif statement.kind is StatementKind.WRITES_ROWS:
        _write(asking, node, fields)
    elif statement.kind is StatementKind.READS:
        if reads_rows:
            _may_be_changed(asking, fields)
    elif node in _STATEMENTS:
        _STATEMENTS[node](asking, fields)
    for created in statement.creates:
        objects.create(asking, created, fields)


def _in_block(asking: Asking, statement: Statement) -> None:
    """A statement in a DO block: it may run or not. What it names is in doubt."""
    if statement.kind is StatementKind.READS:
        return
    for created in statement.creates:
        objects.create(asking, replace(created, if_not_exists=True), statement.fields)
    for relation in objects.has_relation(statement.fields):
        if table := asking.pending.named_by(relation):
            table.in_doubt = True
            table.unknown.setdefault(
                EVERYTHING, f"revision {asking.revision} may change {table.label} first, in a DO block"
            )


def _not_looked_at(asking: Asking, error: DBAPIError, timeout: float) -> None:
    """The catalog itself could not be read: others hold the table."""
    why = meaning(error, timeout)
    if not isinstance(why, NotLookedAtError):
        raise error
    start = _start(asking.statement)
    asking.add(Kind.NOT_LOOKED_AT, "", f"whether this goes through was not looked at: {start}: {why}")
    asking.pending.unfollowed = f"revision {asking.revision} runs {start} first, which was not looked at"


def _start(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) < 60 else line[:60] + " …"


def _write(asking: Asking, node: str, fields: Node) -> None:
    """INSERT, UPDATE, DELETE: what the table holds afterwards, where it can be said as an expression."""
    relation = fields.get("relation")
    table = asking.pending.named_by(relation) if relation else None
    if table is None:
        _may_be_changed(asking, fields)
        return
    where = fields.get("whereClause")
    others = {"fromClause", "usingClause", "withClause"} & fields.keys()
    if node == "UpdateStmt":
        _update(asking, table, fields, where, followed=not others)
    elif node == "DeleteStmt" and not others and asking.pending.can_be_followed(where):
        if not table.why_unknown(columns_of(where, table)):
            table.keep_only(f"({expression(where)}) IS NOT TRUE" if where else "false")
    else:
        table.unknown[EVERYTHING] = f"revision {asking.revision} changes rows of {table.label} first"


def _update(asking: Asking, table: PendingTable, fields: Node, where: Node | None, *, followed: bool) -> None:
    targets = {one["ResTarget"]["name"]: one["ResTarget"].get("val") for one in fields["targetList"]}
    trees = [tree for tree in [where, *targets.values()] if tree]
    speaks_of = columns_of(trees, table)
    followed = followed and asking.pending.can_be_followed(*trees)
    if followed and not table.why_unknown(speaks_of) and targets.keys() <= table.types.keys():
        condition = f"({expression(where)})" if where else "true"
        table.compute(
            {
                name: f"CASE WHEN {condition} THEN CAST({_value(tree)} AS {table.types[name]}) "
                f'ELSE "{name}" END'
                for name, tree in targets.items()
            }
        )
        return
    for name in targets:
        table.unknown[name] = f"revision {asking.revision} changes {table.label}.{name} first"


def _value(tree: Node | None) -> str:
    return expression(tree) if tree and "SetToDefault" not in tree else "NULL"


def _may_be_changed(asking: Asking, fields: Node) -> None:
    """A revision that reads rows may change them, one by one."""
    for relation in objects.has_relation(fields):
        table = asking.pending.named_by(relation)
        if table and table.schema not in {"pg_catalog", "information_schema"}:
            table.unknown.setdefault(
                EVERYTHING, f"revision {asking.revision} reads {table.label} first, and may change its rows"
            )


def _alter_table(asking: Asking, fields: Node) -> None:
    if fields["objtype"] not in {"OBJECT_TABLE", "OBJECT_FOREIGN_TABLE"}:
        return
    table = asking.table(fields["relation"], missing_ok=bool(fields.get("missing_ok")))
    if table is None:
        return
    for command in (one["AlterTableCmd"] for one in fields["cmds"]):
        kind = command["subtype"]
        if kind in _COLUMNS:
            _COLUMNS[kind](asking, table, command)
        elif kind == "AT_AddConstraint":
            constraints.add(asking, table, command["def"]["Constraint"])
        elif kind == "AT_ValidateConstraint":
            constraints.validate(asking, table, command["name"])
        elif kind == "AT_DropConstraint":
            missing_ok = bool(command.get("missing_ok"))
            constraints.drop(asking, table, command["name"], missing_ok=missing_ok)


_COLUMNS: dict[str, Callable[[Asking, PendingTable, Node], None]] = {
    "AT_AddColumn": columns.add,
    "AT_DropColumn": columns.drop,
    "AT_SetNotNull": columns.set_not_null,
    "AT_AlterColumnType": columns.change_type,
    "AT_ColumnDefault": columns.has,
    "AT_DropNotNull": columns.has,
    "AT_SetStatistics": columns.has,
    "AT_SetStorage": columns.has,
}


def _create_index(asking: Asking, fields: Node) -> None:
    table = asking.table(fields["relation"])
    if table is None:
        return
    name = fields.get("idxname")
    if fields.get("if_not_exists") and name and asking.pending.find(name, table.schema):
        return
    if not name:
        asking.pending.implicit.add(table.name)
    if fields.get("unique"):
        constraints.unique_index(asking, table, fields)
        return
    for element in fields["indexParams"]:
        named = element["IndexElem"]
        wanted = columns_of(named["expr"], table) if "expr" in named else [named["name"]]
        gone = [column for column in wanted if table.types and column not in table.types]
        if gone and not asking.pending.unfollowed:
            asking.add(Kind.MISSING, table.label, f"{table.label} has no column {', '.join(gone)}")


def _alter_domain(asking: Asking, fields: Node) -> None:
    parts = names(fields["typeName"])
    if fields["subtype"] == "O":
        constraints.domain(asking, parts, None)
    elif fields["subtype"] == "C" and not fields["def"]["Constraint"].get("skip_validation"):
        constraints.domain(asking, parts, fields["def"]["Constraint"])
    elif fields["subtype"] == "V":
        constraints.validate_domain(asking, parts, fields["name"])


def _truncate(asking: Asking, fields: Node) -> None:
    for relation in objects.has_relation(fields["relations"]):
        if table := asking.pending.named_by(relation):
            table.unknown.pop(EVERYTHING, None)
            if table.source:
                table.keep_only("false")


_STATEMENTS: dict[str, Callable[[Asking, Any], None]] = {
    "AlterTableStmt": _alter_table,
    "IndexStmt": _create_index,
    "AlterDomainStmt": _alter_domain,
    "AlterEnumStmt": objects.alter_enum,
    "DropStmt": objects.drop,
    "RenameStmt": objects.rename,
    "AlterObjectSchemaStmt": objects.rename,
    "TruncateStmt": _truncate,
}
