"""What a database is like: its catalog, its rows and its sequences, as text to be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from testing.cluster import Cluster

_OURS = (
    "schemaname NOT LIKE 'pg\\_%' AND schemaname NOT LIKE 'lockstep%' AND schemaname <> 'information_schema'"
)


@dataclass(frozen=True)
class State:
    """A database, all of its schemas."""

    catalog: list[str]
    rows: dict[str, list[str]]
    sequences: dict[str, str]

    def difference(self, right: State) -> str | None:
        """What is other than in the state that is right; None where nothing is."""
        if self.catalog != right.catalog:
            here, there = set(self.catalog), set(right.catalog)
            return f"another catalog: {sorted(here - there)} instead of {sorted(there - here)}"
        for what in ("rows", "sequences"):
            found, wanted = getattr(self, what), getattr(right, what)
            for name in sorted({*found, *wanted}):
                if found.get(name) != wanted.get(name):
                    return f"other {what} of {name}: {_apart(found.get(name), wanted.get(name))}"
        return None


def _apart(found: list[str] | str | None, wanted: list[str] | str | None) -> str:
    if not isinstance(found, list) or not isinstance(wanted, list):
        return f"{found} instead of {wanted}"
    here, there = set(found), set(wanted)
    return (
        f"{len(found)} instead of {len(wanted)}, "
        f"{sorted(here - there)[:2]} instead of {sorted(there - here)[:2]}"
    )


def state_of(cluster: Cluster, database: str, volatile: Sequence[str] = ()) -> State:
    """The state of a database, without the columns whose values are ``volatile``, nor their sequences."""
    with cluster.connect(database) as connection:
        rows, sequences = _rows(connection, volatile), _sequences(connection, volatile)
    return State(catalog_of(cluster, database), rows, sequences)


def _sequences(connection: psycopg.Connection, volatile: Sequence[str]) -> dict[str, str]:
    found = connection.execute(
        "SELECT s.schemaname || '.' || s.sequencename, format('%I.%I', s.schemaname, s.sequencename), "
        "(SELECT a.attname FROM pg_depend d JOIN pg_attribute a "
        "ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND d.deptype IN ('a', 'i') "
        "WHERE d.objid = format('%I.%I', s.schemaname, s.sequencename)::regclass) "
        f"FROM pg_sequences s WHERE {_OURS}"
    ).fetchall()
    wanted = [
        f"SELECT {sql.Literal(name).as_string()}, (last_value, is_called)::text FROM {quoted}"
        for name, quoted, column in found if not volatile or column not in {*volatile, None}
    ]  # fmt: skip
    return dict(connection.execute(" UNION ALL ".join(wanted)).fetchall()) if wanted else {}


def catalog_of(cluster: Cluster, database: str) -> list[str]:
    """What pg_dump writes of the schema, whatever the order of statements and of a table's columns."""
    statements = cluster.dump_schema(database).removesuffix(";").split(";\n")
    return sorted(
        "\n".join(sorted(line.strip().removesuffix(",") for line in s.split("\n"))) for s in statements
    )


def rows_of(cluster: Cluster, database: str, *without: str | None) -> dict[str, list[str]]:
    """The rows of each table; those of ``public`` by the table's name alone."""
    with cluster.connect(database) as connection:
        return _rows(connection, without)


def _rows(connection: psycopg.Connection, without: Sequence[str | None]) -> dict[str, list[str]]:
    tables = connection.execute(
        f"SELECT schemaname, tablename FROM pg_tables WHERE {_OURS} AND tablename <> 'alembic_version'"
    ).fetchall()
    return {
        table if schema == "public" else f"{schema}.{table}": [
            row[0]
            for row in connection.execute(
                f'SELECT (to_jsonb(t) - %s::text[])::text FROM "{schema}"."{table}" t ORDER BY 1',
                [[name for name in without if name]],
            )
        ]
        for schema, table in tables
    }
