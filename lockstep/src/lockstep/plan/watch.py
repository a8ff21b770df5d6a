"""Watching a revision's statements in a scratch database: what each locks, rewrites, reads and changes.

Looked at after each statement, in its transaction: ``pg_locks`` of the session, the file that each locked
relation lies in, and how often it was read from one end to the other.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lockstep.operations.register import announced_to
from lockstep.plan import statement as said
from lockstep.plan.operation import MODES, Change, Effect, Lock, PlannedOperation, TableName
from lockstep.plan.relations import Relation, changes, relations
from lockstep.postgres.syntax import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.operations import ops
    from sqlalchemy.engine import Connection

_LOOK = """
SELECT extract(epoch FROM now())::float8, l.relation::int8, l.mode,
       coalesce(pg_relation_filenode(l.relation), 0)::int8, pg_stat_get_xact_numscans(l.relation)::int8,
       array_to_string(current_schemas(false), ',')
FROM (SELECT pg_stat_force_next_flush()) f LEFT JOIN pg_locks l
     ON l.locktype = 'relation' AND l.pid = pg_backend_pid() AND l.relation >= 16384
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

#: What pg_locks calls each mode.
_SPELT = {mode.title().replace(" ", "") + "Lock": mode for mode in MODES}

#: Statements that touch no table.
_QUIET = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "SET", "START")


