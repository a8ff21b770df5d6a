"""``folkmoot backup`` and ``folkmoot restore``: of one moment, complete or absent, and tried."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from api import PASSWORD, SECRET, UNLIMITED_ENVIRONMENT, Api
from folkmoot.backups import manifest, programs, restoring, taking
from folkmoot.backups.errors import BackupError
from folkmoot.commands.recount import recount
from running import PROGRAM, Service, environment, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testing.cluster import Cluster


def conninfo(cluster: Cluster, name: str, user: str = "postgres") -> dict[str, str]:
    return {"host": str(cluster.folder), "port": str(cluster.port), "user": user, "dbname": name}


@pytest.fixture
def source(cluster18: Cluster, migrated: str) -> Iterator[str]:
    """A database at head with somebody who wrote three posts and voted on one."""
    name = cluster18.create_database(template=migrated)
    with cluster18.connect(name) as connection:
        connection.execute("INSERT INTO users (email, password) VALUES ('ada@example.com', '!')")
        connection.execute(
            "INSERT INTO posts (title, content, owner_id) SELECT 'Title', '', 1 FROM generate_series(1, 3)"
        )
        connection.execute("INSERT INTO votes (user_id, post_id) VALUES (1, 2)")
    yield name
    cluster18.drop_database(name)


@pytest.fixture
def target(cluster18: Cluster) -> Iterator[str]:
    name = cluster18.create_database()
    yield name
    cluster18.drop_database(name)


@pytest.fixture
def backup(cluster18: Cluster, source: str, folder: Path) -> Path:
    return taking.take(conninfo(cluster18, source), folder / "backups")


def databases(cluster: Cluster) -> list[str]:
    with cluster.connect() as connection:
        rows = connection.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()
    return [name for (name,) in rows]


def writing(write: Callable[[], int], stop: Event, acknowledged: list[tuple[datetime, int]]) -> Thread:
    """Somebody who writes until they are stopped; what was acknowledged, and when."""

    def until_stopped() -> None:
        while not stop.is_set():
            written = write()
            acknowledged.append((datetime.now(UTC), written))

    thread = Thread(target=until_stopped)
    thread.start()
    return thread


def restored(cluster: Cluster, target: str, taken: Path) -> set[int]:
    """Restore into this database, see that it is whole, and return the ids of its posts."""
    found = manifest.read(taken)
    where = conninfo(cluster, target)
    restoring.restore(where, taken, found)
    assert restoring.schema_differences(where, ()) == []
    with cluster.connect(target) as connection:
        assert restoring.differing(connection, found) == []
        assert recount(connection, repair=False) == []
        connection.execute("RESET ALL")
        return {post for (post,) in connection.execute("SELECT id FROM posts").fetchall()}


def test_what_was_acknowledged_before_a_backup_is_in_it_though_people_write_meanwhile(
    api: Api, target: str, folder: Path
) -> None:
    people = [api.person() for _ in range(3)]
    acknowledged: list[tuple[datetime, int]] = []
    stop = Event()

    def write(number: int) -> int:
        body = {"title": "Title", "content": "content"}
        post: int = api.post("/posts", json=body, headers=people[number].auth).json()["id"]
        for person in people:
            api.post("/vote", json={"post_id": post, "dir": 1}, headers=person.auth)
        return post

    threads = [writing(lambda n=n: write(n), stop, acknowledged) for n in range(3)]  # type: ignore[misc]
    while len(acknowledged) < 5:
        stop.wait(0.01)
    taken = taking.take(conninfo(api.cluster, api.database), folder)
    stop.set()
    for thread in threads:
        thread.join()
    moment = datetime.fromisoformat(manifest.read(taken).taken_at)
    before = {post for when, post in acknowledged if when < moment}
    assert len(before) >= 5
    assert before <= restored(api.cluster, target, taken) <= {post for _, post in acknowledged}


@pytest.mark.prove
def test_a_backup_of_a_service_in_use_loses_nothing_that_was_acknowledged_before(
    cluster18: Cluster, migrated: str, target: str, folder: Path, record_property: Callable[..., None]
) -> None:
    name = cluster18.create_database(template=migrated)
    settings = {"DATABASE_URL": cluster18.url(name), "SECRET_KEY": SECRET, "WORKERS": "2"}
    acknowledged: list[tuple[datetime, int]] = []
    stop = Event()
    with Service(folder, **settings, **UNLIMITED_ENVIRONMENT) as service, httpx.Client(timeout=30) as client:
        headers = []
        for n in range(6):
            account = {"email": f"person{n}@example.com", "password": PASSWORD}
            client.post(f"{service.url}/users", json=account)
            form = {"username": account["email"], "password": PASSWORD}
            token = client.post(f"{service.url}/login", data=form).json()["access_token"]
            headers.append({"Authorization": f"Bearer {token}"})

        def write(number: int) -> int:
            body = {"title": "Title", "content": "content"}
            answer = client.post(f"{service.url}/posts", json=body, headers=headers[number])
            post: int = answer.raise_for_status().json()["id"]
            for each in headers:
                client.post(f"{service.url}/vote", json={"post_id": post, "dir": 1}, headers=each)
            comment = {"content": "Well said."}
            client.post(f"{service.url}/posts/{post}/comments", json=comment, headers=headers[number])
            return post

        threads = [writing(lambda n=n: write(n), stop, acknowledged) for n in range(6)]  # type: ignore[misc]
        while len(acknowledged) < 100:
            stop.wait(0.05)
        said = run(folder, "backup", "kept", **settings)
        assert said.returncode == 0, said.stderr
        stop.set()
        for thread in threads:
            thread.join()
    taken = folder / said.stdout.strip()
    moment = datetime.fromisoformat(manifest.read(taken).taken_at)
    before = {post for when, post in acknowledged if when < moment}
    there = restored(cluster18, target, taken)
    record_property("acknowledged before, restored, acknowledged in all", (
        len(before), len(there), len(acknowledged)
    ))  # fmt: skip
    assert before <= there
    cluster18.drop_database(name)


def test_a_restored_database_has_the_ledger_and_a_number_for_each_new_post(
    cluster18: Cluster, target: str, backup: Path
) -> None:
    found = manifest.read(backup)
    assert found.rows["lockstep.applied"].number > 10
    assert "public.request_counts" not in found.rows
    assert restored(cluster18, target, backup) == {1, 2, 3}
    with cluster18.connect(target) as connection:
        added = "INSERT INTO posts (title, content, owner_id) VALUES ('t', 'c', 1) RETURNING id"
        assert connection.execute(added).fetchone() == (4,)


def test_a_database_that_is_not_empty_is_not_restored_into(
    cluster18: Cluster, source: str, backup: Path
) -> None:
    with pytest.raises(BackupError, match=f"database {source} is not empty .*into an empty one only"):
        restoring.restore(conninfo(cluster18, source), backup, manifest.read(backup))


@pytest.mark.parametrize("harm", ["cut", "changed", "missing"])
def test_a_damaged_backup_is_found_and_the_file_is_named(backup: Path, harm: str) -> None:
    file = max((backup / "dump").iterdir(), key=lambda path: path.stat().st_size)
    content = file.read_bytes()
    match harm:
        case "cut":
            file.write_bytes(content[:-1])
        case "changed":
            file.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        case "missing":
            file.unlink()
    with pytest.raises(BackupError, match=rf"damaged: .*{file.name} is (not what was written|missing)"):
        manifest.read(backup)


def test_a_manifest_that_is_cut_is_found(backup: Path, tmp_path: Path) -> None:
    written = (backup / "manifest.json").read_bytes()
    (backup / "manifest.json").write_bytes(written[: len(written) // 2])
    with pytest.raises(BackupError, match=r"damaged: .*manifest\.json is not what was written"):
        manifest.read(backup)
    with pytest.raises(BackupError, match="is no backup"):
        manifest.read(tmp_path)


def test_rows_that_came_back_other_than_they_were_are_named(
    cluster18: Cluster, target: str, backup: Path
) -> None:
    found = manifest.read(backup)
    restoring.restore(conninfo(cluster18, target), backup, found)
    with cluster18.connect(target) as connection:
        connection.execute("UPDATE users SET email = 'eve@example.com'")
        connection.execute("DELETE FROM posts WHERE id = 3")
        connection.execute("CREATE TABLE more (id integer)")
        assert restoring.differing(connection, found) == [
            "public.more: not of the backup",
            "public.post_ranks: 2 rows, of 3",
            "public.posts: 2 rows, of 3",
            "public.users: 1 rows, and other ones",
        ]


def test_a_check_says_that_a_backup_holds_and_leaves_nothing(
    cluster18: Cluster, source: str, backup: Path, folder: Path
) -> None:
    before, files = databases(cluster18), sorted(folder.rglob("*"))
    with cluster18.connect() as connection:
        connection.execute("CREATE DATABASE folkmoot_check_killed")
    said = run(folder, "restore", "--check", str(backup), DATABASE_URL=cluster18.url(source))
    assert said.stdout.startswith("The backup holds: "), said.stderr
    assert (databases(cluster18), sorted(folder.rglob("*"))) == (before, files)


@pytest.mark.one_in(3)
def test_a_check_names_what_the_schema_has_otherwise_and_counts_that_are_wrong(
    cluster18: Cluster, source: str, folder: Path
) -> None:
    with cluster18.connect(source) as connection:
        connection.execute("ALTER TABLE posts ADD COLUMN extra integer")
        connection.execute("UPDATE post_ranks SET votes = 7 WHERE post_id = 1")
    taken = taking.take(conninfo(cluster18, source), folder)
    said = run(folder, "restore", "--check", str(taken), DATABASE_URL=cluster18.url(source))
    assert said.returncode == 1
    assert "column extra" in said.stdout
    assert "post 1: kept 7, counted 0 votes" in said.stdout


@pytest.mark.one_in(3)
def test_whoever_may_not_create_a_database_tries_a_backup_on_an_embedded_server(
    cluster18: Cluster, source: str, backup: Path
) -> None:
    found = manifest.read(backup)
    with cluster18.connect(source) as connection:
        connection.execute("CREATE ROLE reader LOGIN IN ROLE pg_read_all_data")
    try:
        with restoring.beside(conninfo(cluster18, source, "reader"), found) as where:
            assert where["host"] != str(cluster18.folder)
            restoring.restore(where, backup, found)
            with psycopg.connect(make_conninfo(**where), autocommit=True) as connection:
                assert restoring.differing(connection, found) == []
        again = taking.take(conninfo(cluster18, source, "reader"), backup.parent)
        assert manifest.read(again).rows == found.rows
    finally:
        with cluster18.connect() as connection:
            connection.execute("DROP ROLE reader")


def test_whoever_may_not_read_a_table_is_told_so_and_nothing_is_left(
    cluster18: Cluster, source: str, folder: Path
) -> None:
    with cluster18.connect() as connection:
        connection.execute("CREATE ROLE nobody_here LOGIN")
    try:
        with pytest.raises(BackupError, match="reads every table, and the role may not: permission denied"):
            taking.take(conninfo(cluster18, source, "nobody_here"), folder / "backups")
    finally:
        with cluster18.connect() as connection:
            connection.execute("DROP ROLE nobody_here")
    assert list((folder / "backups").iterdir()) == []


def test_rights_come_back_and_a_role_that_is_missing_is_named(
    cluster18: Cluster, source: str, target: str, folder: Path
) -> None:
    with cluster18.connect(source) as connection:
        connection.execute("CREATE ROLE auditor")
        connection.execute("GRANT SELECT ON posts TO auditor")
    taken = taking.take(conninfo(cluster18, source), folder)
    found = manifest.read(taken)
    assert found.roles == ["auditor"]
    with cluster18.connect(source) as connection:
        connection.execute("DROP OWNED BY auditor")
        connection.execute("ALTER ROLE auditor RENAME TO former_auditor")
    with pytest.raises(BackupError, match="grants rights to auditor, and there is no such role"):
        restoring.restore(conninfo(cluster18, target), taken, found)
    with cluster18.connect(target) as connection:
        connection.execute("ALTER ROLE former_auditor RENAME TO auditor")
        restoring.restore(conninfo(cluster18, target), taken, found)
        may = connection.execute("SELECT has_table_privilege('auditor', 'posts', 'SELECT')").fetchone()
        assert may == (True,)
        connection.execute("DROP OWNED BY auditor")
        connection.execute("DROP ROLE auditor")


def test_a_program_is_used_for_the_servers_that_it_understands_and_that_understand_it() -> None:
    here = [(18, Path("wheel/pg_dump")), (15, Path("debian/pg_dump"))]
    assert programs.choose("pg_dump", 15, here) == Path("debian/pg_dump")
    assert programs.choose("pg_dump", 17, here) == Path("wheel/pg_dump")
    for server in (16, 19):
        with pytest.raises(
            BackupError, match=f"is PostgreSQL {server}, and pg_dump here is 15 and 18: install"
        ):
            programs.choose("pg_dump", server, here)


def test_a_full_disk_is_a_sentence_and_nothing_is_left(cluster18: Cluster, source: str, folder: Path) -> None:
    small, script = folder / "small", folder / "script"
    small.mkdir()
    script.write_text(
        f"mount -t tmpfs -o size=12k tmpfs {small} || exit 9\n"
        f"{PROGRAM} backup {small}; echo $?\nls -A {small}\n"
    )
    own = [] if os.geteuid() == 0 else ["--map-root-user"]
    said = subprocess.run(
        ["unshare", *own, "--mount", "sh", str(script)], env=environment(DATABASE_URL=cluster18.url(source)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (
        said.stderr == f"The disk of {small} is full: the backup was given up, and nothing of it is left.\n"
    )
    assert said.stdout == "2\n"


def test_a_killed_backup_is_absent_and_the_next_one_removes_what_it_left(
    cluster18: Cluster, source: str, folder: Path
) -> None:
    held = taking.UNFINISHED + "of somebody else"
    (folder / (taking.UNFINISHED + "of a killed one") / "dump").mkdir(parents=True)
    (folder / held).mkdir()
    with taking._held(folder / held):  # noqa: SLF001 - as a backup under way does
        taken = taking.take(conninfo(cluster18, source), folder)
    assert sorted(path.name for path in folder.iterdir()) == [held, taken.name]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.one_in(2)
def test_a_restore_that_is_stopped_half_way_leaves_an_empty_database(
    cluster18: Cluster, target: str, backup: Path, folder: Path, sent: signal.Signals
) -> None:
    with cluster18.connect(target) as connection:
        # The restore waits here, in the middle of its transaction.
        connection.execute(
            "CREATE FUNCTION hold() RETURNS event_trigger LANGUAGE plpgsql AS "
            "$$BEGIN PERFORM pg_sleep(600); END$$"
        )
        connection.execute(
            "CREATE EVENT TRIGGER hold ON ddl_command_end WHEN tag IN ('CREATE INDEX') "
            "EXECUTE FUNCTION hold()"
        )
        process = subprocess.Popen(
            [str(PROGRAM), "restore", str(backup)], cwd=folder, start_new_session=True,
            env=environment(DATABASE_URL=cluster18.url(target)), stdout=subprocess.DEVNULL,
        )  # fmt: skip
        sleeping = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND wait_event = 'PgSleep'"
        while (found := connection.execute(sleeping, [target]).fetchone()) is None:
            assert process.poll() is None
            time.sleep(0.01)
        if sent == signal.SIGKILL:
            os.killpg(process.pid, sent)
        else:
            process.send_signal(sent)
        assert process.wait() == (-9 if sent == signal.SIGKILL else 143)
        # A server notices that its client is gone when it next writes to it; here it sleeps.
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", found)
        connection.execute("DROP EVENT TRIGGER hold")
        connection.execute("DROP FUNCTION hold()")
    assert restored(cluster18, target, backup) == {1, 2, 3}


@pytest.mark.one_in(3)
def test_the_embedded_database_goes_into_a_new_folder(folder: Path) -> None:
    assert run(folder, "migrate").returncode == 0
    said = run(folder, "backup")
    assert said.returncode == 0, said.stderr
    refused = run(folder, "restore", said.stdout.strip())
    assert (refused.returncode, "FOLKMOOT_DATA_DIR" in refused.stderr) == (2, True)
    again = run(folder, "restore", said.stdout.strip(), FOLKMOOT_DATA_DIR="another")
    assert again.stdout.startswith("Restored: "), again.stderr
    roles = json.loads((folder / said.stdout.strip() / "manifest.json").read_text())["roles"]
    assert roles == []
    shutil.rmtree(folder / "another")


@pytest.mark.one_in(8)
def test_a_database_on_postgresql_15_is_backed_up_and_comes_back(cluster15: Cluster, folder: Path) -> None:
    name, target = cluster15.create_database(), cluster15.create_database()
    assert run(folder, "migrate", DATABASE_URL=cluster15.url(name)).returncode == 0
    taken = taking.take(conninfo(cluster15, name), folder)
    assert manifest.read(taken).server.startswith("15")
    assert restored(cluster15, target, taken) == set()
