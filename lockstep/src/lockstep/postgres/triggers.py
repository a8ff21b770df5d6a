"""Whether what Lockstep writes to a table fires the table's own triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.catalog import quote
from lockstep.scopes import is_firing

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table


def must_suppress_triggers(connection: Connection, table: Table, doing: str) -> bool:
    """Whether an UPDATE by Lockstep must keep the table's own triggers from firing, as plain Alembic would
    not have fired them; raise LockstepError where this role may not.

    A trigger UPDATE OF columns does not fire: none of them is set.
    """
    triggers = catalog.rows(
        connection,
        "SELECT tgname, tgenabled::text FROM pg_trigger WHERE tgrelid = %(oid)s AND NOT tgisinternal "
        "AND tgattr = '' AND tgenabled <> 'D' AND (tgtype & 16) <> 0 AND tgname NOT LIKE '~lockstep%%'",
        oid=table.oid,
    )
    ordinary = [row.tgname for row in triggers if row.tgenabled == "O"]
    # ENABLE ALWAYS fires whatever is set; ENABLE REPLICA fires just where the others are suppressed.
    others = [row.tgname for row in triggers if row.tgenabled == "A" or (row.tgenabled == "R" and ordinary)]
    if others and not is_firing():
        raise LockstepError(
            f"{table} has triggers that {doing} would fire, since they are ENABLE ALWAYS or REPLICA "
            f"({', '.join(others)}): let them fire: `with lockstep.firing():`"
        )
    if not ordinary:
        return False
    version = catalog.server_version(connection)
    allowed = catalog.scalar(
        connection,
        "SELECT has_parameter_privilege('session_replication_role', 'SET')"
        if version >= 15
        else "SELECT rolsuper FROM pg_roles WHERE rolname = current_user",
    )
    if not allowed:
        if is_firing():
            return False
        names = ", ".join(ordinary)
        user = quote(catalog.scalar(connection, "SELECT current_user"))
        raise LockstepError(
            f"{table} has triggers that {doing} would fire ({names}): "
            f"GRANT SET ON PARAMETER session_replication_role TO {user}, or let them fire: "
            "`with lockstep.firing():`"
        )
    return True
