"""What pending statements will take is estimated from a sample; nothing is written to the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from databases import database18
from lockstep.plan import estimates as module
from lockstep.plan.estimates import Estimate, Work, estimates
from lockstep.plan.operation import PlannedOperation, TableName
from lockstep.plan.validation import extrapolated
from plan_reader import looking
from state import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.cluster import Cluster

TABLES = """
CREATE TABLE people (id integer PRIMARY KEY);
CREATE TABLE posts (
    id integer PRIMARY KEY, person_id integer REFERENCES people, title text, n integer NOT NULL,
    long integer GENERATED ALWAYS AS (n + 1) STORED);
CREATE FUNCTION number() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.n = 0; RETURN NEW; END $$;
CREATE TRIGGER numbered BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION number();
"""

database = database18(f"""
{TABLES}
INSERT INTO people SELECT generate_series(1, 100);
ALTER TABLE posts DISABLE TRIGGER numbered;
INSERT INTO posts SELECT n, n % 100 + 1, md5(n::text), n FROM generate_series(1, 6000) n;
ANALYZE;
""")


@pytest.fixture
def scratch(cluster18: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Connection]:
    monkeypatch.setattr(module, "ROWS", 2000)
    monkeypatch.setattr(module, "_MOMENT", 0.0)
    name = cluster18.create_database()
    with cluster18.connect(name) as connection:
        connection.execute(TABLES)
    url = cluster18.url(name, "psycopg")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        yield connection
    cluster18.drop_database(name)


def estimated(
    cluster: Cluster, database: str, scratch: sa.Connection, *statements: str, table: TableName | None = None
) -> list[Estimate]:
    with looking(cluster, database) as connection:
        return estimates(
            connection, [PlannedOperation("r1", "upgrade", None, statements, table)], scratch
        )  # fmt: skip


WORK = {
    "CREATE UNIQUE INDEX i ON posts (title)": Work.INDEX,
    "ALTER TABLE posts ADD CONSTRAINT u UNIQUE (title)": Work.INDEX,
    "UPDATE posts SET title = upper(title)": Work.FILL,
    "ALTER TABLE posts ALTER COLUMN person_id TYPE bigint": Work.REWRITE,
    "ALTER TABLE posts ADD COLUMN u uuid DEFAULT gen_random_uuid()": Work.REWRITE,
}

READS = {
    "ALTER TABLE posts ADD CONSTRAINT c CHECK (n > 0)": Work.VALIDATION,
    "ALTER TABLE posts ALTER COLUMN title SET NOT NULL": Work.VALIDATION,
    "ALTER TABLE posts ADD CONSTRAINT f FOREIGN KEY (person_id) REFERENCES people (id)": Work.FOREIGN_KEY,
}


def _grown(cluster: Cluster, database: str, statement: str) -> int:
    """What the table and its indexes take more, or take in all once they are rewritten."""
    name = cluster.create_database(database)
    with cluster.connect(name) as connection:
        asked = "SELECT pg_total_relation_size('posts'), pg_relation_filenode('posts')"
        before = connection.execute(asked).fetchone()
        connection.execute(statement.encode())
        after = connection.execute(asked).fetchone()
    cluster.drop_database(name)
    assert before
    assert after
    return int(after[0] - (before[0] if before[1] == after[1] else 0))


@pytest.mark.parametrize("statement", WORK)
def test_what_builds_or_rewrites_is_run_on_a_sample(
    statement: str, cluster18: Cluster, database: str, scratch: sa.Connection
) -> None:
    before = rows_of(cluster18, database)
    (one,) = estimated(cluster18, database, scratch, statement)
    assert (one.work, one.table, one.rows, one.revision) == (WORK[statement], "posts", 6000, "r1")
    assert 0 < one.seconds.low < one.seconds.high
    assert 0 < one.wal.low < one.wal.high
    assert one.disk.low <= _grown(cluster18, database, statement) <= one.disk.high
    assert rows_of(cluster18, database) == before
    assert (scratch.scalar(sa.text("SELECT min(n) FROM posts")) or 0) > 0  # no trigger has fired
    assert 1500 < (scratch.scalar(sa.text("SELECT count(*) FROM posts")) or 0) < 2500


@pytest.mark.parametrize("statement", READS)
def test_a_validation_is_tried_on_parts_of_the_real_table(
    statement: str, cluster18: Cluster, database: str, scratch: sa.Connection
) -> None:
    (one,) = estimated(cluster18, database, scratch, statement)
    assert (one.work, one.rows) == (READS[statement], 6000)
    assert 0 < one.seconds.low < one.seconds.high
    assert (one.wal.high, one.disk.high) == (0, 0)


@pytest.mark.parametrize(
    ("quick", "slow", "all_of_it"),
    [
        (0.15, 0.3, 1.1),  # 0.1 once, and 1 for all rows
        (0.4, 0.3, 0.9),  # the first was disturbed: as much as the planner says
        (0.01, 0.3, 1.5),  # the second was: as if nothing was done once
    ],
)
def test_what_disturbs_a_trial_is_not_extrapolated(quick: float, slow: float, all_of_it: float) -> None:
    assert extrapolated((0.05, quick), (0.2, slow), 3.0) == pytest.approx(all_of_it)
    assert extrapolated((1.0, quick), (1.0, slow), 1.0) == slow


def test_statements_are_tried_in_their_order_under_the_names_that_they_give(
    cluster18: Cluster, database: str, scratch: sa.Connection
) -> None:
    told = estimated(
        cluster18, database, scratch,
        "ALTER TABLE posts RENAME TO notes", "ALTER TABLE notes ADD COLUMN kind text",
        "UPDATE notes SET kind = title", "CREATE INDEX kinds ON notes (kind)",
        "ALTER TABLE notes ADD CONSTRAINT c CHECK (n > 0) NOT VALID",
        "ALTER TABLE notes VALIDATE CONSTRAINT c",
        table=TableName("public", "posts"),
    )  # fmt: skip
    assert [one.work for one in told] == [Work.FILL, Work.INDEX, Work.VALIDATION]
    assert {one.table for one in told} == {"posts"}


def test_what_is_done_in_a_moment_has_no_estimate(
    cluster18: Cluster, database: str, scratch: sa.Connection
) -> None:
    assert estimated(
        cluster18, database, scratch,
        "ALTER TABLE posts ADD COLUMN kind text DEFAULT 'x'", "ALTER TABLE posts DROP COLUMN title",
        "COMMENT ON TABLE posts IS 'x'", "CREATE TABLE others (id integer)", "CREATE INDEX ON others (id)",
        "ALTER TABLE posts ADD CONSTRAINT c CHECK (n > 0) NOT VALID", "SELECT 1",
    ) == []  # fmt: skip


def test_a_table_that_may_not_be_read_has_no_estimate(
    cluster18: Cluster, database: str, scratch: sa.Connection
) -> None:
    with looking(cluster18, database) as connection:
        with cluster18.connect(database) as owner:
            owner.execute("REVOKE SELECT ON posts FROM plan_looker")
        statements = ("CREATE INDEX ON posts (title)", "CREATE INDEX ON people (id)")
        told = estimates(connection, [PlannedOperation("r1", "upgrade", None, statements, None)], scratch)
    assert [(one.table, one.rows) for one in told] == [("people", 100)]