class Watch:
    """What the revisions that run on a connection do, an operation at a time, in their order."""

    def __init__(
        self, connection: Connection, version_table: str, schema: str | None, *, steps: bool = False
    ) -> None:
        self._steps = steps
        """Whether Lockstep runs them: what it asks and writes down for itself is left out."""
        self._step = ""
        self.operations: list[PlannedOperation] = []
        self._connection = connection
        own = TableName(schema or self._current_schema(), version_table)
        self._known: dict[int, Relation] = relations(self._ask, own)
        self._names = {(one.table.schema, one.index or one.table.name): one for one in self._known.values()}
        self._revision = self._direction = ""
        self._operation: ops.MigrateOperation | None = None
        self._effects: list[Effect] = []
        self._at: float | None = None
        self._transaction = 0
        self._held: dict[int, str] = {}
        self._scanned: dict[int, int] = {}
        self._wrapped = False
        self._path = self._ask(_LOOK)[0][5]

    def tables(self) -> dict[int, TableName]:
        """The tables by their numbers in this database."""
        return {oid: one.table for oid, one in self._known.items() if one.kind in {"r", "m"}}

    @contextmanager
    def revision(self, revision: str, direction: str) -> Iterator[None]:
        """Watch what is sent in the block."""
        self._revision, self._direction = revision, direction
        hooks = (("before_cursor_execute", self._before), ("after_cursor_execute", self._after))
        for name, hook in hooks:
            sa.event.listen(self._connection, name, hook)
        try:
            with announced_to(self._operating):
                yield
        finally:
            for name, hook in hooks:
                sa.event.remove(self._connection, name, hook)
            self._end_operation()

    @contextmanager
    def _operating(self, operation: ops.MigrateOperation) -> Iterator[None]:
        if self._operation is not None:
            yield
            return
        self._end_operation()
        self._operation = operation
        try:
            yield
        finally:
            self._end_operation()
            self._operation = None

    def _end_operation(self) -> None:
        effects, self._effects = tuple(self._effects), []
        if self._steps:
            effects = tuple(one for one in effects if one.step or _is_seen(one))
        if not effects and not (self._steps and self._operation is not None):
            return
        own = type(self._operation).__name__ == "ExecuteSQLOp"
        self.operations.append(
            PlannedOperation(
                self._revision,
                self._direction,
                None if own else self._operation,
                tuple(effect.sql for effect in effects),
                self._table_of(effects),
                self._path,
                effects,
            )
        )

    def _table_of(self, effects: tuple[Effect, ...]) -> TableName | None:
        """The table that is locked most, the one that the statement names first where there are several."""
        strongest: tuple[int, TableName] | None = None
        for effect in effects:
            named = [name for _, fields in said.trees(effect.sql) for name in said.relations_of(fields)]
            for schema, name in named:
                known = self._find(schema, name)
                if known is not None and known.kind != "S":
                    return known.table
            for lock in effect.locks:
                strength = MODES.index(lock.mode)
                if strongest is None or strength > strongest[0]:
                    strongest = strength, lock.table
        return strongest[1] if strongest else None

    def _find(self, schema: str | None, name: str) -> Relation | None:
        if schema is not None:
            return self._names.get((schema, name))
        for path in self._path.split(","):
            if (path, name) in self._names:
                return self._names[path, name]
        return None

    # -- statements ------------------------------------------------------------------------------------

    def _before(
        self,
        connection: Connection,
        _cursor: Any,
        statement: str,
        _parameters: Any,
        _context: Any,
        _many: bool,  # noqa: FBT001  # SQLAlchemy's signature
    ) -> None:
        self._wrapped = False
        if (
            not self._is_left_out(statement)
            and not _is_quiet(statement)
            and _is_idle(connection)
            and said.may_be_in_transaction(statement)
        ):
            self._run("BEGIN")
            self._wrapped = True

    def _after(
        self,
        connection: Connection,
        _cursor: Any,
        statement: str,
        parameters: Any,
        _context: Any,
        _many: bool,  # noqa: FBT001  # SQLAlchemy's signature
    ) -> None:
        if self._is_left_out(statement):
            return
        text = said.written(statement, parameters, connection.dialect.paramstyle)
        if self._operation is None:
            self._end_operation()
        if _is_quiet(statement):
            self._note(Effect(text, transaction=self._transaction))
            return
        self._note(self._effect(text, alone=not self._wrapped and _is_idle(connection)))
        if self._wrapped:
            self._run("COMMIT")

    def _is_left_out(self, statement: str) -> bool:
        """Whether it is what Lockstep asks, or its ledger."""
        return self._steps and (
            _is_quiet(statement)
            or statement.lstrip()[:6].upper() == "SELECT"
            or any(
                schema == "lockstep"
                for _, fields in said.trees(statement)
                for schema, _ in said.relations_of(fields)
            )
        )

    def hear(self, event: dict[str, Any]) -> None:
        """An event of Lockstep's: the statements that follow belong to that step."""
        if event["event"] == "step_started":
            self._step = event["step"]
            self._note(Effect("", transaction=self._transaction))
        elif event["event"] in {"step_finished", "step_failed"}:
            self._step = ""

    def _note(self, effect: Effect) -> None:
        self._effects.append(replace(effect, step=self._step))

    def _effect(self, text: str, *, alone: bool) -> Effect:
        found = self._ask(_LOOK)
        self._path = found[0][5]
        if found[0][0] != self._at:
            self._at = found[0][0]
            self._transaction += 1
            self._held.clear()
            self._scanned.clear()
        trees = said.trees(text)
        if alone:
            return self._by_the_manual(text, trees)
        locks: dict[int, str] = {}
        for _, oid, spelt, *_ in found:
            mode = _SPELT.get(spelt or "")
            if oid in self._known and mode and _stronger(mode, locks.get(oid)):
                locks[oid] = mode
        new = {oid: mode for oid, mode in locks.items() if _stronger(mode, self._held.get(oid))}
        self._held |= new
        rewritten, scanned = self._files(found), self._scans(found)
        kinds = {name for name, _ in trees}
        if kinds == {"TruncateStmt"}:
            rewritten = []
        return Effect(
            text,
            tuple(self._lock(oid, mode) for oid, mode in new.items()),
            tuple(dict.fromkeys(rewritten)),
            tuple(dict.fromkeys(one for one in scanned if one not in rewritten)),
            tuple(self._changes(locks, trees)),
            self._transaction,
            bool(kinds & said.WRITES_ROWS),
        )

    def _lock(self, oid: int, mode: str) -> Lock:
        return Lock(self._known[oid].table, mode, self._known[oid].index)

    def _files(self, found: list[Any]) -> list[TableName]:
        """The tables that lie in another file than before."""
        rewritten = []
        for oid, node in {(row[1], row[3]) for row in found}:
            one = self._known.get(oid)
            if one is not None and node and node != one.filenode:
                one.filenode = node
                if one.index is None and one.kind in {"r", "m"}:
                    rewritten.append(one.table)
        return sorted(rewritten)

    def _scans(self, found: list[Any]) -> list[TableName]:
        scanned = []
        for oid, count in {(row[1], row[4] or 0) for row in found}:
            one = self._known.get(oid)
            if one is None or count <= self._scanned.get(oid, 0):
                continue
            self._scanned[oid] = count
            if one.index is None and one.kind in {"r", "m"}:
                scanned.append(one.table)
        return sorted(scanned)

    def _changes(self, locks: dict[int, str], trees: tuple[Any, ...]) -> Iterator[Change]:
        exclusive = [self._known[oid] for oid, mode in locks.items() if mode == "ACCESS EXCLUSIVE"]
        yield from changes(self._ask, exclusive)
        for one in exclusive:
            if one.index is None and not one.columns and one.kind in {"r", "p", "m", "v", "f"}:
                self._known.pop(one.oid, None)
        for name, fields in trees:
            if name in said.LOSES_ROWS:
                for schema, table in said.relations_of(fields)[: None if name == "TruncateStmt" else 1]:
                    if (known := self._find(schema, table)) is not None:
                        does = "deletes rows of" if name == "DeleteStmt" else "empties"
                        yield Change(known.table, f"{does} {known.now}", loses=True)

    def _by_the_manual(self, text: str, trees: tuple[Any, ...]) -> Effect:
        """What runs in several transactions (CONCURRENTLY) has let go of its locks when it is done."""
        self._transaction += 1
        tables: list[Relation] = []
        full = False
        for name, fields in trees:
            if said.is_concurrent(name, fields):
                full = name == "VacuumStmt" and any(
                    one["defname"] == "full" for one in nodes(fields.get("options"), "DefElem")
                )
                found = [self._find(schema, relation) for schema, relation in said.relations_of(fields)]
                tables += [one for one in found if one is not None]
        mode = "ACCESS EXCLUSIVE" if full else "SHARE UPDATE EXCLUSIVE"
        reads = any(name in {"IndexStmt", "ReindexStmt", "VacuumStmt"} for name, _ in trees)
        names = tuple(dict.fromkeys(one.table for one in tables))
        return Effect(
            text,
            tuple(Lock(name, mode) for name in names),
            names if full else (),
            names if reads and not full else (),
            transaction=self._transaction,
        )

    # -- asking ----------------------------------------------------------------------------------------

    def _ask(self, statement: str) -> list[Any]:
        """Over the driver's own cursor, so that nobody hears it."""
        with closing(self._connection.connection.cursor()) as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def _run(self, statement: str) -> None:
        with closing(self._connection.connection.cursor()) as cursor:
            cursor.execute(statement)

    def _current_schema(self) -> str:
        return str(self._ask("SELECT current_schema()")[0][0])


def _stronger(mode: str, than: str | None) -> bool:
    return than is None or MODES.index(mode) > MODES.index(than)


def _is_seen(effect: Effect) -> bool:
    """Whether it locks, reads or changes what was there; what Lockstep tries on a copy does not."""
    locks = any(lock.mode != "ACCESS SHARE" for lock in effect.locks)
    return bool(locks or effect.rewrites or effect.scans or effect.changes)


def _is_quiet(statement: str) -> bool:
    return statement.lstrip().upper().startswith(_QUIET)


def _is_idle(connection: Connection) -> bool:
    """Whether the driver's connection is in autocommit mode, and no transaction was begun by hand."""
    driver: Any = connection.connection.dbapi_connection
    if not getattr(driver, "autocommit", False):
        return False
    info = getattr(driver, "info", None)
    status = getattr(info, "transaction_status", 0)
    return int(status or 0) == 0
