"""An engine is more than its URL: its own way of connecting is used, or refused; never another server."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from databases import database18
from lockstep import LockstepError
from lockstep.environment.connection import synchronous
from lockstep.environment.other_drivers import libpq_arguments
from lockstep.postgres.servers import another_connection
from project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testing.cluster import Cluster

ROWS = (
    "op.create_table('things', sa.Column('id', sa.Integer(), primary_key=True), sa.Column('a', sa.Text()))\n"
    "op.execute(\"INSERT INTO things SELECT n, 'a' || n FROM generate_series(1, 20000) n\")"
)


database = database18()


@pytest.fixture
def elsewhere(cluster15: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Another server's database, which libpq's defaults point at."""
    name = cluster15.create_database()
    monkeypatch.setenv("PGHOST", str(cluster15.folder))
    monkeypatch.setenv("PGPORT", str(cluster15.port))
    monkeypatch.setenv("PGDATABASE", name)
    monkeypatch.setenv("PGUSER", "postgres")
    yield name
    cluster15.drop_database(name)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A table with rows, an index built online, a type changed by two connections."""
    made = Project(tmp_path / "project", "")
    made.revision(ROWS)
    made.revision(
        "op.create_index('things_a', 'things', ['a'])\nop.alter_column('things', 'id', type_=sa.BigInteger())"
    )
    return made


def asyncpg_arguments(cluster: Cluster, database: str) -> dict[str, Any]:
    return {"host": str(cluster.folder), "port": cluster.port, "user": "postgres", "database": database}


def tables(cluster: Cluster, database: str) -> list[str]:
    with cluster.connect(database) as connection:
        return [
            row[0]
            for row in connection.execute(
                "SELECT schemaname || '.' || tablename FROM pg_tables "
                "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
            )
        ]


def migrated(cluster: Cluster, database: str) -> bool:
    return "public.things" in tables(cluster, database)


@pytest.mark.parametrize("pool", [sa.pool.NullPool, sa.pool.QueuePool, sa.pool.StaticPool])
def test_a_creator_is_used_for_the_first_connection_and_the_further_ones(
    project: Project,
    cluster18: Cluster,
    cluster15: Cluster,
    database: str,
    elsewhere: str,
    pool: type[sa.Pool],
) -> None:
    opened: list[psycopg.Connection] = []

    def creator() -> psycopg.Connection:
        opened.append(psycopg.connect(cluster18.url(database)))
        return opened[-1]

    engine = sa.create_engine("postgresql+psycopg://", creator=creator, poolclass=pool)
    project.upgrade(connection=engine)
    assert migrated(cluster18, database)
    assert tables(cluster15, elsewhere) == []
    with engine.connect() as connection:
        connection.exec_driver_sql("SET work_mem = '7MB'")
        before = len(opened)
        with another_connection(connection) as other:
            assert len(opened) == before + 1
            assert other.exec_driver_sql("SHOW work_mem").scalar() == "7MB"
    engine.dispose()


def test_a_second_connection_to_another_server_is_not_used(
    cluster18: Cluster, database: str, cluster15: Cluster
) -> None:
    urls = [cluster18.url(database), cluster18.url(database), cluster15.url("postgres")]
    engine = sa.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(urls.pop(0)), poolclass=sa.pool.NullPool
    )
    with engine.connect() as connection:
        another_connection(connection).close()
        with pytest.raises(LockstepError, match=r"a second connection came to .* name one host"):
            another_connection(connection)


def test_a_listener_decides_where_an_engine_connects(
    project: Project, cluster18: Cluster, cluster15: Cluster, database: str, elsewhere: str
) -> None:
    engine = sa.create_engine("postgresql+psycopg://", poolclass=sa.pool.NullPool)

    @sa.event.listens_for(engine, "do_connect")
    def there(_dialect: Any, _record: Any, _arguments: Any, keywords: dict[str, Any]) -> None:
        keywords.update(host=str(cluster18.folder), port=cluster18.port, dbname=database)

    project.upgrade(connection=engine)
    engine.dispose()
    assert migrated(cluster18, database)
    assert tables(cluster15, elsewhere) == []


@pytest.mark.parametrize("how", ["connect_args", "do_connect", "url"])
def test_where_an_asyncpg_engine_connects_is_where_psycopg_does(
    project: Project, cluster18: Cluster, cluster15: Cluster, database: str, elsewhere: str, how: str
) -> None:
    arguments = asyncpg_arguments(cluster18, database)
    url = cluster18.url(database, "asyncpg") if how == "url" else "postgresql+asyncpg://"
    engine = create_async_engine(url, connect_args=arguments if how == "connect_args" else {})
    if how == "do_connect":
        sa.event.listen(
            engine.sync_engine, "do_connect", lambda _d, _r, _a, keywords: keywords.update(arguments)
        )
    project.upgrade(connection=engine)
    assert migrated(cluster18, database)
    assert tables(cluster15, elsewhere) == []


def test_an_async_creator_to_where_the_url_does_not_lead_is_refused(
    project: Project, cluster18: Cluster, cluster15: Cluster, database: str, elsewhere: str
) -> None:
    async def creator() -> Any:
        return await asyncpg.connect(**asyncpg_arguments(cluster18, database))

    engine = create_async_engine("postgresql+asyncpg://", async_creator=creator)
    with pytest.raises(LockstepError, match=r"the engine comes to database .* psycopg to database") as raised:
        project.upgrade(connection=engine)
    assert "\n" not in str(raised.value)
    assert tables(cluster15, elsewhere) == tables(cluster18, database) == []
    same = create_async_engine(cluster18.url(database, "asyncpg"), async_creator=creator)
    project.upgrade(connection=same)
    assert migrated(cluster18, database)


def test_an_async_engine_over_psycopg_is_migrated(
    project: Project, cluster18: Cluster, database: str
) -> None:
    project.upgrade(connection=create_async_engine(cluster18.url(database, "psycopg")))
    assert migrated(cluster18, database)


def test_an_engine_over_psycopg2_is_migrated(project: Project, cluster18: Cluster, database: str) -> None:
    project.upgrade("r1", connection=sa.create_engine(cluster18.url(database, "psycopg2")))
    engine = sa.create_engine("postgresql+psycopg2://")

    @sa.event.listens_for(engine, "do_connect")
    def there(_dialect: Any, _record: Any, arguments: list[Any], _keywords: dict[str, Any]) -> None:
        arguments[:] = [f"host={cluster18.folder} port={cluster18.port} user=postgres dbname={database}"]

    project.upgrade(connection=engine)
    assert migrated(cluster18, database)


def test_revisions_that_were_written_for_psycopg2_run_as_they_stand(
    cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    project = Project(tmp_path / "written", cluster18.url(database, "psycopg2"))
    project.revision(
        """
        columns = [sa.Column("n", sa.Integer()), sa.Column("at", sa.DateTime()), sa.Column("j", sa.JSON())]
        op.create_table("t", *columns)
        t = sa.table("t", sa.column("n"), sa.column("at"))
        bind = op.get_bind()
        bind.execute(t.insert().values(n="7", at="2026-01-02"))
        bind.execute(t.update().where(t.c.n == "7").values(n="8"))
        bind.execute(sa.text("ALTER TABLE t ALTER n SET DEFAULT :n"), {"n": 9})
        several = "UPDATE t SET n = n + :n; INSERT INTO t (j) VALUES (:j)"
        bind.execute(sa.text(several), {"n": 1, "j": '{"a": "100%"}'})
        found = bind.exec_driver_sql("SELECT '100%%' WHERE 1 = ANY (%(ids)s)", {"ids": [1, 2]})
        assert found.scalar() == "100%"
        inside = sa.text("SELECT n FROM t WHERE n IN :n AND 'x' IN :x")
        found = bind.execute(inside, {"n": (8, 9), "x": ("x", None)})
        assert found.scalar() == 9
        """
    )
    ways: list[dict[str, Any]] = [{"plain": True}, {}, {"connection": sa.create_engine(project.url)}]
    for way in ways:
        project.upgrade(**way)
        with cluster18.connect(database) as connection:
            rows = connection.execute("SELECT n, at::date::text, j->>'a' FROM t ORDER BY n").fetchall()
            assert rows == [(9, "2026-01-02", None), (9, None, "100%")]
            connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def test_a_revision_that_was_written_for_psycopg2_finds_psycopgs_dialect(
    cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    project = Project(tmp_path / "asks", cluster18.url(database, "psycopg2"))
    asks = "dialect = op.get_bind().dialect\nraise RuntimeError(f'{dialect.name} by {dialect.driver}')"
    project.revision(asks)
    with pytest.raises(RuntimeError, match="postgresql by psycopg2"):
        project.upgrade(plain=True)
    with pytest.raises(RuntimeError, match=r"postgresql by psycopg$"):
        project.upgrade()


def test_the_settings_and_the_role_of_an_asyncpg_engine_are_kept(
    project: Project, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute('CREATE SCHEMA "My App"')
        connection.execute("CREATE ROLE owner_of_it; ALTER DATABASE " + database + " OWNER TO owner_of_it")
        connection.execute('ALTER SCHEMA "My App" OWNER TO owner_of_it')
    try:
        engine = create_async_engine(
            cluster18.url(database, "asyncpg"),
            connect_args={"server_settings": {"search_path": '"My App"', "statement_timeout": "70000"}},
        )

        @sa.event.listens_for(engine.sync_engine, "connect")
        def become(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute("SET ROLE owner_of_it")
            connection.commit()

        project.upgrade(connection=engine)
        assert "My App.things" in tables(cluster18, database)
        with cluster18.connect(database) as connection:
            owners = connection.execute(
                "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename = 'things'"
            )
            assert owners.fetchall() == [("owner_of_it",)]
    finally:
        with cluster18.connect(database) as connection:
            connection.execute(
                f"ALTER DATABASE {database} OWNER TO postgres; DROP OWNED BY owner_of_it CASCADE"
            )
            connection.execute("DROP ROLE owner_of_it")


def test_a_role_that_may_not_see_the_system_identifier_is_told_apart_all_the_same(
    project: Project, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        connection.execute(f"CREATE ROLE lowly LOGIN; ALTER DATABASE {database} OWNER TO lowly")
        connection.execute("GRANT ALL ON SCHEMA public TO lowly")
    other = cluster18.create_database()
    try:

        async def creator() -> Any:
            return await asyncpg.connect(**{**asyncpg_arguments(cluster18, database), "user": "lowly"})

        for url in (cluster18.url(other, "asyncpg"), cluster18.url(database, "asyncpg")):
            with pytest.raises(LockstepError, match="psycopg"):
                project.upgrade(connection=create_async_engine(url, async_creator=creator))
        url = cluster18.url(database, "asyncpg").replace("postgres@", "lowly@")
        project.upgrade(connection=create_async_engine(url, async_creator=creator))
        assert migrated(cluster18, database)
    finally:
        cluster18.drop_database(other)
        with cluster18.connect(database) as connection:
            connection.execute(f"ALTER DATABASE {database} OWNER TO postgres")
            connection.execute("DROP OWNED BY lowly CASCADE; DROP ROLE lowly")


def test_a_creator_that_raises_is_one_line(project: Project) -> None:
    async def creator() -> Any:
        raise RuntimeError("the token has expired")

    engine = create_async_engine("postgresql+asyncpg://", async_creator=creator)
    with pytest.raises(LockstepError, match="cannot connect as the engine does: the token has expired"):
        project.upgrade(connection=engine)


def test_what_psycopg_cannot_be_given_is_refused_by_name(
    project: Project, cluster18: Cluster, database: str
) -> None:
    url = cluster18.url(database, "asyncpg")
    with pytest.raises(LockstepError, match="ssl= is an SSLContext"):
        libpq_arguments({"ssl": ssl.create_default_context()})
    with pytest.raises(LockstepError, match="the option 'direct_tls' is not one that psycopg knows"):
        project.upgrade(url=url + "&direct_tls=true")
    with pytest.raises(LockstepError, match="the option 'server_settings'"):
        project.upgrade(url=url + "&server_settings=jit%3Doff")
    assert tables(cluster18, database) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql+psycopg2://u:p%40@h/d?sslmode=require", "postgresql+psycopg://u:p%40@h/d?sslmode=require"),
        ("postgresql+psycopg2://u@/d?host=/run&port=5", "postgresql+psycopg://u@/d?host=%2Frun&port=5"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql+asyncpg://u@h/d?ssl=verify-full", "postgresql+psycopg://u@h/d?sslmode=verify-full"),
        ("postgresql+asyncpg://u@/d?host=a:1&host=b:2", "postgresql+psycopg://u@/d?host=a%3A1&host=b%3A2"),
        ("postgresql+asyncpg://u@h/?database=d&timeout=9", "postgresql+psycopg://u@h/?connect_timeout=9&dbname=d"),
        ("postgresql+asyncpg://u@h/d?target_session_attrs=read-write",
         "postgresql+psycopg://u@h/d?target_session_attrs=read-write"),
    ],
)  # fmt: skip
def test_a_url_for_another_driver_becomes_psycopgs(given: str, expected: str) -> None:
    made = synchronous(sa.make_url(given)).render_as_string(hide_password=False)
    assert made.replace("/d/", "/d") == expected


def test_several_hosts_are_tried_in_turn(project: Project, cluster18: Cluster, database: str) -> None:
    url = (
        f"postgresql+asyncpg://postgres@/{database}?host=/nowhere,{cluster18.folder}&port=1,{cluster18.port}"
    )
    project.upgrade(url=url)
    assert migrated(cluster18, database)
