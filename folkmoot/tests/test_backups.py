"""``folkmoot backup``: of one moment, complete or absent, while people go on."""

from __future__ import annotations

import os
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

from api import PASSWORD, SECRET, UNLIMITED_ENVIRONMENT, Api
from backed_up import conninfo, restored
from folkmoot.backups import manifest, programs, rows, taking
from folkmoot.backups.errors import BackupError
from running import PROGRAM, Service, environment, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from testing.cluster import Cluster


def writing(write: Callable[[], int], stop: Event, acknowledged: list[tuple[datetime, int]]) -> Thread:
    """Somebody who writes until they are stopped; what was acknowledged, and when."""

    def until_stopped() -> None:
        while not stop.is_set():
            written = write()
            acknowledged.append((datetime.now(UTC), written))

    thread = Thread(target=until_stopped)
    thread.start()
    return thread


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


def test_a_program_is_used_for_the_servers_that_it_understands_and_that_understand_it() -> None:
    here = [(18, Path("wheel/pg_dump")), (15, Path("debian/pg_dump"))]
    assert programs.choose("pg_dump", 15, here) == Path("debian/pg_dump")
    assert programs.choose("pg_dump", 17, here) == Path("wheel/pg_dump")
    for server in (16, 19):
        with pytest.raises(
            BackupError, match=f"is PostgreSQL {server}, and pg_dump here is 15 and 18: install"
        ):
            programs.choose("pg_dump", server, here)


@pytest.mark.one_in(3)
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


def test_no_table_is_rewritten_between_the_moment_of_a_backup_and_its_end(
    cluster18: Cluster, source: str
) -> None:
    # To the snapshot a table that was rewritten since would look empty.
    with cluster18.connect(source) as backing, cluster18.connect(source) as other:
        with taking._moment(backing) as (_, tables):  # noqa: SLF001 - what a backup stands on
            assert "public.login_failures" in map(str, tables)
            other.execute("SET lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("ALTER TABLE login_failures ALTER failures TYPE bigint")
            other.execute("INSERT INTO posts (title, content, owner_id) VALUES ('t', 'c', 1)")
        other.execute("ALTER TABLE login_failures ALTER failures TYPE bigint")


def test_a_table_that_somebody_holds_too_long_is_said(
    cluster18: Cluster, source: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_SETTINGS", ("SET lock_timeout = '50ms'",))
    with cluster18.connect(source, autocommit=False) as other:
        other.execute("LOCK TABLE votes")
        with pytest.raises(BackupError, match="Somebody changes the schema"):
            taking.take(conninfo(cluster18, source), folder)
    assert list(folder.iterdir()) == []


@pytest.mark.one_in(2)
def test_a_backup_that_is_stopped_leaves_nothing(cluster18: Cluster, source: str, folder: Path) -> None:
    with cluster18.connect(source, autocommit=False) as other, cluster18.connect() as watching:
        other.execute("LOCK TABLE votes")
        process = subprocess.Popen(
            [str(PROGRAM), "backup", "."], cwd=folder, env=environment(DATABASE_URL=cluster18.url(source)),
        )  # fmt: skip
        waiting = "SELECT FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
        while watching.execute(waiting, [source]).fetchone() is None:
            assert process.poll() is None
            time.sleep(0.01)
        assert len(list(folder.iterdir())) == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143
    assert list(folder.iterdir()) == []


def test_a_killed_backup_is_absent_and_the_next_one_removes_what_it_left(
    cluster18: Cluster, source: str, folder: Path
) -> None:
    held = taking.UNFINISHED + "of somebody else"
    (folder / (taking.UNFINISHED + "of a killed one") / "dump").mkdir(parents=True)
    (folder / held).mkdir()
    with taking._held(folder / held):  # noqa: SLF001 - as a backup under way does
        taken = taking.take(conninfo(cluster18, source), folder)
    assert sorted(path.name for path in folder.iterdir()) == [held, taken.name]


@pytest.mark.one_in(8)
def test_a_database_on_postgresql_15_is_backed_up_and_comes_back(cluster15: Cluster, folder: Path) -> None:
    name, target = cluster15.create_database(), cluster15.create_database()
    assert run(folder, "migrate", DATABASE_URL=cluster15.url(name)).returncode == 0
    taken = taking.take(conninfo(cluster15, name), folder)
    assert manifest.read(taken).server.startswith("15")
    assert restored(cluster15, target, taken) == set()
