"""``folkmoot serve`` and ``folkmoot migrate`` as processes, on the embedded and on another database."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from alembic.script import ScriptDirectory

from api import Api
from folkmoot.commands.serve import UNREAD_KILOBYTES
from folkmoot.postgres import revisions
from running import Service, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from testing.cluster import Cluster

KEY = "k" * 32


@pytest.fixture
def external(cluster18: Cluster) -> dict[str, str]:
    return {"DATABASE_URL": cluster18.url(cluster18.create_database()), "SECRET_KEY": KEY}


@pytest.fixture
def at_head(cluster18: Cluster, migrated: str) -> Iterator[tuple[dict[str, str], psycopg.Connection]]:
    """The settings of a database at head, and a connection to it."""
    name = cluster18.create_database(template=migrated)
    with cluster18.connect(name) as connection:
        yield {"DATABASE_URL": cluster18.url(name), "SECRET_KEY": KEY}, connection


def test_a_command_imports_no_server_unless_it_starts_one() -> None:
    code = (
        "import sys; from folkmoot.commands.main import program; program('psql'); program('migrate'); "
        "print({'fastapi', 'granian', 'argon2'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"


def test_serve_in_an_empty_folder_answers_and_ctrl_c_stops_everything(folder: Path) -> None:
    with Service(folder, WORKERS="2") as service:
        assert service.wait_until(200, "/healthz").headers["content-type"] == "application/json"
        again = run(folder, "serve", PORT=str(service.port))
        assert again.returncode == 2
        assert (
            again.stderr == f"HOST, PORT: cannot listen on 127.0.0.1:{service.port}: Address already in use\n"
        )
        shown = run(folder, "psql", "--", "-Atc", "SELECT count(*) FROM users")
        assert (shown.returncode, shown.stdout) == (0, "0\n")
        assert service.interrupt() == 0
    assert f"Folkmoot listens on {service.url}" in service.output()
    assert not (folder / ".data" / "postgresql-18" / "data" / "postmaster.pid").exists()


@pytest.mark.one_in(3)
def test_the_embedded_service_is_a_role_that_reads_and_writes_rows(folder: Path) -> None:
    def psql(statement: str) -> str:
        return run(folder, "psql", "--", "-Atqc", statement).stdout.strip()

    as_service = "SET ROLE folkmoot_service; "
    with Service(folder) as service:
        body = {"email": "ada@example.com", "password": "correct horse battery staple"}
        assert httpx.post(f"{service.url}/users", json=body).status_code == 201
        who = "SELECT DISTINCT usename FROM pg_stat_activity WHERE usename <> current_user"
        rights = "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname LIKE '%service'"
        assert psql(f"{who}; {rights}") == "folkmoot_service\nf"
        for refused in (
            "DROP TABLE users",
            "UPDATE alembic_version SET version_num = ''",
            "CREATE TABLE t ()",
        ):
            assert "ERROR" in run(folder, "psql", "--", "-Atqc", as_service + refused).stderr
        assert psql(as_service + "SELECT count(*) FROM lockstep.revision") == "0"
        # A table that a later revision adds.
        assert psql("CREATE TABLE later (n int)") == ""
        assert psql(as_service + "INSERT INTO later VALUES (1) RETURNING n") == "1"


@pytest.mark.parametrize("revision", ["6c4e1f90b2d7", pytest.param("cfcc4fd02d18", marks=pytest.mark.prove)])
def test_a_data_folder_from_before_there_was_a_role_to_serve_is_served(folder: Path, revision: str) -> None:
    assert run(folder, "migrate", revision).returncode == 0
    insert = "INSERT INTO posts (title) VALUES ('at 1') RETURNING 1; "
    role = "SELECT count(*) FROM pg_roles WHERE rolname = 'folkmoot_service'"
    kept = insert if revision == "cfcc4fd02d18" else "SELECT 1; "
    assert run(folder, "psql", "--", "-Atqc", kept + role).stdout.split() == ["1", "0"]
    with Service(folder) as service, httpx.Client(base_url=service.url) as client:
        body = {"email": "ada@example.com", "password": "correct horse battery staple"}
        assert client.post("/users", json=body).status_code == 201
        form = {"username": body["email"], "password": body["password"]}
        client.headers["Authorization"] = f"Bearer {client.post('/login', data=form).json()['access_token']}"
        post = client.post("/posts", json={"title": "Who speaks first?", "content": "Ada"}).json()
        assert client.post("/vote", json={"post_id": post["id"], "dir": 1}).status_code == 201
        assert client.get("/posts", params={"q": "speaks", "sort": "top"}).json()["items"][0]["votes"] == 1
        assert client.get("/users/me/export").json()["votes"] == [{"post_id": post["id"]}]
        assert client.get("/posts/1").status_code == 200
        body = {"current_password": body["password"]}
        assert client.request("DELETE", "/users/me", json=body).status_code == 204


def test_after_a_kill_the_next_start_serves_what_was_acknowledged(folder: Path) -> None:
    with Service(folder) as service:
        insert = "INSERT INTO users (email, password) VALUES ('ada@example.com', 'x') RETURNING 1"
        assert run(folder, "psql", "--", "-Atqc", insert).stdout == "1\n"
        service.kill()
    with Service(folder):
        assert run(folder, "psql", "--", "-Atc", "SELECT count(*) FROM users").stdout == "1\n"


@pytest.mark.one_in(2)
def test_ctrl_c_while_workers_are_still_starting_stops_them_all(folder: Path) -> None:
    with Service(folder, WORKERS="4") as service:  # answers as soon as one of them does
        assert service.interrupt() == 0
    assert "refused to gracefully stop" not in service.output()


@pytest.mark.one_in(3)
def test_a_killed_worker_and_a_killed_database_are_replaced(folder: Path) -> None:
    with Service(folder) as service:
        (worker,) = re.findall(r"Spawning worker-1 with PID: (\d+)", service.output())
        os.kill(int(worker), signal.SIGKILL)
        service.wait_for_line("Started worker-1", times=2)
        service.wait_until(200)

        lock = folder / ".data" / "postgresql-18" / "data" / "postmaster.pid"
        os.kill(int(lock.read_text().splitlines()[0]), signal.SIGKILL)
        service.wait_for_line("PostgreSQL had stopped and was started again")
        service.wait_until(200)


@pytest.mark.prove
@pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT is Linux's")
def test_a_connection_whose_client_takes_nothing_of_its_answer_is_closed(folder: Path) -> None:
    def open_at_the_server() -> int:
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        wanted = f"0100007F:{service.port:04X}", f"0100007F:{client.getsockname()[1]:04X}", "01"
        return sum(tuple(row[1:4]) == wanted for row in rows)

    with Service(folder) as service, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", service.port))
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        began = time.monotonic()
        assert open_at_the_server() == 1
        while open_at_the_server():
            assert time.monotonic() - began < 60
            time.sleep(0.1)
        assert time.monotonic() - began > 20
        service.wait_until(200)


@pytest.mark.prove
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel is left alone")
def test_the_kernel_keeps_little_of_the_answers_for_a_client_that_reads_none(folder: Path) -> None:
    def kept() -> int:
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ends = f"0100007F:{service.port:04X}", f"0100007F:{client.getsockname()[1]:04X}"
        return next(int(row[4].partition(":")[0], 16) for row in rows if tuple(row[1:3]) == ends)

    with Service(folder) as service, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", service.port))
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        seen = [kept()]
        while seen[-1] == 0 or len(set(seen[-10:])) > 1 or len(seen) < 10:  # until it stands still
            time.sleep(0.05)
            seen.append(kept())
        assert seen[-1] <= UNREAD_KILOBYTES * 1024


@pytest.mark.one_in(3)
def test_another_database_is_migrated_only_when_told(folder: Path, external: dict[str, str]) -> None:
    refused = run(folder, "serve", **external)
    assert refused.returncode == 2
    assert "cfcc4fd02d18 create posts table" in refused.stderr
    assert "c47ecbf163d4 add phone number" in refused.stderr
    assert refused.stderr.count("\n") == 1

    done = run(folder, "migrate", "036aa392dfb0", **external)
    assert done.returncode == 0
    refused = run(folder, "serve", **external)
    assert "cfcc4fd02d18" not in refused.stderr
    assert "missing: c47ecbf163d4 add phone number" in refused.stderr

    with Service(folder, "--migrate", **external):
        pass
    done = run(folder, "migrate", **external)
    assert (done.returncode, done.stdout) == (0, "The schema is at head.\n")
    assert not (folder / ".data").exists()


@pytest.mark.one_in(3)
def test_a_schema_from_the_future_is_refused(
    folder: Path, at_head: tuple[dict[str, str], psycopg.Connection]
) -> None:
    settings, connection = at_head
    connection.execute("UPDATE alembic_version SET version_num = 'fedcba987654'")
    for arguments in (["serve"], ["serve", "--migrate"], ["migrate"]):
        refused = run(folder, *arguments, **settings)
        assert refused.returncode == 2
        assert refused.stderr == (
            "This program is older than the schema: it does not know fedcba987654. Use a newer one.\n"
        )


def test_a_server_that_cannot_be_reached_is_one_line(folder: Path) -> None:
    refused = run(folder, "migrate", DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/d")
    assert refused.returncode == 2
    assert refused.stderr.startswith("The database cannot be reached: ")
    assert refused.stderr.count("\n") == 1
    assert "hunter2" not in refused.stderr


def test_readiness_says_why_it_cannot_serve(
    folder: Path, at_head: tuple[dict[str, str], psycopg.Connection]
) -> None:
    settings, connection = at_head
    sql = connection.execute
    with Service(folder, **settings) as service:
        head = revisions.config()
        assert head.get_main_option("script_location")
        sql("UPDATE alembic_version SET version_num = '036aa392dfb0'")
        problem = service.wait_until(503)
        assert problem.headers["content-type"] == "application/problem+json"
        assert "missing: c47ecbf163d4 add phone number" in problem.json()["detail"]

        # A newer schema that has all that this program uses is served: programs are replaced one by one.
        sql("UPDATE alembic_version SET version_num = 'fedcba987654'; ALTER TABLE posts ADD COLUMN new text")
        service.wait_until(200)
        sql("ALTER TABLE posts ADD COLUMN newer text NOT NULL")
        assert "requires posts.newer" in service.wait_until(503).json()["detail"]
        sql("ALTER TABLE posts DROP COLUMN newer, DROP COLUMN title CASCADE")
        assert "lacks posts.title" in service.wait_until(503).json()["detail"]
        service.wait_until(200, "/healthz")


@pytest.mark.one_in(3)
def test_a_half_done_revision_is_told_from_a_finished_one(
    folder: Path, external: dict[str, str], cluster18: Cluster
) -> None:
    name = external["DATABASE_URL"].rpartition("@/")[2].partition("?")[0]

    def sql(statement: str) -> None:
        with cluster18.connect(name) as connection:
            connection.execute(statement.encode())

    assert run(folder, "migrate", "9e07b3d4c615", **external).returncode == 0
    # A view on the last column keeps its type from being changed, half way through the revision.
    sql(
        "INSERT INTO users (email, password) VALUES ('a', '!');"
        # So many that the type is not changed within the revision's transaction, which would leave nothing.
        "INSERT INTO posts (title, content, owner_id) SELECT 't', repeat('c', 200), 1 "
        "FROM generate_series(1, 5000);"
        "CREATE VIEW watched AS SELECT post_id FROM votes"
    )
    stopped = run(folder, "migrate", **external)
    assert stopped.returncode == 2
    assert "Traceback" not in stopped.stderr
    assert "cannot alter type of a column used by a view" in stopped.stderr

    half_done = "The upgrade of revision d2c61f0ab873 is half done."
    refused = run(folder, "serve", **external)
    assert refused.returncode == 2
    assert half_done in refused.stderr
    with Api(cluster18, name) as api:
        # What this program needs is not there yet: the program before it goes on serving.
        unready = api.get("/readyz")
        assert unready.status_code == 503
        assert half_done in unready.json()["detail"]
        assert "missing: d2c61f0ab873 widen ids" in unready.json()["detail"]
        sql("DROP VIEW watched")
        assert run(folder, "migrate", **external).stdout == "The schema is at head.\n"
        assert api.get("/readyz").json() == {"status": "ok"}
        # The oldest revision that this program can serve on is the last one, and goes on still.
        last = ScriptDirectory.from_config(revisions.config()).get_revision("head")
        before, head = last.down_revision, last.revision
        sql(
            f"UPDATE alembic_version SET version_num = '{before}';"
            f"INSERT INTO lockstep.revision VALUES ('.alembic_version', '{head}', 'upgrade', 'hash')"
        )
        assert head == revisions.OLDEST
        unready = api.get("/readyz")
        assert unready.status_code == 503
        assert f"The upgrade of revision {head} is half done." in unready.json()["detail"]
        sql(f"UPDATE alembic_version SET version_num = '{head}';DELETE FROM lockstep.revision")
        # A downgrade that was stopped before it took anything that the program uses.
        sql(f"INSERT INTO lockstep.revision VALUES ('.alembic_version', '{head}', 'downgrade', 'hash')")
        assert api.get("/readyz").json()["half_done"][0]["direction"] == "downgrade"
        with Service(folder, **external) as service:
            assert f"The downgrade of revision {head} is half done." in service.output()
        sql("DROP SCHEMA lockstep CASCADE")
        assert api.get("/readyz").json() == {"status": "ok"}
