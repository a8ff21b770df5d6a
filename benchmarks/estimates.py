"""What Lockstep estimates for ten changes, against what they take: ratios from one run.

    python -m benchmarks.estimates --rows 1000000 [--only "foreign key"]

For each a line with the estimate from low to high, what it took, and whether that is within.

Each change runs on a copy of its own of the same database, as plain Alembic sends it.
"""

from __future__ import annotations

import argparse
import time
from typing import NamedTuple

import sqlalchemy as sa

from lockstep.plan.estimates import Estimate, Range, estimates
from lockstep.plan.operation import PlannedOperation
from testing.cluster import FAST, Cluster

TABLES = """
CREATE TABLE people (id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE posts (
    id integer PRIMARY KEY, person_id integer NOT NULL, title text NOT NULL, score integer,
    made timestamptz NOT NULL, body text NOT NULL, kind text);
CREATE INDEX posts_made ON posts (made);
"""

ROWS = """
SELECT setseed(0.5);
INSERT INTO people SELECT n, 'person ' || n FROM generate_series(1, {rows} / 10) n;
INSERT INTO posts SELECT n, floor(random() * ({rows} / 10))::int + 1, md5(n::text), (random() * 1000)::int,
    timestamptz '2026-01-01' + n * interval '1 s', repeat(md5(random()::text), 3), 'note'
FROM generate_series(1, {rows}) n;
"""

CHANGES = {
    "index on integers in no order": "CREATE INDEX i ON posts (person_id)",
    "unique index on text": "CREATE UNIQUE INDEX i ON posts (title)",
    "index on two columns": "CREATE INDEX i ON posts (person_id, made DESC)",
    "index on an expression": "CREATE INDEX i ON posts (lower(title))",
    "fill of a column": "UPDATE posts SET score = score + 1",
    "fill of some rows": "UPDATE posts SET kind = upper(kind) WHERE id % 3 = 0",
    "integer to bigint": "ALTER TABLE posts ALTER COLUMN person_id TYPE bigint",
    "new column with a volatile default": "ALTER TABLE posts ADD COLUMN n uuid DEFAULT gen_random_uuid()",
    "check": "ALTER TABLE posts ADD CONSTRAINT c CHECK (length(title) < 100 AND score >= 0)",
    "foreign key": "ALTER TABLE posts ADD CONSTRAINT f FOREIGN KEY (person_id) REFERENCES people (id)",
}


class Actual(NamedTuple):
    seconds: float
    wal: int
    disk: int


def run(cluster: Cluster, template: str, statement: str) -> Actual:
    """What it takes, on a copy."""
    name = cluster.create_database(template)
    try:
        with cluster.connect(name) as connection:
            connection.execute("CHECKPOINT")
            connection.execute("SELECT count(*) FROM posts")

            def state() -> tuple[int, int, int]:
                row = connection.execute(
                    "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint,"
                    " pg_total_relation_size('posts'), pg_relation_filenode('posts')"
                ).fetchone()
                assert row
                return row

            wal, size, heap = state()
            begun = time.perf_counter()
            connection.execute(statement.encode())
            seconds = time.perf_counter() - begun
            after, grown, heap_after = state()
            # A rewritten table stands beside the old one for a while.
            return Actual(seconds, after - wal, grown - (size if heap == heap_after else 0))
    finally:
        cluster.drop_database(name)


def estimated(cluster: Cluster, template: str, empty: str, statement: str) -> tuple[Estimate | None, float]:
    """The estimate, and how long it took to make."""
    scratch = cluster.create_database(empty)
    begun = time.perf_counter()
    try:
        options = {"poolclass": sa.pool.NullPool}
        real = sa.create_engine(cluster.url(template, "psycopg"), **options)
        trial = sa.create_engine(cluster.url(scratch, "psycopg"), isolation_level="AUTOCOMMIT", **options)
        with real.connect() as connection, trial.connect() as copy:
            operation = PlannedOperation("r", "upgrade", None, (statement,), None)
            found = estimates(connection, [operation], copy)
        return (found[0] if found else None), time.perf_counter() - begun
    finally:
        cluster.drop_database(scratch)


def middle(given: Range) -> float:
    return (given.low + given.high) / 2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help="changes whose name has this, or one of these|divided|so")
    given = parser.parse_args()
    rows, only = given.rows, given.only.split("|")
    cluster = Cluster(18, (*FAST, "max_wal_size=8GB", "autovacuum=off"))
    try:
        empty = cluster.create_database()
        with cluster.connect(empty) as connection:
            connection.execute(TABLES)
        template = cluster.create_database(empty)
        with cluster.connect(template) as connection:
            connection.execute(ROWS.format(rows=rows).encode())
            connection.execute("VACUUM ANALYZE")
        print(f"{rows:,} rows: estimate ÷ actual")
        print(f"{'':38}{'low-high':>11}{'took':>7}{'ratio':>7}{'WAL':>7}{'disk':>7}{'made in':>9}")
        inside = []
        for name, statement in CHANGES.items():
            if not any(one in name for one in only):
                continue
            guess, made = estimated(cluster, template, empty, statement)
            actual = run(cluster, template, statement)
            if guess is None:
                print(f"{name:38}no estimate; it took {actual.seconds:.2f}")
                continue
            span, ratio = guess.seconds, middle(guess.seconds) / actual.seconds
            wal = middle(guess.wal) / actual.wal if actual.wal > 2**20 else 1.0
            disk = middle(guess.disk) / actual.disk if actual.disk > 2**20 else 1.0
            inside.append(span.low <= actual.seconds <= span.high)
            word = "within" if inside[-1] else "outside"
            said = f"{span.low:.2f}-{span.high:.2f}"
            took = f"{actual.seconds:7.2f}{ratio:7.2f}{wal:7.2f}{disk:7.2f}{made:9.2f}"
            print(f"{name:38}{said:>11}{took}  {word}", flush=True)
        print(f"{sum(inside)} of {len(inside)} within their range")
    finally:
        cluster.remove()


if __name__ == "__main__":
    main()
