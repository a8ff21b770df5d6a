"""What a program shows of a database: `overview`, `live`, and `lockstep show --json`."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from databases import database18
from lockstep.commands.overview import Overview, live, overview
from lockstep.snapshot import tables
from snapshot_project import alembic, lockstep, three_revisions
from test_watch import ROWS as FILLED
from test_watch import paused, project, told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testing.cluster import Cluster

__all__ = ["paused", "project", "told"]  # fixtures
TABLES = """
CREATE SCHEMA other;
CREATE TABLE users (id bigint PRIMARY KEY, "E mail" text NOT NULL UNIQUE, age int CHECK (age > 0));
COMMENT ON TABLE users IS 'who takes part';
CREATE TABLE other.posts (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner bigint REFERENCES users,
    answers integer REFERENCES other.posts ON DELETE CASCADE,
    title text DEFAULT 'none', length integer GENERATED ALWAYS AS (length(title)) STORED);
CREATE INDEX posts_title ON other.posts (title) WHERE title <> '';
CREATE TABLE parts (id integer REFERENCES users) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parts DEFAULT;
CREATE TABLE alembic_version (version_num text);
INSERT INTO users SELECT n, n FROM generate_series(1, 7) n;
ANALYZE users;
"""
described = database18(TABLES)
database = database18(FILLED)


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory, cluster18: Cluster) -> Iterator[tuple[Path, str]]:
    """A project of three revisions with snapshots, at the second, and its database."""
    name = cluster18.create_database()
    folder = three_revisions(tmp_path_factory.mktemp("project"), cluster18.url(name, "psycopg"))
    assert lockstep(folder, "snapshot")[0] == 0
    alembic(folder, "upgrade", "b")
    yield folder, name
    cluster18.drop_database(name)


@pytest.fixture
def seen(upgraded: tuple[Path, str], cluster18: Cluster, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A copy of both."""
    folder, name = upgraded
    copy = cluster18.create_database(template=name)
    shutil.copytree(folder, tmp_path / "copy")
    env = tmp_path / "copy" / "migrations" / "env.py"
    url = cluster18.url(name, "psycopg")
    env.write_text(env.read_text().replace(url, cluster18.url(copy, "psycopg")))
    yield tmp_path / "copy", copy
    cluster18.drop_database(copy)


