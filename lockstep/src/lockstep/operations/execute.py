"""``op.execute``: SQL of the revision's own, run as it is written. What it does is found by parsing it."""

from __future__ import annotations

import hashlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from alembic.operations import ops
from sqlalchemy.exc import CompileError

from lockstep.archive.keep_table import undo_create_table
from lockstep.operations.execute_concurrently import concurrent_index
from lockstep.operations.register import Call, performs
from lockstep.postgres import catalog, syntax
from lockstep.postgres.catalog import qualified
from lockstep.postgres.functions import changes_nothing, makes_nobody_wait, only_touches_rows
from lockstep.postgres.heavy import refuse_heavy
from lockstep.postgres.shape import shape_of
from lockstep.postgres.statements import Classified, StatementKind, classify
from lockstep.revision.made import is_temporary
from lockstep.revision.session_state import refuse_reset
from lockstep.revision.together import large_table
from lockstep.steps.step import AsWritten

if TYPE_CHECKING:
    from lockstep.operations.register import Plan
    from lockstep.postgres.syntax import CreatedObject

log = logging.getLogger("alembic.lockstep")


def _name(operation: ops.ExecuteSQLOp) -> str:
    text = " ".join(str(operation.sqltext).split())
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"execute {text[:60]}{'…' if len(text) > 60 else ''} [{digest}]"


@performs(ops.ExecuteSQLOp, _name)
def execute(call: Call[ops.ExecuteSQLOp]) -> Any:
    """What only reads or writes rows may wait for its locks, since nobody waits for it meanwhile.

    Everything else has the short lock timeout, and is broken off where it holds a lock too long. What would
    read or rewrite a table under a lock that is not small is refused before it runs.

    What only sets something for the session is run as the revision's own statement, and each time: a process
    that goes on has another session.
    """
    if call.planning.offline:
        return call.perform(lambda: AsWritten(undo=None))
    classified = classify(_sql(call))
    refuse_reset(classified)
    if classified.error is not None:
        log.info(
            "%s: its SQL cannot be parsed (%s); it runs under the short lock timeout",
            call.name, classified.error,
        )  # fmt: skip
    if classified.kinds == {StatementKind.SESSION}:
        return call.as_written()
    session = tuple(one for one in classified.statements if one.kind is StatementKind.SESSION)
    call.migrator.transaction.state.suspect(classified)
    call.planning.note_written(classified)
    with call.migrator.unheard():
        patient = only_touches_rows(call.planning.connection, classified)
        blocks = not classified.waits_for_transactions and not makes_nobody_wait(
            call.planning.connection, classified
        )
        if call.planning.in_savepoint():
            _refuse_heavy(call, classified)
    return call.perform(
        lambda: _plan(call, classified),
        patient=patient,
        blocks=blocks,
        session=Classified(session) if session else None,
        shape=shape_of(classified),
    )


def _sql(call: Call[ops.ExecuteSQLOp]) -> str:
    """The text, as PostgreSQL gets it."""
    sql: Any = call.operation.sqltext
    if isinstance(sql, str):
        return sql.replace("\\:", ":")
    try:
        return call.planning.compile(sql)
    except CompileError:
        return str(sql)


def _plan(call: Call[ops.ExecuteSQLOp], classified: Classified) -> Plan:
    steps = concurrent_index(call.planning.connection, classified)
    if steps is not None:
        return steps
    _refuse_heavy(call, classified)
    return AsWritten(undo=_undo(call, classified))


def _refuse_heavy(call: Call[ops.ExecuteSQLOp], classified: Classified) -> None:
    refuse_heavy(call.planning.connection, call.name, classified, partial(large_table, call.planning))


_DROPS = {
    "table": "TABLE", "view": "VIEW", "materialized view": "MATERIALIZED VIEW", "sequence": "SEQUENCE",
    "index": "INDEX", "type": "TYPE", "domain": "DOMAIN",
}  # fmt: skip

_EXISTS = "SELECT to_regclass(%(name)s) IS NOT NULL OR to_regtype(%(name)s) IS NOT NULL"


def _undo(call: Call[ops.ExecuteSQLOp], classified: Classified) -> tuple[str, ...] | None:
    """Nothing for what changed nothing, or only rows of the revision's own tables; DROP for what it created.

    None otherwise: nobody knows what the rows, or the schema, were before.
    """
    connection = call.planning.connection
    undo: tuple[str, ...] = ()
    temporary = {created.name for created in classified.creates if created.temporary}
    for statement in classified.statements:
        alone = Classified((statement,))
        if changes_nothing(connection, alone) or _writes_new_tables(call, alone, temporary):
            continue
        if not statement.creates or statement.fields.get("replace"):
            return None
        for created in statement.creates:
            drop = _drop(call, created)
            if drop is None:
                return None
            undo = (*drop, *undo)
    return undo


def _writes_new_tables(call: Call[ops.ExecuteSQLOp], classified: Classified, temporary: set[str]) -> bool:
    """Whether it only writes rows of tables that the revision made, or of ``temporary`` ones."""
    if not only_touches_rows(call.planning.connection, classified):
        return False
    tree = {name: statement.fields for statement in classified.statements for name in statement.node[:1]}
    written = [node["relation"] for node in syntax.nodes(tree, *syntax.WRITERS)]
    return bool(written) and all(
        call.planning.is_created(table["relname"], table.get("schemaname"))
        or table["relname"] in temporary
        or is_temporary(call.planning.connection, table, call.migrator.transaction.state.temporary)
        for table in written
    )


def _drop(call: Call[ops.ExecuteSQLOp], created: CreatedObject) -> tuple[str, ...] | None:
    """What drops it; a table that has rows by then is kept."""
    name = qualified(created.name, created.schema)
    if created.kind not in _DROPS or not created.name:
        return None
    if created.if_not_exists and catalog.scalar(call.planning.connection, _EXISTS, name=name):
        return ()
    if created.kind == "table":
        return undo_create_table(call.planning, name)
    return (f"DROP {_DROPS[created.kind]} IF EXISTS {name}",)
