"""A snapshot holds what a catalog holds, as text that is the same on every version and can be read back."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic_postgresql_enum import configuration

from drift import KINDS, SCHEMA
from lockstep.errors import LockstepError
from lockstep.snapshot.differences import differences
from lockstep.snapshot.read import read
from lockstep.snapshot.text import Snapshot, from_text
from lockstep.snapshot.view_text import without_prefixes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

    from testing.cluster import Cluster


PAGE = Path(__file__).parents[1] / "docs" / "snapshots.md"


def connected(cluster: Cluster) -> Iterator[Connection]:
    database = cluster.create_database()
    with cluster.connect(database) as connection:
        connection.execute(SCHEMA)
    engine = sa.create_engine(cluster.url(database, "psycopg"), poolclass=sa.pool.NullPool)
    with engine.connect() as reading:
        yield reading
    with cluster.connect() as connection:
        connection.execute(f'DROP DATABASE "{database}" WITH (FORCE)')
        connection.execute("DROP ROLE reader")


@pytest.fixture(scope="module")
def on_18(cluster18: Cluster) -> Iterator[Connection]:
    yield from connected(cluster18)


@pytest.fixture(scope="module")
def on_15(cluster15: Cluster) -> Iterator[Connection]:
    yield from connected(cluster15)


@pytest.fixture(params=[pytest.param("on_15", marks=pytest.mark.prove), "on_18"])
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    found: Connection = request.getfixturevalue(request.param)
    yield found
    found.rollback()


def snapshot(connection: Connection) -> Snapshot:
    return read(connection, "alembic_version", None)


def test_it_is_the_same_text_on_postgresql_15_and_18(on_15: Connection, on_18: Connection) -> None:
    assert snapshot(on_15).to_text("a") == snapshot(on_18).to_text("a")


def test_a_file_is_read_back_as_it_was_written(connection: Connection) -> None:
    written = snapshot(connection)
    assert from_text(written.to_text("a"), "a.txt") == written


def test_a_name_may_have_any_characters(connection: Connection) -> None:
    for name in ("two  spaces", "a\nb", '"', "a, default b", "ends with ", "    column x  integer", "#", "ä"):
        quoted = '"' + name.replace('"', '""') + '"'
        connection.exec_driver_sql(f"CREATE TABLE {quoted} ({quoted} text NOT NULL DEFAULT $${name}$$)")
        connection.exec_driver_sql(f"COMMENT ON TABLE {quoted} IS $${name}$$")
    written = snapshot(connection)
    assert from_text(written.to_text("a"), "a.txt") == written


def test_it_leaves_the_search_path_of_a_transaction_as_it_was(connection: Connection) -> None:
    connection.exec_driver_sql("SET LOCAL search_path TO app, public")
    snapshot(connection)
    assert connection.exec_driver_sql("SHOW search_path").scalar() == "app, public"


def test_it_reads_in_a_transaction_that_may_not_write(connection: Connection) -> None:
    connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    assert snapshot(connection).objects


def test_neither_the_version_table_nor_lockteps_schemas_are_in_it(connection: Connection) -> None:
    before = snapshot(connection)
    connection.exec_driver_sql("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    connection.exec_driver_sql("CREATE SCHEMA lockstep CREATE TABLE revision (id integer)")
    assert snapshot(connection) == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_changed_by_hand_is_found_and_its_statement_undoes_it(
    kind: str, connection: Connection
) -> None:
    statement, name, part = KINDS[kind]
    expected = snapshot(connection)
    connection.exec_driver_sql(statement)
    found = differences(snapshot(connection), expected)
    assert (name, part) in {(one.object, one.part) for one in found}
    assert all(str(one) for one in found)
    undone = [one for one in found if one.statement]
    for one in undone:
        connection.exec_driver_sql(one.statement or "")
    left = differences(snapshot(connection), expected)
    assert not {(one.object, one.part) for one in left} & {(one.object, one.part) for one in undone}


@pytest.mark.one_in(2)
def test_the_page_tells_which_of_these_autogenerate_finds_as_well(
    on_18: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table in the documents: what `lockstep verify` finds, and what `alembic check` does."""
    metadata = sa.MetaData()
    # Where a test before this one has imported it, it takes part in what Alembic compares.
    monkeypatch.setattr(configuration, "_config", configuration.Config(include_name=lambda _: False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # types that SQLAlchemy does not know, what Alembic cannot alter
        for schema in (None, "app"):
            metadata.reflect(on_18, schema=schema)
        usual = _autogenerated(on_18, metadata)
        table = ["| changed by hand | `lockstep verify` | `alembic check` |", "|---|---|---|"]
        for kind, (statement, _, _) in KINDS.items():
            on_18.exec_driver_sql(statement)
            found = "finds it" if _autogenerated(on_18, metadata) != usual else "no"
            table.append(f"| {kind} | finds it | {found} |")
            on_18.rollback()
    assert "\n".join(table) in PAGE.read_text()


def _autogenerated(connection: Connection, metadata: sa.MetaData) -> list[str]:
    context = MigrationContext.configure(
        connection,
        opts={"compare_type": True, "compare_server_default": True, "include_schemas": True},
    )
    return sorted(map(str, compare_metadata(context, metadata)))


def test_a_view_of_postgresql_15_loses_the_prefixes_that_16_leaves_out() -> None:
    assert without_prefixes(' SELECT t.a, "T ""x".b FROM t') == " SELECT a, b FROM t"
    joined = " SELECT t.a FROM t JOIN u ON t.a = u.a"
    assert without_prefixes(joined) == joined
    inner = " SELECT a FROM t WHERE (EXISTS ( SELECT 1 FROM u WHERE u.a = t.a))"
    assert without_prefixes(inner.replace("SELECT a", "SELECT t.a")) == inner
    assert without_prefixes("no query") == "no query"


@pytest.mark.parametrize("text", ["", "table public.t\n", "# The schema after revision a\n"])
def test_a_file_that_is_no_snapshot_says_so(text: str) -> None:
    with pytest.raises(LockstepError, match=r"a\.txt is no snapshot of this version: write it anew"):
        from_text(text, "a.txt")


def test_a_line_that_cannot_be_read_is_named() -> None:
    text = Snapshot({"table public.t": {"column a": "integer"}}).to_text("a")
    with pytest.raises(LockstepError, match=r"a\.txt, line 5: cannot be read"):
        from_text(text.replace("    column", "  column"), "a.txt")
