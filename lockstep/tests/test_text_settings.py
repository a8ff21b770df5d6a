"""What a revision's expressions read and write as text, they do in the settings of its session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from databases import database18
from project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

database = database18(
    "CREATE TABLE days (id integer PRIMARY KEY, said text, day date, price money, shown text);"
    "INSERT INTO days (id, said, price) SELECT n, '1/2/3', 1 FROM generate_series(1, 9) n"
)


@pytest.mark.parametrize("short_way", [True, False], ids=["short", "long"])
@pytest.mark.parametrize(
    "fills",
    [
        "op.backfill('days', {'day': sa.text('said::date')}, where='day IS NULL')",
        "op.alter_column('days', 'said', type_=sa.Date(), postgresql_using='said::date')\n"
        "op.execute('UPDATE days SET day = said')",
    ],
    ids=["backfill", "another type"],
)
@pytest.mark.parametrize("style", ["MDY", "DMY"])
def test_a_fill_reads_dates_as_the_session_does(
    style: str,
    fills: str,
    short_way: bool,  # noqa: FBT001
    cluster18: Cluster,
    database: str,
    tmp_path: Path,
) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=short_way)
    project.revision(f"op.execute('SET datestyle = {style}')\n{fills}")
    project.upgrade()
    assert _days(cluster18, database) == [{"MDY": "2003-01-02", "DMY": "2003-02-01"}[style]]


@pytest.mark.parametrize("short_way", [True, False], ids=["short", "long"])
def test_after_kept_values_are_given_back_the_session_reads_dates_as_before(
    short_way: bool,  # noqa: FBT001
    cluster18: Cluster,
    database: str,
    tmp_path: Path,
) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=short_way)
    project.revision(
        "op.add_column('days', sa.Column('note', sa.Text()))\nop.execute('UPDATE days SET day = said::date')",
        "op.drop_column('days', 'note')\nop.execute('UPDATE days SET day = said::date')",
    )
    project.upgrade()
    with cluster18.connect(database) as connection:
        connection.execute("UPDATE days SET note = 'written', day = NULL")
    project.downgrade("base")
    assert _days(cluster18, database) == ["2003-01-02"]
    project.upgrade()
    assert _days(cluster18, database) == ["2003-01-02"]


def _days(cluster: Cluster, database: str) -> list[str]:
    with cluster.connect(database) as connection:
        return [row[0] for row in connection.execute("SELECT DISTINCT day::text FROM days")]
