"""Whether every row of a table can be written to, as a fill of Lockstep's does: asked before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.catalog import quote

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table


def refuse_unfillable(connection: Connection, table: Table, doing: str) -> None:
    """Raise LockstepError where PostgreSQL would not rewrite the table, or an UPDATE of all rows would fail,
    do something else, or leave some out. Reads the table where it has constraints NOT VALID.
    """
    holders = catalog.row_type_users(connection, table.oid)
    if holders:
        raise LockstepError(
            f"{table}: {doing} is not possible while rows of the table are kept in columns of its row type: "
            f"{', '.join(holders)}. Drop those columns, or give them another type, first"
        )
    rules = catalog.rows(
        connection,
        "SELECT rulename FROM pg_rewrite WHERE ev_class = %(oid)s AND ev_type = '2' AND ev_enabled <> 'D'",
        oid=table.oid,
    )
    for (name,) in rules:
        raise LockstepError(
            f"{table}: {doing} updates every row, and rule {name} makes something else of an UPDATE. "
            "Drop the rule first, or let the table be locked with `with lockstep.plain():`"
        )
    hidden = catalog.scalar(
        connection,
        "SELECT relrowsecurity AND relforcerowsecurity "
        "AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user) "
        "FROM pg_class WHERE oid = %(oid)s",
        oid=table.oid,
    )
    if hidden:
        raise LockstepError(
            f"{table}: {doing} updates every row, and row security is forced on its owner. Migrate as a role "
            "with BYPASSRLS, or let the table be locked with `with lockstep.plain():`"
        )
    _refuse_rows_that_break(connection, table, doing)


def _refuse_rows_that_break(connection: Connection, table: Table, doing: str) -> None:
    """A constraint NOT VALID lets old rows break it, but not be updated."""
    conditions = catalog.rows(
        connection,
        """
        SELECT k.conname, CASE k.contype WHEN 'c' THEN format('NOT (%%s)', pg_get_expr(k.conbin, k.conrelid))
                          ELSE format('%%I IS NULL', a.attname) END
        FROM pg_constraint k
        LEFT JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.contype = 'n' AND a.attnum = k.conkey[1]
        WHERE k.conrelid = %(oid)s AND k.contype IN ('c', 'n') AND NOT k.convalidated
          AND coalesce(to_jsonb(k)->>'conenforced', 'true') = 'true'
        ORDER BY 1
        """,
        oid=table.oid,
    )
    for name, condition in conditions:
        found = catalog.rows(
            connection,
            f"SELECT to_jsonb({quote(table.name)})::text FROM {table.sql} WHERE {condition} LIMIT 5",
        )
        if found:
            raise LockstepError(
                f"{table}: {doing} updates every row, and these break constraint {name}, which is NOT VALID: "
                f"{'; '.join(row[0][:300] for row in found)}. Put them right first"
            )
