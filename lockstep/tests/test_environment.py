"""Ways of calling lockstep.run(): URLs, a caller's connections, version tables, Alembic's commands."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.runtime.environment import EnvironmentContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.ext.asyncio import create_async_engine

from databases import database18
from lockstep import LockstepError
from project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

CREATE = (
    "op.create_table('things', sa.Column('id', sa.Integer(), primary_key=True), sa.Column('a', sa.Text()))"
)
FILL = "op.execute(\"INSERT INTO things SELECT n, 'a' || n FROM generate_series(1, 100) n\")"
INDEX = "op.create_index('things_a', 'things', ['a'])"


database = database18()


@pytest.fixture
def project(cluster18: Cluster, database: str, tmp_path: Path) -> Project:
    """Two revisions: a table with rows, then an index on it that is built online."""
    made = Project(tmp_path / "project", cluster18.url(database, "psycopg"))
    made.revision(f"{CREATE}\n{FILL}", "op.drop_table('things')")
    made.revision(INDEX, "op.drop_index('things_a', 'things')")
    return made


def relations(cluster: Cluster, database: str) -> set[str]:
    with cluster.connect(database) as connection:
        return {
            row[0]
            for row in connection.execute(
                "SELECT relnamespace::regnamespace || '.' || relname FROM pg_class "
                "WHERE relkind IN ('r', 'i', 'v') AND relnamespace >= 2200"
            )
        }


def test_alembic_names_each_revision_in_its_log(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    project.upgrade()
    assert "Running upgrade r1 -> r2" in caplog.text


def test_an_operation_is_a_line_in_the_log_and_its_steps_are_details(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.upgrade()
    project.revision("op.alter_column('things', 'a', nullable=False, server_default='none')")
    caplog.clear()
    caplog.set_level(logging.INFO, "alembic.runtime.migration")
    caplog.set_level(logging.DEBUG, "alembic.lockstep")
    project.upgrade(short_way=False)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert said[said.index("Running upgrade r2 -> r3") + 1 :] == ["things: alter column a"]
    assert "Generating static SQL" not in said
    assert "things.a: set not null" in caplog.text
    assert not logging.getLogger("alembic.runtime.migration").disabled


@pytest.mark.parametrize(
    "query", ["ssl=disable", "prepared_statement_cache_size=0&statement_cache_size=0&timeout=5"]
)
def test_a_url_for_asyncpg_is_migrated_over_psycopg(
    project: Project, cluster18: Cluster, database: str, query: str
) -> None:
    project.upgrade(url=f"{cluster18.url(database, 'asyncpg')}&{query}")
    assert "public.things_a" in relations(cluster18, database)


def test_a_bare_url_and_a_percent_sign_in_the_password_work(
    project: Project, cluster18: Cluster, database: str
) -> None:
    url = cluster18.url(database).replace("postgres@", "postgres:100%25@")
    project.upgrade(url=url)
    assert "public.things_a" in relations(cluster18, database)


def test_inside_the_callers_transaction_the_caller_decides(
    project: Project, cluster18: Cluster, database: str
) -> None:
    engine = sa.create_engine(project.url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        for commit in (False, True):
            connection.execute(sa.text("SELECT 1"))
            project.upgrade(connection=connection)
            assert sa.inspect(connection).get_indexes("things")
            (connection.commit if commit else connection.rollback)()
            assert ("public.things_a" in relations(cluster18, database)) is commit


def test_on_the_callers_idle_connection_it_runs_online(
    project: Project, cluster18: Cluster, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    engine = sa.create_engine(project.url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        project.upgrade(connection=connection, short_way=False)
        assert not connection.in_transaction()
        assert connection.execute(sa.text("SELECT count(*) FROM things")).scalar() == 100
    assert "concurrently" in caplog.text
    assert "lockstep.operation" in relations(cluster18, database)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_an_engine_in_the_configs_attributes_is_used(
    project: Project, cluster18: Cluster, database: str, driver: str
) -> None:
    url = cluster18.url(database, driver)
    engine = (create_async_engine if driver == "asyncpg" else sa.create_engine)(
        url, poolclass=sa.pool.NullPool
    )
    config = project.config()
    config.attributes.update(url=None, connection=engine)
    command.upgrade(config, "head")
    assert "public.things_a" in relations(cluster18, database)


@pytest.mark.parametrize("how", ["url", "engine"])
def test_a_percent_sign_of_a_project_on_asyncpg_is_that(
    project: Project, cluster18: Cluster, database: str, how: str
) -> None:
    """psycopg would take it for a placeholder; a project on psycopg writes it twice."""
    project.revision(
        "op.get_bind().exec_driver_sql(\"UPDATE things SET a = '100%' WHERE a LIKE 'a1%'\")\n"
        "found = op.get_bind().exec_driver_sql(\"SELECT count(*) FROM things WHERE a LIKE '100%'\")\n"
        "assert found.scalar() == 12\n"
        "assert op.get_bind().execute(sa.text(\"SELECT '5%' || :a\"), {'a': '%'}).scalar() == '5%%'"
    )
    url = cluster18.url(database, "asyncpg")
    config = project.config(url)
    if how == "engine":
        config.attributes.update(url=None, connection=create_async_engine(url))
    command.upgrade(config, "head")
    assert "r3" in project.current()


@pytest.mark.parametrize("short_way", [True, False], ids=["together", "steps"])
def test_a_percent_sign_of_a_project_on_psycopg_is_written_twice(
    project: Project, *, short_way: bool
) -> None:
    project.revision("assert op.get_bind().exec_driver_sql(\"SELECT '5%%'\", ()).scalar() == '5%'")
    project.upgrade(short_way=short_way)
    assert "r3" in project.current()


def test_a_driver_that_prepares_every_statement_will_do(
    project: Project, cluster18: Cluster, database: str
) -> None:
    engine = sa.create_engine(
        cluster18.url(database, "psycopg"), poolclass=sa.pool.NullPool, connect_args={"prepare_threshold": 0}
    )
    config = project.config(url="")
    config.attributes["connection"] = engine
    config.attributes["url"] = None
    command.upgrade(config, "head")
    command.downgrade(config, "base")
    command.upgrade(config, "head")
    assert "public.things_a" in relations(cluster18, database)


def test_an_async_connection_runs_it_in_its_transaction(
    project: Project, cluster18: Cluster, database: str
) -> None:
    async def migrate() -> None:
        engine = create_async_engine(cluster18.url(database, "asyncpg"))
        async with engine.begin() as connection:
            await connection.run_sync(lambda sync: project.upgrade(connection=sync))
        await engine.dispose()

    asyncio.run(migrate())
    assert "public.things_a" in relations(cluster18, database)


def test_a_harness_that_runs_its_own_function_in_the_environment_gets_the_context(project: Project) -> None:
    """As pytest-alembic asks for the current revision."""
    engine = sa.create_engine(project.url, poolclass=sa.pool.NullPool)
    project.upgrade("r1")
    config = project.config(connection=engine)
    seen: list[object] = []

    def ask(revision: object, _context: object) -> list[object]:
        seen.append(revision)
        return []

    script = ScriptDirectory.from_config(config)
    with EnvironmentContext(config, script, fn=ask):
        script.run_env()
    assert seen == [("r1",)]


def test_another_environment_in_the_same_process_is_untouched(
    project: Project, cluster18: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project.upgrade()
    other_database = cluster18.create_database()
    other = Project(tmp_path / "other", cluster18.url(other_database, "psycopg"))
    other.revision(f"{CREATE}\n{FILL}")
    other.revision(f"{INDEX}\nop.alter_column('things', 'id', type_=sa.BigInteger())")
    assert "CONCURRENTLY" not in other.sql(plain=True)
    caplog.set_level(logging.INFO, "alembic.lockstep")
    caplog.clear()
    other.upgrade(plain=True)
    assert not caplog.records
    assert "lockstep.operation" not in relations(cluster18, other_database)
    cluster18.drop_database(other_database)


def test_without_any_url_it_says_what_is_missing(project: Project) -> None:
    config = project.config()
    config.attributes["url"] = None
    with pytest.raises(LockstepError, match=r"url=… or connection=…"):
        command.upgrade(config, "head")


def test_another_databases_url_and_an_unreachable_server_are_one_line(project: Project) -> None:
    with pytest.raises(LockstepError, match="Lockstep is for PostgreSQL; the URL names sqlite"):
        project.upgrade(url="sqlite:///x.db")
    with pytest.raises(LockstepError, match=r"cannot connect to .*:\*\*\*@|cannot connect to ") as raised:
        project.upgrade(url="postgresql://someone:secret@127.0.0.1:1/nowhere")
    assert "secret" not in str(raised.value)


def test_two_version_tables_in_one_database_have_a_ledger_each(
    cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    url = cluster18.url(database, "psycopg")
    with cluster18.connect(database) as connection:
        connection.execute("CREATE SCHEMA other")
    first = Project(tmp_path / "one", url)
    first.revision(CREATE.replace("things", "ones"))
    first.revision(FILL.replace("things", "ones") + "\nop.create_index('ones_a', 'ones', ['a'])\nbroken()")
    second = Project(tmp_path / "two", url, version_table="versions", version_table_schema="other")
    second.revision(f"{CREATE}\n{FILL}", "op.drop_table('things')")
    second.revision(INDEX, "op.drop_index('things_a', 'things')")
    with pytest.raises(NameError):
        first.upgrade(short_way=False)
    second.upgrade()
    second.downgrade("base")
    second.upgrade()
    assert {"other.versions", "public.alembic_version", "public.things_a", "public.ones_a"} <= relations(
        cluster18, database
    )


def test_branches_are_merged_stamped_and_told(project: Project, database: str, cluster18: Cluster) -> None:
    index = "op.create_index('things_b', 'things', [sa.text('a DESC')])"
    project.revision(index, "op.drop_index('things_b')", down="r1")
    with pytest.raises(CommandError, match="Multiple head"):
        project.upgrade()
    project.upgrade("heads")
    project.revision("", down=("r2", "r3"))
    project.upgrade()
    assert project.current() == "r4 (head) (mergepoint)"
    project.downgrade("r1")
    assert not {"public.things_a", "public.things_b"} & relations(cluster18, database)
    command.stamp(project.config(), "r4")
    assert project.current() == "r4 (head) (mergepoint)"
    command.stamp(project.config(), "base", purge=True)
    assert project.current() == ""


def test_autogenerate_sees_neither_lockstep_nor_a_difference(
    project: Project, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("CREATE SCHEMA more; CREATE TABLE more.plenty (id integer)")
    project.upgrade()
    metadata = sa.MetaData()
    number = sa.Column("id", sa.Integer, primary_key=True)
    sa.Table("things", metadata, number, sa.Column("a", sa.Text), sa.Index("things_a", "a"))
    sa.Table("plenty", metadata, sa.Column("id", sa.Integer), schema="more")
    options: dict[str, Any] = {"target_metadata": metadata, "include_schemas": True}
    command.check(project.config(**options))
    sa.Table("things", metadata, sa.Column("b", sa.Integer), extend_existing=True)
    with pytest.raises(CommandError, match="New upgrade operations detected"):
        command.check(project.config(**options))
    (project.folder / "script.py.mako").write_text(
        "def upgrade():\n    ${upgrades}\n"
        "revision = ${repr(up_revision)}\ndown_revision = ${repr(down_revision)}\n"
    )
    revision = command.revision(project.config(**options), "b", autogenerate=True)
    assert isinstance(revision, Script)
    written = (project.folder / "versions" / f"{revision.revision}_b.py").read_text()
    assert "op.add_column('things'" in written
    assert "lockstep" not in written


def test_check_before_the_head_is_refused_as_alembic_does(project: Project) -> None:
    with pytest.raises(CommandError, match="Target database is not up to date"):
        command.check(project.config(target_metadata=sa.MetaData()))


def test_a_role_that_may_not_create_the_ledger_is_told_what_to_grant(
    project: Project, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("CREATE ROLE lowly LOGIN; GRANT CREATE ON SCHEMA public TO lowly")
    try:
        url = cluster18.url(database, "psycopg").replace("postgres@", "lowly@")
        with pytest.raises(LockstepError, match=f'GRANT CREATE ON DATABASE "{database}" TO "lowly"'):
            project.upgrade(url=url)
        with cluster18.connect(database) as connection:
            connection.execute("CREATE SCHEMA lockstep AUTHORIZATION lowly")
            connection.execute("CREATE SCHEMA lockstep_archive AUTHORIZATION lowly")
        project.upgrade(url=url)
        assert "public.things_a" in relations(cluster18, database)
    finally:
        with cluster18.connect(database) as connection:
            connection.execute("DROP OWNED BY lowly; DROP ROLE lowly")


def test_a_search_path_other_than_public_is_followed(
    project: Project, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute(f'CREATE SCHEMA "My App"; ALTER DATABASE {database} SET search_path = "My App"')
    project.revision("op.alter_column('things', 'id', type_=sa.BigInteger())\n"
                     "op.create_unique_constraint(None, 'things', ['a'])\n"
                     "op.backfill('things', {'a': 'x'}, where=\"a = 'a7'\")\n"
                     "op.alter_column('things', 'a', nullable=False)")  # fmt: skip
    project.upgrade()
    assert {'"My App".things', '"My App".things_a', '"My App".things_a_key'} <= relations(cluster18, database)
