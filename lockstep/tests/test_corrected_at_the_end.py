"""A corrected file goes on from the very end of a revision, where what was kept is given back."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

from databases import at_first_revision, database18
from killing import counted, in_child
from project import Project, edit

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

database = database18()


@pytest.mark.one_in(4)
def test_an_operation_may_be_added_wherever_the_migrator_was_killed(
    cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    project = at_first_revision(
        Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=False)
    )
    project.revision(
        "op.create_table('words', sa.Column('id', sa.Integer(), primary_key=True))\n"
        "op.add_column('first', sa.Column('note', sa.Text()))",
        "op.drop_column('first', 'note')\nop.drop_table('words')",
    )
    project.upgrade()
    with cluster18.connect(database) as connection:
        connection.execute("INSERT INTO words VALUES (7); INSERT INTO first VALUES (1, 'a note')")
    project.downgrade("r1")
    whole = cluster18.create_database(database)
    with cluster18.connect() as connection:
        points = counted(lambda: project.upgrade("head", cluster18.url(whole, "psycopg")), connection)
    cluster18.drop_database(whole)

    def kill(_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    last, more = (
        "op.add_column('first', sa.Column('note', sa.Text()))",
        "op.create_index('i', 'first', ['note'])",
    )
    for at in points.of_death(random.Random(0)):
        struck = cluster18.create_database(database)
        url = cluster18.url(struck, "psycopg")
        in_child(lambda: project.upgrade("head", url), kill, at)  # noqa: B023  # run at once
        with cluster18.connect(struck) as connection:
            version = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        if version == [("r2",)]:
            break  # it was killed when all was done
        edit(project, "r2", last, f"{last}\n    {more}")
        project.upgrade("head", url)
        edit(project, "r2", f"{last}\n    {more}", last)
        with cluster18.connect(struck) as connection:
            assert connection.execute("SELECT id FROM words").fetchall() == [(7,)], at
            assert connection.execute("SELECT note FROM first").fetchall() == [("a note",)], at
            assert connection.execute("SELECT to_regclass('i')::text").fetchall() == [("i",)], at
        cluster18.drop_database(struck)
    assert at > len(points) // 2
