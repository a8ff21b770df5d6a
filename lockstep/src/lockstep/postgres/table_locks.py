"""Which tables a statement locks, and who holds locks in its way: known before it is sent.

The modes are those of the PostgreSQL manual, "Explicit Locking"; statements are read by PostgreSQL's own
parser.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lockstep.postgres.catalog import qualified, quote
from lockstep.postgres.parser import ParseError, parse
from lockstep.postgres.syntax import names, nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

    from lockstep.postgres.syntax import Node

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


def no_stronger_than(mode: str) -> list[str]:
    """The modes that conflict with nothing that this one does not conflict with, itself among them."""
    return [one for one, conflicts in _CONFLICTS.items() if set(conflicts) <= set(_CONFLICTS[mode])]


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
        parsed = parse(statement)
    except ParseError:
        return []
    found: dict[TableLock, None] = {}
    for one in parsed:
        ((kind, node),) = one["stmt"].items()
        found.update(dict.fromkeys(_locks(kind, node)))
    return list(found)


#: Statements that take one lock on the table that the field names.
_ONE_TABLE = {
    "RenameStmt": ("relation", ACCESS_EXCLUSIVE),
    "AlterObjectSchemaStmt": ("relation", ACCESS_EXCLUSIVE),
    "AlterOwnerStmt": ("relation", ACCESS_EXCLUSIVE),
    "IndexStmt": ("relation", SHARE),
    "CreateTrigStmt": ("relation", SHARE_ROW_EXCLUSIVE),
    "RuleStmt": ("relation", ACCESS_EXCLUSIVE),
    "CreatePolicyStmt": ("table", ACCESS_EXCLUSIVE),
    "AlterPolicyStmt": ("table", ACCESS_EXCLUSIVE),
    "ReindexStmt": ("relation", SHARE),
    "ClusterStmt": ("relation", ACCESS_EXCLUSIVE),
}


def _locks(kind: str, node: Node) -> Iterator[TableLock]:
    options = {one["defname"] for one in nodes([node.get("params"), node.get("options")], "DefElem")}
    if node.get("concurrent") or "concurrently" in options:
        return
    if kind in _ONE_TABLE:
        field, mode = _ONE_TABLE[kind]
        if field in node:
            yield TableLock(_name(node[field]), mode)
    elif kind == "AlterTableStmt":
        commands = list(nodes(node.get("cmds"), "AlterTableCmd"))
        mode = max(map(_alter_mode, commands), key=_STRENGTH.index, default=SHARE_UPDATE_EXCLUSIVE)
        if mode != SHARE_UPDATE_EXCLUSIVE:
            drops = any(command["subtype"] in _DROPS for command in commands)
            yield TableLock(_name(node["relation"]), mode, drops)
        yield from _referenced(node)
    elif kind == "CreateStmt":
        yield from _referenced(node)
    elif kind == "DropStmt":
        parent = node["removeType"] in _OF_A_TABLE
        if parent or node["removeType"] in _TABLE_LIKE:
            for one in nodes(node["objects"], "List"):
                parts = names(one["items"])
                name = parts[:-1] if parent else parts
                yield TableLock(_quoted(name), ACCESS_EXCLUSIVE, drops=not parent)
    elif kind == "TruncateStmt":
        yield from (TableLock(_name(one), ACCESS_EXCLUSIVE) for one in nodes(node["relations"], "RangeVar"))
    elif kind == "LockStmt" and node["mode"] in _LOCK_TABLE:
        mode = _LOCK_TABLE[node["mode"]]
        yield from (TableLock(_name(one), mode) for one in nodes(node["relations"], "RangeVar"))
    elif kind == "VacuumStmt" and "full" in options:
        for one in nodes(node.get("rels"), "VacuumRelation"):
            yield TableLock(_name(one["relation"]), ACCESS_EXCLUSIVE)


_TABLE_LIKE = {
    "OBJECT_TABLE", "OBJECT_INDEX", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_SEQUENCE",
    "OBJECT_FOREIGN_TABLE",
}  # fmt: skip
_OF_A_TABLE = {"OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY"}

#: ALTER TABLE's forms that take less than ACCESS EXCLUSIVE (manual, ALTER TABLE).
_GENTLE = {
    "AT_ValidateConstraint", "AT_SetStatistics", "AT_ClusterOn", "AT_DropCluster", "AT_AttachPartition",
    "AT_SetOptions", "AT_ResetOptions",
}  # fmt: skip
_TRIGGERS = {
    "AT_EnableTrig", "AT_DisableTrig", "AT_EnableAlwaysTrig", "AT_EnableReplicaTrig", "AT_EnableTrigAll",
    "AT_DisableTrigAll", "AT_EnableTrigUser", "AT_DisableTrigUser",
}  # fmt: skip
_DROPS = {"AT_DropConstraint", "AT_DropColumn"}
_STRENGTH = (SHARE_UPDATE_EXCLUSIVE, SHARE_ROW_EXCLUSIVE, ACCESS_EXCLUSIVE)


def _alter_mode(command: Node) -> str:
    """The lock that a part of an ALTER TABLE takes on its table."""
    if command["subtype"] in _GENTLE:
        return SHARE_UPDATE_EXCLUSIVE
    added = command.get("def", {}).get("Constraint", {}) if command["subtype"] == "AT_AddConstraint" else {}
    if added.get("contype") == "CONSTR_FOREIGN" or command["subtype"] in _TRIGGERS:
        return SHARE_ROW_EXCLUSIVE
    return ACCESS_EXCLUSIVE


def _referenced(node: Node) -> Iterator[TableLock]:
    """The tables that a new foreign key refers to."""
    for constraint in nodes(node, "Constraint"):
        if constraint["contype"] == "CONSTR_FOREIGN" and "pktable" in constraint:
            yield TableLock(_name(constraint["pktable"]), SHARE_ROW_EXCLUSIVE)


def _name(relation: Node) -> str:
    return qualified(relation["relname"], relation.get("schemaname"))


def _quoted(parts: tuple[str, ...]) -> str:
    return ".".join(quote(part) for part in parts)


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
