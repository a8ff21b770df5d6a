"""What Lockstep has set for its session is there until the end of a revision, whatever its own SQL resets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from databases import at_first_revision, database18
from failing import SCHEMA
from lockstep import LockstepError
from project import Project
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster


database = database18(SCHEMA)
BOTH = pytest.mark.parametrize("short_way", [False, True], ids=["steps", "together"])


@pytest.fixture
def project(cluster18: Cluster, database: str, tmp_path: Path) -> Project:
    """A project at its first revision, each of whose operations is committed."""
    return at_first_revision(
        Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=False)
    )


@pytest.mark.parametrize(
    ("sends", "says"),
    [
        ("op.execute('RESET ALL')", "RESET with the name of each setting"),
        ("op.execute(sa.text('RESET ALL'))", "RESET with the name of each setting"),
        ("op.execute('UPDATE books SET pages = 2; RESET ALL')", "RESET with the name of each setting"),
        ("op.execute('DO $$ BEGIN RESET ALL; END $$')", "RESET with the name of each setting"),
        ("op.get_bind().exec_driver_sql('RESET ALL')", "RESET with the name of each setting"),
        ("with lockstep.plain(): op.execute('RESET ALL')", "RESET with the name of each setting"),
        (
            "with op.get_context().autocommit_block(): op.execute('DISCARD ALL')",
            "DISCARD ALL would also take away",
        ),
        ("op.execute('SET LOCAL lockstep.at_work TO off')", "Lockstep's own"),
        ("op.execute(\"SELECT set_config('lockstep.at_work', 'off', true)\")", "Lockstep's own"),
    ],
)
def test_a_statement_that_would_reset_what_lockstep_goes_by_is_refused_before_it_is_sent(
    project: Project, cluster18: Cluster, database: str, sends: str, says: str
) -> None:
    before = catalog_of(cluster18, database)
    project.revision(sends)
    with pytest.raises(LockstepError, match=says):
        project.upgrade()
    assert catalog_of(cluster18, database) == before


RESETS = "EXECUTE 'RESET ' || 'ALL'"


@pytest.mark.one_in(4)
@BOTH
@pytest.mark.parametrize(
    "sends",
    [
        "op.execute('SELECT resets()')",
        "op.execute('UPDATE books SET pages = resets()')",
        f'op.execute("DO $$ BEGIN {RESETS}; END $$")',
        "op.execute('CALL resets_too()')",
        "op.get_bind().execute(sa.text('SELECT resets()'))",
        "op.get_bind().exec_driver_sql(\"SELECT set_config('lock' || 'step.at_work', 'off', false)\")",
        "with lockstep.plain(): op.execute('SELECT resets()')",
        "with op.get_context().autocommit_block(): op.execute('SELECT resets()')",
        "with op.get_context().autocommit_block(): op.get_bind().execute(sa.text('SELECT resets()'))",
    ],
)
def test_what_resets_it_where_nobody_sees_it_before_is_broken_off_afterwards(
    project: Project,
    cluster18: Cluster,
    database: str,
    sends: str,
    short_way: bool,  # noqa: FBT001
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute(
            "ALTER TABLE books ADD pages integer;"
            "CREATE FUNCTION resets() RETURNS integer LANGUAGE plpgsql AS "
            f"$$ BEGIN {RESETS}; RETURN 3; END $$;"
            "CREATE PROCEDURE resets_too() LANGUAGE plpgsql AS 'BEGIN PERFORM resets(); END'"
        )
    before = catalog_of(cluster18, database), rows_of(cluster18, database)
    project.revision(f"{sends}\nop.execute('UPDATE books SET pages = 2')")
    with pytest.raises(LockstepError, match=r"has taken away what Lockstep has set for its session"):
        project.upgrade(short_way=short_way)
    assert (catalog_of(cluster18, database), rows_of(cluster18, database)) == before


def test_a_setting_that_the_revision_names_is_reset(project: Project) -> None:
    project.revision(
        "op.execute('SET work_mem = 8192; RESET work_mem')\nop.execute('RESET SESSION AUTHORIZATION')\n"
        "assert op.get_bind().execute(sa.text('SHOW lockstep.at_work')).scalar() == 'on'"
    )
    project.upgrade()
