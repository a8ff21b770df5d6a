"""``folkmoot restore``: whole or not at all, into an empty database; and tried beside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy
from alembic import command
from psycopg.conninfo import make_conninfo

from backed_up import conninfo, databases, restored
from folkmoot.backups import manifest, restoring, taking
from folkmoot.backups.errors import BackupError
from folkmoot.postgres import revisions
from running import PROGRAM, environment, run

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster


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


@pytest.mark.one_in(2)
def test_a_revision_that_is_half_done_goes_on_in_the_restored_database(
    cluster18: Cluster, target: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = cluster18.create_database()
    monkeypatch.setenv("DATABASE_URL", cluster18.url(name))
    command.upgrade(revisions.config(), "9e07b3d4c615")
    with cluster18.connect(name) as connection:
        # A view on the last column keeps its type from being changed, half way through the next revision.
        for statement in (
            "INSERT INTO users (email, password) VALUES ('a', '!')",
            "INSERT INTO posts (title, content, owner_id) "
            "SELECT 't', repeat('c', 200), 1 FROM generate_series(1, 5000)",
            "CREATE VIEW watched AS SELECT post_id FROM votes",
        ):
            connection.execute(statement.encode())
    with pytest.raises(sqlalchemy.exc.DBAPIError, match="used by a view"):
        command.upgrade(revisions.config(), "head")
    taken = taking.take(conninfo(cluster18, name), folder)
    found = manifest.read(taken)
    assert found.half_done == ["upgrade of d2c61f0ab873"]
    where = conninfo(cluster18, target)
    restoring.restore(where, taken, found)
    monkeypatch.setenv("DATABASE_URL", cluster18.url(target))
    with cluster18.connect(target) as connection:
        assert restoring.differing(connection, found) == []
        connection.execute("DROP VIEW watched")
        command.upgrade(revisions.config(), "head")
        assert restoring.schema_differences(where, ()) == []
        assert connection.execute("SELECT count(*) FROM posts").fetchone() == (5000,)
    cluster18.drop_database(name)


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


def test_rights_that_a_host_has_granted_are_no_difference_of_a_backup(
    cluster18: Cluster, source: str, folder: Path
) -> None:
    with cluster18.connect(source) as connection:
        connection.execute("CREATE ROLE serving")
        connection.execute("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO serving")
    taken = taking.take(conninfo(cluster18, source), folder)
    said = run(folder, "restore", "--check", str(taken), DATABASE_URL=cluster18.url(source))
    with cluster18.connect(source) as connection:
        connection.execute("DROP OWNED BY serving")
        connection.execute("DROP ROLE serving")
    assert said.stdout.startswith("The backup holds: "), said.stdout


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
