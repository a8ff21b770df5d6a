"""Which tables a statement locks, and who holds locks in its way: known before it is sent.

The modes are those of the PostgreSQL manual, "Explicit Locking"; statements are read by PostgreSQL's own
parser (pglast).
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pglast import ast, parse_sql
from pglast.enums.parsenodes import AlterTableType, ConstrType, ObjectType
from pglast.parser import ParseError
from pglast.visitors import Visitor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"
SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
SHARE = "SHARE"
SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"

#: LOCK TABLE's numbers (LOCKMODE in storage/lockdefs.h) for the modes that block readers or writers.
_LOCK_TABLE = {5: SHARE, 6: SHARE_ROW_EXCLUSIVE, 7: "EXCLUSIVE", 8: ACCESS_EXCLUSIVE}

#: Which held modes (as pg_locks spells them) conflict with a wanted one.
_READS = ("AccessShareLock", "RowShareLock")
_WRITES = ("RowExclusiveLock",)
_CONFLICTS = {
    SHARE: (
        *_WRITES, "ShareUpdateExclusiveLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock",
    ),
    SHARE_ROW_EXCLUSIVE: (
        *_WRITES, "ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock",
        "AccessExclusiveLock",
    ),
}  # fmt: skip
_CONFLICTS["EXCLUSIVE"] = ("RowShareLock", *_CONFLICTS[SHARE_ROW_EXCLUSIVE])
_CONFLICTS[ACCESS_EXCLUSIVE] = ("AccessShareLock", *_CONFLICTS["EXCLUSIVE"])


class TableLock(NamedTuple):
    """A lock that a statement takes on a table or on the table of an index."""

    name: str
    """As in SQL, quoted, with its schema where the statement names one."""
    mode: str
    drops: bool = False
    """Whether the statement drops (of) the table: the other ends of its foreign keys are locked as well."""


@dataclass(frozen=True)
class Holder:
    """A transaction that holds a lock in the way of a wanted one."""

    pid: int | None
    """None: a prepared transaction."""
    transaction: str
    """The virtual transaction id: another one once the session begins its next transaction."""
    table: str
    user: str | None
    state: str | None
    age: float | None
    """Seconds since its transaction began; None where this role may not see that (pg_read_all_stats)."""
    is_vacuum: bool
    is_autovacuum: bool
    prevents_wraparound: bool
    statement: str | None


def locks_of(statement: str) -> list[TableLock]:
    """The locks that block readers or writers which a statement takes on tables that it names.

    Nothing for a statement that takes none, and for one that the parser does not know.
    """
    try:
        parsed = parse_sql(statement)
    except ParseError:
        return []
    found: dict[TableLock, None] = {}
    for raw in parsed:
        found.update(dict.fromkeys(_locks(raw.stmt)))
    return list(found)


def _locks(node: Any) -> Iterator[TableLock]:
    if isinstance(node, ast.AlterTableStmt):
        mode = _alter_mode(node)
        if mode != SHARE_UPDATE_EXCLUSIVE:
            drops = any(command.subtype in _DROPS for command in node.cmds or ())
            yield TableLock(_name(node.relation), mode, drops)
        yield from _referenced(node, SHARE_ROW_EXCLUSIVE)
    elif isinstance(node, ast.CreateStmt):
        yield from _referenced(node, SHARE_ROW_EXCLUSIVE)
    elif isinstance(node, ast.RenameStmt | ast.AlterObjectSchemaStmt | ast.AlterOwnerStmt):
        if getattr(node, "relation", None) is not None:
            yield TableLock(_name(node.relation), ACCESS_EXCLUSIVE)
    elif isinstance(node, ast.DropStmt) and not node.concurrent:
        if node.removeType in _TABLE_LIKE:
            for parts in node.objects or ():
                yield TableLock(".".join(_quoted(part.sval) for part in parts), ACCESS_EXCLUSIVE, drops=True)
        elif node.removeType in {ObjectType.OBJECT_TRIGGER, ObjectType.OBJECT_RULE, ObjectType.OBJECT_POLICY}:
            for parts in node.objects or ():
                yield TableLock(".".join(_quoted(part.sval) for part in parts[:-1]), ACCESS_EXCLUSIVE)
    elif isinstance(node, ast.IndexStmt) and not node.concurrent:
        yield TableLock(_name(node.relation), SHARE)
    elif isinstance(node, ast.CreateTrigStmt):
        yield TableLock(_name(node.relation), SHARE_ROW_EXCLUSIVE)
    elif isinstance(node, ast.RuleStmt):
        yield TableLock(_name(node.relation), ACCESS_EXCLUSIVE)
    elif isinstance(node, ast.CreatePolicyStmt | ast.AlterPolicyStmt):
        yield TableLock(_name(node.table), ACCESS_EXCLUSIVE)
    elif isinstance(node, ast.TruncateStmt):
        for relation in node.relations or ():
            yield TableLock(_name(relation), ACCESS_EXCLUSIVE)
    elif isinstance(node, ast.LockStmt) and node.mode in _LOCK_TABLE:
        for relation in node.relations or ():
            yield TableLock(_name(relation), _LOCK_TABLE[node.mode])
    elif isinstance(node, ast.ReindexStmt | ast.VacuumStmt | ast.ClusterStmt):
        yield from _maintenance(node)


_TABLE_LIKE = {
    ObjectType.OBJECT_TABLE, ObjectType.OBJECT_INDEX, ObjectType.OBJECT_VIEW, ObjectType.OBJECT_MATVIEW,
    ObjectType.OBJECT_SEQUENCE, ObjectType.OBJECT_FOREIGN_TABLE,
}  # fmt: skip

#: ALTER TABLE's forms that take less than ACCESS EXCLUSIVE (manual, ALTER TABLE).
_GENTLE = {
    AlterTableType.AT_ValidateConstraint, AlterTableType.AT_SetStatistics, AlterTableType.AT_ClusterOn,
    AlterTableType.AT_DropCluster, AlterTableType.AT_AttachPartition, AlterTableType.AT_SetOptions,
    AlterTableType.AT_ResetOptions,
}  # fmt: skip
_TRIGGERS = {
    AlterTableType.AT_EnableTrig, AlterTableType.AT_DisableTrig, AlterTableType.AT_EnableAlwaysTrig,
    AlterTableType.AT_EnableReplicaTrig, AlterTableType.AT_EnableTrigAll, AlterTableType.AT_DisableTrigAll,
    AlterTableType.AT_EnableTrigUser, AlterTableType.AT_DisableTrigUser,
}  # fmt: skip
_DROPS = {AlterTableType.AT_DropConstraint, AlterTableType.AT_DropColumn}
_STRENGTH = (SHARE_UPDATE_EXCLUSIVE, SHARE_ROW_EXCLUSIVE, ACCESS_EXCLUSIVE)


def _alter_mode(node: ast.AlterTableStmt) -> str:
    """The strongest lock that any part of an ALTER TABLE takes on its table."""
    modes = [SHARE_UPDATE_EXCLUSIVE]
    for command in node.cmds or ():
        definition = command.def_
        if command.subtype in _GENTLE:
            continue
        adds_foreign_key = (
            command.subtype == AlterTableType.AT_AddConstraint
            and isinstance(definition, ast.Constraint)
            and definition.contype == ConstrType.CONSTR_FOREIGN
        )
        modes.append(
            SHARE_ROW_EXCLUSIVE if adds_foreign_key or command.subtype in _TRIGGERS else ACCESS_EXCLUSIVE
        )
    return max(modes, key=_STRENGTH.index)


def _maintenance(node: ast.ReindexStmt | ast.VacuumStmt | ast.ClusterStmt) -> Iterator[TableLock]:
    options = {
        option.defname for option in (getattr(node, "options", None) or getattr(node, "params", None) or ())
    }
    if isinstance(node, ast.ReindexStmt) and "concurrently" not in options and node.relation is not None:
        yield TableLock(_name(node.relation), SHARE)
    if isinstance(node, ast.ClusterStmt) and node.relation is not None:
        yield TableLock(_name(node.relation), ACCESS_EXCLUSIVE)
    if isinstance(node, ast.VacuumStmt) and "full" in options:
        for relation in node.rels or ():
            yield TableLock(_name(relation.relation), ACCESS_EXCLUSIVE)


def _referenced(node: Any, mode: str) -> Iterator[TableLock]:
    """The tables that a new foreign key refers to."""
    found: list[TableLock] = []

    class References(Visitor):
        def visit_Constraint(self, _ancestors: Any, constraint: Any) -> None:  # noqa: N802
            if constraint.contype == ConstrType.CONSTR_FOREIGN and constraint.pktable is not None:
                found.append(TableLock(_name(constraint.pktable), mode))

    References()(node)
    yield from found


def _name(relation: Any) -> str:
    parts = (relation.schemaname, relation.relname)
    return ".".join(_quoted(part) for part in parts if part)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_HOLDERS = """