@contextmanager
def reading(cluster: Cluster, database: str, *first: str) -> Iterator[sa.Connection]:
    """A transaction that cannot write."""
    engine = sa.create_engine(cluster.url(database, "psycopg"), poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        for each in first:
            connection.exec_driver_sql(each)
        yield connection


def looked_at(cluster: Cluster, folder: Path, database: str, *first: str) -> Overview:
    script = ScriptDirectory.from_config(Config(folder / "alembic.ini"))
    with reading(cluster, database, *first) as connection:
        return overview(connection, script, metadata=sa.MetaData())


def test_a_table_has_its_columns_in_their_order_constraints_indexes_references_and_size(
    cluster18: Cluster, described: str
) -> None:
    with reading(cluster18, described) as connection:
        posts, parts, users = tables.read(connection, "alembic_version")
    assert [one.id for one in (posts, parts, users)] == ["other.posts", "parts", "users"]
    assert (users.rows, users.comment) == (7, "who takes part")
    assert users.bytes >= 8192 * 3
    assert [(c.name, c.type, c.not_null, c.default) for c in users.columns] == [
        ("id", "bigint", True, None), ("E mail", "text", True, None), ("age", "integer", False, None),
    ]  # fmt: skip
    assert [(c.name, c.in_primary_key, c.refers, c.default, c.generated) for c in posts.columns] == [
        ("id", True, False, "identity", False), ("owner", False, True, None, False),
        ("answers", False, True, None, False), ("title", False, False, "'none'::text", False),
        ("length", False, False, "length(title)", True),
    ]  # fmt: skip
    assert [(c.kind, c.definition, c.valid) for c in users.constraints] == [
        ("primary key", "PRIMARY KEY (id)", True), ("unique", 'UNIQUE ("E mail")', True),
        ("check", "CHECK ((age > 0))", True),
    ]  # fmt: skip
    assert [(i.name, i.of_constraint, i.bytes) for i in posts.indexes] == [
        ("posts_pkey", True, 8192), ("posts_title", False, 8192)
    ]  # fmt: skip
    assert [(r.columns, r.table, r.referred_columns) for r in posts.references] == [
        (["answers"], "other.posts", ["id"]), (["owner"], "users", ["id"])
    ]  # fmt: skip
    assert [r.table for r in parts.references] == ["users"]


def test_show_prints_the_same_as_json(seen: tuple[Path, str]) -> None:
    status, output, _ = lockstep(seen[0], "show", "--json")
    assert status == 0
    (posts,) = json.loads("\n".join(output))
    assert [one["name"] for one in posts["columns"]] == ["id", "title"]
    assert json.loads("\n".join(lockstep(seen[0], "show", "public.posts", "--json")[1])) == [posts]
    assert lockstep(seen[0], "show", "nothing", "--json")[0] == 2
    assert lockstep(seen[0], "show", "--json", "--at", "a")[0] == 2


def test_an_overview_tells_where_the_database_is_and_what_each_revision_changes(
    seen: tuple[Path, str], cluster18: Cluster
) -> None:
    found = looked_at(cluster18, *seen)
    assert (found.heads, found.pending) == (("b",), ("c",))
    assert [(one.revision, one.after, one.state) for one in found.timeline] == [
        ("a", [], "applied"), ("b", ["a"], "current"), ("c", ["b"], "pending"),
    ]  # fmt: skip
    first, second, third = found.timeline
    assert first.applied is not None
    assert str(first.applied["applied_at"]).endswith("Z")
    assert third.applied is None
    assert [[one.as_change() for one in each.changes or []] for each in (second, third)] == [
        ["+ table public.posts: column title  text"],
        ["+ table public.posts: index posts_title  "
         "CREATE INDEX posts_title ON public.posts USING btree (title)"],
    ]  # fmt: skip
    assert (found.drift, found.under_way, found.archive, found.unread) == ([], None, [], [])
    assert [one.name for one in found.tables or []] == ["posts"]
    assert found.models == ["drop table posts"]


def test_drift_is_told_and_what_downgrades_kept(seen: tuple[Path, str], cluster18: Cluster) -> None:
    with cluster18.connect(seen[1]) as connection:
        connection.execute("INSERT INTO posts VALUES (1, 'One')")
    alembic(seen[0], "downgrade", "a")
    with cluster18.connect(seen[1]) as connection:
        connection.execute("ALTER TABLE posts ADD by_hand text")
    found = looked_at(cluster18, *seen)
    assert [str(one) for one in found.drift or []] == [
        "table public.posts: column by_hand is not expected: text"
    ]
    assert found.archive is not None
    assert [(one["what"], one["revision"], one["rows"]) for one in found.archive] == [("posts.title", "b", 1)]
    assert found.timeline[1].applied is None  # it was taken back


def test_a_revision_without_a_file_stands_at_the_end(seen: tuple[Path, str], cluster18: Cluster) -> None:
    alembic(seen[0], "upgrade", "c")
    (seen[0] / "migrations" / "versions" / "c.py").unlink()
    found = looked_at(cluster18, *seen)
    assert [(one.revision, one.state) for one in found.timeline] == [
        ("a", "pending"), ("b", "pending"), ("c", "unknown")
    ]  # fmt: skip
    assert found.timeline[2].applied is not None


def test_who_has_a_table_locked_is_waited_for_no_longer_than_lock_timeout(
    seen: tuple[Path, str], cluster18: Cluster
) -> None:
    folder, name = seen
    with cluster18.connect(name) as holder, holder.transaction():
        holder.execute("LOCK posts")
        found = looked_at(cluster18, folder, name, "SET LOCAL lock_timeout = '20ms'")
    assert (found.tables, found.heads) == (None, ("b",))
    assert "canceling statement due to lock timeout" in found.unread


def test_what_cannot_be_read_leaves_the_rest_and_says_why(seen: tuple[Path, str], cluster18: Cluster) -> None:
    folder, name = seen
    (folder / "migrations" / "snapshots" / "b.txt").unlink()
    with cluster18.connect(name) as holder:
        holder.execute("CREATE ROLE looker; GRANT USAGE ON SCHEMA lockstep TO looker")
        holder.execute("GRANT SELECT ON alembic_version TO looker")
        try:
            found = looked_at(cluster18, folder, name, "SET ROLE looker")
        finally:
            holder.execute("DROP OWNED BY looker; DROP ROLE looker")
    assert found.drift is None
    assert (found.archive, found.half_done) == (None, None)
    assert found.timeline[1].changes is None
    assert found.tables
    assert any("b.txt" in one for one in found.unread)
    assert any("permission denied" in one for one in found.unread)


@pytest.mark.usefixtures("paused")
def test_what_is_under_way_is_told_live(cluster18: Cluster, database: str) -> None:
    with reading(cluster18, database) as connection:
        found = live(connection)
    assert found is not None
    assert (found.direction, found.paused_by) == ("upgrade", "postgres")
    assert found.share == pytest.approx(0.25, abs=0.2)
    with reading(cluster18, database) as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.connection.driver_connection.execute("CREATE TABLE t ()")  # type: ignore[union-attr]
