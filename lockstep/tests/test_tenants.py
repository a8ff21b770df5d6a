"""Several runs in one env.py, several roles in one database, and a migrator that vanished."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from alembic import command

from command_line import made, revision, typed
from databases import database18
from lockstep import LockstepError
from lockstep.revision.ledger import Ledger
from lockstep.revision.one_migrator import only_migrator, resolved_version_table
from project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

TENANTS = """
import sqlalchemy as sa
import lockstep
from alembic import context

engine = sa.create_engine({url!r}, poolclass=sa.pool.NullPool)
for tenant in ("one", "two"):
    with engine.connect() as connection:
        connection.execute(sa.text(f"SET search_path TO {{tenant}}"))
        connection.commit()
        lockstep.run(connection=connection, arguments={{"tenant": tenant}})
"""


database = database18("CREATE SCHEMA one; CREATE SCHEMA two")


def tables(cluster: Cluster, database: str) -> set[str]:
    with cluster.connect(database) as connection:
        return {
            row[0]
            for row in connection.execute(
                "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('one', 'two')"
            )
        }


@pytest.fixture
def tenants(tmp_path: Path, cluster18: Cluster, database: str) -> Path:
    """Two revisions: a table with rows, then an index and a row that says whose it is."""
    folder = made(tmp_path, "")
    (folder / "migrations" / "env.py").write_text(TENANTS.format(url=cluster18.url(database, "psycopg")))
    revision(
        folder,
        "r1",
        "op.create_table('things', sa.Column('a', sa.Text()))\n"
        "    op.execute('INSERT INTO things SELECT n FROM generate_series(1, 99) n')",
        downgrade="op.drop_table('things')",
    )
    revision(
        folder,
        "r2",
        "op.create_index('things_a', 'things', ['a'])\n"
        "    op.execute(f\"INSERT INTO things VALUES ('{tenant}')\")",
        "r1",
        "op.drop_index('things_a', 'things')",
    )
    for path in (folder / "migrations" / "versions").glob("*.py"):
        path.write_text(path.read_text().replace("grade():", "grade(tenant):"))
    return folder


def test_a_loop_over_tenants_migrates_each_of_them(tenants: Path, cluster18: Cluster, database: str) -> None:
    status, _, errors = typed(tenants, "alembic", "upgrade", "head")
    assert status == 0, errors
    assert tables(cluster18, database) == {
        f"{tenant}.{table}" for tenant in ("one", "two") for table in ("things", "alembic_version")
    }
    with cluster18.connect(database) as connection:
        for tenant in ("one", "two"):
            found = connection.execute(f"SELECT a FROM {tenant}.things WHERE a > 'a'").fetchall()
            assert found == [(tenant,)]
    status, output, _ = typed(tenants, "lockstep", "status")
    assert status == 0
    assert output.count("at r2") == 2
    status, _, errors = typed(tenants, "alembic", "downgrade", "base")
    assert status == 0, errors
    assert tables(cluster18, database) == {"one.alembic_version", "two.alembic_version"}


def test_a_run_inside_the_callers_transaction_follows_one_that_ran_online(
    tmp_path: Path, cluster18: Cluster, database: str
) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"))
    project.revision("op.create_table('things', sa.Column('a', sa.Text()))")
    (project.folder / "env.py").write_text(
        "import sqlalchemy as sa\nimport lockstep\n"
        f"engine = sa.create_engine({project.url!r}, poolclass=sa.pool.NullPool)\n"
        "lockstep.run(connection=engine, version_table_schema='one')\n"
        "with engine.begin() as connection:\n"
        "    connection.exec_driver_sql('DROP TABLE things')\n"
        "    lockstep.run(connection=connection, version_table_schema='two')\n"
    )
    command.upgrade(project.config(), "head")
    assert tables(cluster18, database) == {"one.alembic_version", "two.alembic_version"}


def test_tenants_do_not_wait_for_each_other_and_one_tenant_is_migrated_once(
    cluster18: Cluster, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = sa.create_engine(cluster18.url(database, "psycopg"), poolclass=sa.pool.NullPool)
    with engine.connect() as one, engine.connect() as two, engine.connect() as again:
        for connection, tenant in ((one, "one"), (two, "two")):
            connection.exec_driver_sql(f"SET search_path TO {tenant}")
            connection.commit()
        entered = threading.Event()
        waits = threading.Event()

        def note(record: logging.LogRecord) -> bool:
            if "another migrator is at work" in record.getMessage():
                waits.set()
            return True

        def once_more() -> None:
            with only_migrator(again, "alembic_version", "one"):  # the same table, by its schema's name
                entered.set()

        thread = threading.Thread(target=once_more)
        caplog.set_level(logging.INFO, "alembic.lockstep")
        caplog.handler.addFilter(note)
        with only_migrator(one, "alembic_version", None):
            with only_migrator(two, "alembic_version", None):
                pass
            thread.start()
            assert waits.wait(60)
            assert not entered.is_set()
        thread.join(60)
        assert entered.is_set()


def test_two_that_start_at_once_on_a_new_database_make_the_ledger_once(
    tmp_path: Path, cluster18: Cluster, database: str
) -> None:
    url = cluster18.url(database, "psycopg")
    project = Project(tmp_path / "project", url, version_table="others")
    project.revision("op.create_table('things', sa.Column('a', sa.Text()))")
    failed: list[BaseException] = []

    def upgrade() -> None:
        try:
            project.upgrade()
        except BaseException as error:  # noqa: BLE001  # told by the assertion
            failed.append(error)

    second = threading.Thread(target=upgrade)
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as first, cluster18.connect(database) as looking:
        Ledger("public.alembic_version").create(first)
        second.start()
        while (
            second.is_alive()
            and not looking.execute(
                "SELECT pid FROM pg_stat_activity "
                "WHERE wait_event = 'advisory' AND application_name = 'lockstep'"
            ).fetchone()
        ):
            pass
    second.join(60)
    assert failed == []
    assert project.current().endswith("r1 (head)")


def test_the_version_table_is_resolved_as_alembic_finds_it(cluster18: Cluster, database: str) -> None:
    engine = sa.create_engine(cluster18.url(database, "psycopg"), poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql('CREATE SCHEMA "My App"; CREATE TABLE two.alembic_version ()')
        for path, name, schema, expected in (
            ("one, two", "alembic_version", None, '"two"."alembic_version"'),
            ("one, two", "versions", None, '"one"."versions"'),
            ('"My App"', "alembic_version", None, '"My App"."alembic_version"'),
            ("one", "alembic_version", "two", '"two"."alembic_version"'),
            ("one", "alembic_version", "one", '"one"."alembic_version"'),
        ):
            connection.exec_driver_sql(f"SET search_path TO {path}")
            assert resolved_version_table(connection, name, schema) == expected


def test_a_second_role_is_told_what_to_be_granted_and_then_migrates(
    tmp_path: Path, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        for role, schema in (("service_a", "one"), ("service_b", "two")):
            connection.execute(f"CREATE ROLE {role} LOGIN")
            connection.execute(f"GRANT CREATE ON DATABASE {database} TO {role}")
            connection.execute(f"ALTER SCHEMA {schema} OWNER TO {role}")
            connection.execute(f"ALTER ROLE {role} SET search_path = {schema}")
    try:
        services = []
        for role in ("service_a", "service_b"):
            url = cluster18.url(database, "psycopg").replace("postgres@", f"{role}@")
            service = Project(tmp_path / role, url)
            service.revision(
                "op.create_table('things', sa.Column('id', sa.Integer(), primary_key=True),"
                " sa.Column('a', sa.Text()))\nop.execute(\"INSERT INTO things VALUES (1, 'kept')\")"
            )
            service.revision("pass", "op.drop_column('things', 'a')")
            services.append(service)
        first, second = services
        first.upgrade()
        with pytest.raises(
            LockstepError, match="created by service_a, and service_b may not use them"
        ) as told:
            second.upgrade()
        assert second.current() == ""
        with cluster18.connect(database) as connection:
            connection.execute("SET ROLE service_a")
            for statement in str(told.value).partition("type: ")[2].split("; "):
                connection.execute(statement.encode())
        for service in (second, first):
            service.upgrade()
            service.revision(
                "op.add_column('things', sa.Column('b', sa.Text()))", "op.drop_column('things', 'b')"
            )
            service.upgrade()
            service.downgrade("r2")
            service.upgrade()
        assert {"one.things", "two.things"} <= tables(cluster18, database)
    finally:
        with cluster18.connect(database) as connection:
            for role in ("service_b", "service_a"):
                connection.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_the_server_gives_up_a_migrator_that_vanished_within_a_minute(
    tmp_path: Path, cluster18: Cluster, database: str
) -> None:
    """Seen from inside a revision: the server looks after 10 s whether it is there; as before afterwards."""
    show = (
        'op.execute("CREATE TABLE seen AS SELECT name, setting FROM pg_settings "\n'
        "           \"WHERE name = 'client_connection_check_interval'\")"
    )
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"))
    project.revision(show)
    engine = sa.create_engine(project.url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        project.upgrade(connection=connection)
        after = connection.exec_driver_sql("SHOW client_connection_check_interval").scalar()
    assert after == "0"
    with cluster18.connect(database) as connection:
        seen: dict[str, str] = dict(connection.execute("SELECT name, setting FROM seen").fetchall())
    assert 0 < int(seen["client_connection_check_interval"]) <= 10000