SELECT l.pid, l.virtualtransaction, l.relation::regclass::text, a.usename::text, a.state,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8, v.pid IS NOT NULL,
       coalesce(a.backend_type = 'autovacuum worker', false),
       coalesce(a.query LIKE 'autovacuum:%%to prevent wraparound%%', false), a.query
FROM (
    -- An index is locked together with its table, what is dropped together with the other ends of its keys.
    SELECT DISTINCT r.relation, w.conflicts
    FROM unnest(%(names)s::text[], %(conflicts)s::text[], %(drops)s::bool[]) w(name, conflicts, drops)
    JOIN pg_class c ON c.oid = to_regclass(w.name) LEFT JOIN pg_index i ON i.indexrelid = c.oid
    CROSS JOIN LATERAL (
        SELECT c.oid AS relation
        UNION ALL SELECT i.indrelid WHERE i.indrelid IS NOT NULL
        UNION ALL SELECT unnest(ARRAY[k.conrelid, k.confrelid]) FROM pg_constraint k
        WHERE w.drops AND k.contype = 'f' AND c.oid IN (k.conrelid, k.confrelid)
    ) r
) w
JOIN pg_locks l ON l.locktype = 'relation' AND l.relation = w.relation
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.mode = ANY (string_to_array(w.conflicts, ','))
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_stat_progress_vacuum v ON v.pid = l.pid
WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
"""


def holders(connection: Connection, wanted: list[TableLock]) -> list[Holder]:
    """Who holds locks that conflict with those wanted. Locks nothing; waits for nobody.

    Asked over the driver's own cursor: it may be called while SQLAlchemy is about to send a statement.
    """
    if not wanted:
        return []
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(
            _HOLDERS,
            {
                "names": [lock.name for lock in wanted],
                "conflicts": [",".join(_CONFLICTS.get(lock.mode, ())) for lock in wanted],
                "drops": [lock.drops for lock in wanted],
            },
        )
        return list({row[1]: Holder(*row) for row in cursor.fetchall()}.values())
