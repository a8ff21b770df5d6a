"""What a database is like: its catalog and its rows, as text to be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testing.cluster import Cluster


def catalog_of(cluster: Cluster, database: str) -> list[str]:
    """What pg_dump writes of the schema, whatever the order of statements and of a table's columns."""
    statements = cluster.dump_schema(database).removesuffix(";").split(";\n")
    return sorted(
        "\n".join(sorted(line.strip().removesuffix(",") for line in s.split("\n"))) for s in statements
    )


def rows_of(cluster: Cluster, database: str, without: str | None = None) -> dict[str, list[str]]:
    with cluster.connect(database) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        ).fetchall()
        return {
            table: [
                row[0]
                for row in connection.execute(
                    f'SELECT (to_jsonb(t) - %s)::text FROM "{table}" t ORDER BY 1', [without or ""]
                )
            ]
            for (table,) in tables
        }
