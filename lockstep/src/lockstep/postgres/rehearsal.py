"""Asking PostgreSQL itself what an operation would do: it is run on an empty temporary copy of the table, the
catalog is read, and everything is rolled back.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lockstep.postgres import catalog
from lockstep.postgres.catalog import quote
from lockstep.postgres.session import execute, set_lock_timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table


#: LIKE gives an identity column of whatever type a sequence of bigint, with the bounds of the column's type.
_COPIED = """
SELECT c.oid, ARRAY(
    SELECT format('ALTER SEQUENCE %%s AS %%s', d.objid::regclass, format_type(a.atttypid, NULL))
    FROM pg_attribute a JOIN pg_depend d ON d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
     AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_class'::regclass AND d.deptype = 'i'
    WHERE a.attrelid = c.oid AND a.attidentity <> '' AND a.atttypid <> 'bigint'::regtype) AS typed
FROM pg_class c WHERE c.oid = %(name)s::regclass
"""


class Copy:
    """An empty temporary copy of a table, of the same name, in what will be rolled back."""

    def __init__(self, connection: Connection, table: Table) -> None:
        self.connection = connection
        self.sql = f"pg_temp.{quote(table.name)}"
        execute(connection, f"CREATE TEMPORARY TABLE {quote(table.name)} (LIKE {table.sql} INCLUDING ALL)")
        found = catalog.rows(connection, _COPIED, name=self.sql)
        self.oid = int(found[0].oid)
        for statement in found[0].typed:
            execute(connection, statement)

    def run(self, statement: str) -> None:
        execute(self.connection, statement)

    def filenode(self) -> int:
        """Which file the copy itself lies in."""
        return int(catalog.scalar(self.connection, "SELECT pg_relation_filenode(%(oid)s)", oid=self.oid))

    def filenodes(self) -> list[tuple[str, int]]:
        """Which file the copy and each of its indexes lies in: a new number means that it was rewritten."""
        found = catalog.rows(
            self.connection,
            """
            SELECT c.relname, pg_relation_filenode(c.oid)::bigint FROM pg_class c
            WHERE c.oid = %(oid)s
               OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = %(oid)s) ORDER BY 1
            """,
            oid=self.oid,
        )
        return [(row[0], row[1]) for row in found]


@contextmanager
def rehearsal(connection: Connection, table: Table) -> Iterator[Copy]:
    """A copy of the table to try something on; nothing of it stays.

    Takes ACCESS SHARE on the table for a moment. Needs the TEMPORARY privilege on the database.
    """
    driver: Any = connection.connection.dbapi_connection
    begin, end = (
        (("BEGIN",), ("ROLLBACK",))
        if driver.autocommit
        else (("SAVEPOINT rehearsal",), ("ROLLBACK TO SAVEPOINT rehearsal", "RELEASE SAVEPOINT rehearsal"))
    )
    for statement in begin:
        execute(connection, statement)
    try:
        set_lock_timeout(connection, 5)
        yield Copy(connection, table)
    finally:
        for statement in end:
            execute(connection, statement)
