"""What a statement locks is read from its text: held against what PostgreSQL says of the statement itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lockstep.postgres.table_locks import locks_of

if TYPE_CHECKING:
    from testing.cluster import Cluster

SCHEMA = """
CREATE SCHEMA other;
CREATE TABLE parent (id integer PRIMARY KEY, n integer);
CREATE TABLE "Child" (id integer PRIMARY KEY, parent_id integer REFERENCES parent, n integer);
CREATE TABLE other.lone (id integer, n integer);
CREATE INDEX lone_n ON other.lone (n);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON parent FOR EACH ROW EXECUTE FUNCTION nothing();
"""

STATEMENTS = [
    'ALTER TABLE "Child" ADD COLUMN x integer',
    "ALTER TABLE other.lone ADD CONSTRAINT k FOREIGN KEY (n) REFERENCES parent NOT VALID",
    "ALTER TABLE other.lone ADD CONSTRAINT k CHECK (n > 0) NOT VALID, ALTER COLUMN n SET STATISTICS 5",
    "ALTER TABLE other.lone ALTER COLUMN n SET STATISTICS 5",
    "ALTER TABLE other.lone ADD COLUMN parent_id integer REFERENCES parent",
    "CREATE TABLE fresh (id integer REFERENCES parent)",
    'ALTER TABLE "Child" DROP CONSTRAINT "Child_parent_id_fkey"',
    'DROP TABLE "Child"',
    "DROP TABLE parent CASCADE",
    "DROP INDEX other.lone_n",
    "CREATE INDEX i ON parent (n)",
    "ALTER TABLE parent RENAME COLUMN n TO m",
    "ALTER TABLE parent RENAME TO elder",
    "ALTER TABLE parent SET SCHEMA other",
    "DROP TRIGGER t ON parent",
    "CREATE TRIGGER u BEFORE INSERT ON parent FOR EACH ROW EXECUTE FUNCTION nothing()",
    "ALTER TABLE parent DISABLE TRIGGER t",
    "TRUNCATE other.lone",
    "LOCK TABLE parent IN SHARE ROW EXCLUSIVE MODE",
    "CREATE RULE r AS ON INSERT TO other.lone DO NOTHING",
    "CREATE POLICY p ON parent",
    "CLUSTER parent USING parent_pkey",
    "REINDEX TABLE parent",
    "UPDATE parent SET n = 1",
    "ALTER TABLE parent ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE parent OWNER TO postgres",
    "COMMENT ON TABLE parent IS 'x'",
    "SELECT 1; ALTER TABLE parent ADD COLUMN x integer; DROP INDEX other.lone_n",
]

#: Those of the table locks that block readers or writers.
_BLOCKING = """
SELECT DISTINCT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = pg_backend_pid() AND c.relkind = 'r'
  AND n.nspname IN ('public', 'other') AND c.relname <> 'fresh'
  AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_tables_that_a_statement_locks_are_known_before_it_is_sent(
    statement: str, cluster18: Cluster, locked_database: str
) -> None:
    with cluster18.connect(locked_database, autocommit=False) as connection:
        foreseen = {
            row[0]
            for lock in locks_of(statement)
            for row in connection.execute(
                """
                SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
                FROM pg_class named LEFT JOIN pg_index i ON i.indexrelid = named.oid
                JOIN pg_class c ON c.oid = coalesce(i.indrelid, named.oid)
                     OR %s AND c.oid IN (SELECT unnest(ARRAY[conrelid, confrelid]) FROM pg_constraint
                                         WHERE contype = 'f' AND named.oid IN (conrelid, confrelid))
                JOIN pg_namespace n ON n.oid = c.relnamespace WHERE named.oid = to_regclass(%s)
                """,
                [lock.drops, lock.name],
            )
        }
        connection.rollback()
        for each in statement.split("; "):
            connection.execute(each)
        taken = {row[0] for row in connection.execute(_BLOCKING)}
        connection.rollback()
    moved = {"public.elder": "public.parent", "other.parent": "public.parent"}
    assert {moved.get(name, name) for name in taken} <= foreseen


def test_what_the_parser_does_not_know_locks_nothing_that_is_known() -> None:
    assert locks_of("ALTER TABLE %s") == []


@pytest.fixture(scope="module")
def locked_database(cluster18: Cluster) -> str:
    name = cluster18.create_database()
    with cluster18.connect(name) as connection:
        connection.execute(SCHEMA)
    return name
