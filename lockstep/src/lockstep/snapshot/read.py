"""Reads the catalog of a database. It locks nothing but the catalog, and writes nothing."""

from __future__ import annotations

from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from lockstep.postgres.catalog import literal, qualified, rows, scalar
from lockstep.postgres.session import execute
from lockstep.snapshot import others, relations
from lockstep.snapshot.text import Snapshot
from lockstep.snapshot.view_text import without_prefixes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection

_VIEWS = ("view ", "materialized view ")


def read(
    connection: Connection, version_table: str, schema: str | None, ignored: Sequence[str] = ()
) -> Snapshot:
    """What the catalog holds, without Alembic's version table.

    ``ignored`` are patterns of objects, or of objects and parts (``table public.old_*``,
    ``table public.posts: index tmp_*``). Reads in the connection's transaction; one of its own, where none is
    open, ends with it. Its role needs no rights on what it reads the definition of.
    """
    objects: dict[str, dict[str, str]] = {}
    with _names_qualified(connection, version_table, schema) as without:
        older = int(scalar(connection, "SELECT current_setting('server_version_num')")) < 160000
        for query in (*relations.QUERIES, *others.QUERIES):
            for row in rows(connection, query.replace("%(without)s", f"'{{{without}}}'")):
                parts = objects.setdefault(_on_one_line(row.object), {})
                if row.part:
                    value = _trimmed(row.value)
                    if older and row.part == "definition" and row.object.startswith(_VIEWS):
                        value = without_prefixes(value)
                    parts[_on_one_line(row.part)] = value
    return Snapshot(objects).without(lambda name: matches(ignored, name))


def matches(patterns: Sequence[str], name: str) -> bool:
    """Whether one of these patterns is of this name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _on_one_line(name: str) -> str:
    """A name as a line of a file can have it."""
    return name.replace("\n", "\\n").replace("\r", "\\r")


def _trimmed(value: str) -> str:
    """A value as a file can have it: without what ends a line unseen."""
    return "\n".join(line.rstrip() for line in value.strip().split("\n"))


@contextmanager
def _names_qualified(connection: Connection, version_table: str, schema: str | None) -> Iterator[int]:
    """Have the catalog print names with their schemas; gives the version table's oid, or 0."""
    ours = not connection.in_transaction()
    name = literal(qualified(version_table, schema))
    without = scalar(connection, f"SELECT coalesce(to_regclass({name})::oid, 0)")
    path = scalar(connection, "SELECT current_setting('search_path')")
    execute(connection, "SELECT set_config('search_path', '', true)")
    try:
        yield int(without)
    finally:
        if ours:
            connection.rollback()
        else:
            execute(connection, f"SELECT set_config('search_path', {literal(path)}, true)")
