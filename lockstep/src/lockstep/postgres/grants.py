"""Rights on tables and columns, as the statements that grant them anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.postgres.catalog import quote, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Column, Table


def grants(connection: Connection, regclass: str, target: str) -> list[str]:
    """GRANT statements that give a relation the privileges it has now (the owner's own are implied)."""
    return _grants(
        connection,
        f"SELECT (aclexplode(relacl)).*, relowner FROM pg_class WHERE oid = {regclass}",
        lambda privilege: privilege,
        target,
    )


def column_grants(connection: Connection, table: Table, column: Column) -> list[str]:
    """GRANT statements that give a column the privileges it has now."""
    return _grants(
        connection,
        "SELECT (aclexplode(a.attacl)).*, c.relowner FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = a.attrelid "
        f"WHERE a.attrelid = {table.oid} AND a.attnum = {column.number}",
        lambda privilege: f"{privilege} ({quote(column.name)})",
        f"TABLE {table.sql}",
    )


def _grants(connection: Connection, source: str, words: Callable[[str], str], target: str) -> list[str]:
    found = rows(
        connection,
        f"SELECT privilege_type, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, "
        f"is_grantable FROM ({source}) acl WHERE grantee <> relowner ORDER BY 2, 1",
    )
    return [
        f"GRANT {words(privilege)} ON {target} TO {grantee}{' WITH GRANT OPTION' if grantable else ''}"
        for privilege, grantee, grantable in found
    ]
