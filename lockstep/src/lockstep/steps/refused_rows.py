"""Which rows of a batch it is that PostgreSQL refuses to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.postgres.catalog import literal
from lockstep.postgres.session import execute, set_lock_timeout, sqlstate, transaction

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.steps.pace import Pace
    from lockstep.steps.pages import Pages
    from lockstep.steps.step import Fill

#: Classes of errors that are about one row's values and do not say which row.
_ABOUT_VALUES = frozenset({"22", "2F", "38", "39", "P0"})

#: By what the rows come back: an error of their own rolls back what was tried.
_FOUND = "lockstep: "

_BODY = """
#variable_conflict use_column
DECLARE lockstep_place tid; lockstep_line text; lockstep_found text[] := '{{}}';
BEGIN
    FOR lockstep_place, lockstep_line IN SELECT ctid, {line} FROM {table} AS lockstep_row WHERE {inside} LOOP
        BEGIN
            UPDATE {table} SET {assignments} WHERE ctid = lockstep_place AND ({predicate});
        EXCEPTION WHEN OTHERS THEN
            IF left(SQLSTATE, 2) = {state} THEN
                lockstep_found := lockstep_found || (lockstep_line || ' (' || SQLERRM || ')');
                EXIT WHEN cardinality(lockstep_found) = 5;
            END IF;
        END;
    END LOOP;
    RAISE EXCEPTION USING MESSAGE = {found} || array_to_string(lockstep_found, '; ');
END
"""


def name_refused(
    connection: Connection, pace: Pace, todo: Fill, pages: Pages, error: DBAPIError
) -> LockstepError | None:
    """The error with the rows of the batch whose values are refused, each tried alone; None where it is not
    about values, or none of them is refused any more.
    """
    state = (sqlstate(error) or "")[:2]
    if state not in _ABOUT_VALUES:
        return None
    own = "".join(f" - {literal(column)}" for column in todo.columns) if todo.parallel else ""
    body = _BODY.format(
        line=f"left((to_jsonb(lockstep_row){own})::text, 300)", table=todo.table, inside=pages.inside(),
        assignments=todo.assignments, predicate=todo.predicate, state=literal(state), found=literal(_FOUND),
    )  # fmt: skip
    try:
        with transaction(connection):
            set_lock_timeout(connection, pace.lock_timeout)
            if todo.without_triggers:
                execute(connection, "SET LOCAL session_replication_role = replica")
            execute(connection, f"DO {literal(body)}")
    except DBAPIError as tried:
        found = str(tried.orig).splitlines()[0]
    if not found.startswith(_FOUND) or found == _FOUND:
        return None
    table = todo.table.removeprefix("ONLY ")
    return LockstepError(
        f"{table}: {str(error.orig).splitlines()[0]}. These rows are in the way: {found.removeprefix(_FOUND)}"
    )
