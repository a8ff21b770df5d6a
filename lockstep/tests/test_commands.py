"""The ``lockstep`` command where several revisions are half done, or a migrator is at work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from command_line import made
from lockstep.commands.main import main
from lockstep.revision.ledger import Ledger
from lockstep.revision.one_migrator import only_migrator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from testing.cluster import Cluster

#: Two revisions of branches, each with a statement that nobody knows the end of.
_HALF_DONE = """
INSERT INTO lockstep.revision (version_table, revision, direction, source_hash)
VALUES ('public.alembic_version', 'left', 'upgrade', ''), ('public.alembic_version', 'right', 'upgrade', '');
INSERT INTO lockstep.operation (version_table, revision, key, position, says, steps, done)
SELECT version_table, revision, 'k', 1, 'execute VACUUM ' || revision,
       '[{"description": "d", "kind": "unknown", "undo": null}]', 0 FROM lockstep.revision;
"""

#: What the tables were before several revisions could be half done.
_OLDER = """
ALTER TABLE lockstep.operation DROP COLUMN revision CASCADE, DROP COLUMN fingerprint;
ALTER TABLE lockstep.revision DROP CONSTRAINT revision_pkey CASCADE, ADD PRIMARY KEY (version_table);
ALTER TABLE lockstep.operation ADD CONSTRAINT operation_pkey PRIMARY KEY (version_table, key),
    ADD CONSTRAINT operation_version_table_fkey FOREIGN KEY (version_table) REFERENCES lockstep.revision;
DROP TABLE lockstep.version_table;
"""


@pytest.fixture
def connection(cluster18: Cluster) -> Iterator[Connection]:
    database = cluster18.create_database()
    engine = sa.create_engine(cluster18.url(database, "psycopg"), poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        Ledger("public.alembic_version").create(connection)
        connection.commit()
        yield connection
    cluster18.drop_database(database)


def told(connection: Connection, folder: Path, *arguments: str) -> tuple[int, str]:
    """What a command in a project of this database answers."""
    if not (folder / "alembic.ini").exists():
        made(folder, connection.engine.url.render_as_string(hide_password=False))
    shown = CliRunner().invoke(main, [*arguments, "-c", str(folder / "alembic.ini")])
    return shown.exit_code, shown.output


def run(connection: Connection, statements: str) -> None:
    with connection.begin():
        connection.exec_driver_sql(statements)


def test_the_status_and_resolve_see_every_half_done_revision(connection: Connection, tmp_path: Path) -> None:
    run(connection, _HALF_DONE)
    status, shown = told(connection, tmp_path, "status", "--json")
    assert status == 3
    assert [one["revision"] for one in json.loads(shown)["half_done"]] == ["left", "right"]
    status, shown = told(connection, tmp_path, "resolve", "--done")
    assert status == 0
    assert "VACUUM left: done" in shown
    assert "VACUUM right: done" in shown


@pytest.mark.parametrize(
    "arguments", [("archive", "purge", "--yes"), ("resolve", "--done"), ("abandon", "--yes")]
)
def test_what_changes_the_ledger_is_refused_while_a_migrator_is_at_work(
    connection: Connection, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with only_migrator(connection, "alembic_version", None):
        status, shown = told(connection, tmp_path, *arguments)
    assert status == 2
    assert "a migrator is at work" in shown
    assert told(connection, tmp_path, *arguments)[0] == 0


def test_the_status_reads_a_ledger_that_an_older_version_wrote(
    connection: Connection, tmp_path: Path
) -> None:
    run(
        connection,
        _HALF_DONE
        + "DELETE FROM lockstep.revision WHERE revision = 'right';"
        + "UPDATE lockstep.revision SET version_table = '.alembic_version';"
        + _OLDER,
    )
    status, shown = told(connection, tmp_path, "status")
    assert status == 3
    assert "the upgrade of revision left is half done" in shown
    assert "execute VACUUM left: 0 of 1 steps" in shown
    assert told(connection, tmp_path, "resolve", "--done") == (0, "execute VACUUM left: done\n")
