"""What SQL of a revision's own creates only where it is not there yet is not dropped where it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from databases import at_first_revision, database18
from failing import SCHEMA
from project import Project, stops
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

database = database18(SCHEMA)

TABLE = "CREATE TABLE loans (book_id integer)"
TYPE = "CREATE TYPE color AS ENUM ('red', 'green')"
CONDITIONAL = {
    "IF": f"DO $$ BEGIN IF to_regclass('loans') IS NULL THEN {TABLE}; END IF; END $$",
    "EXCEPTION": f"DO $$ BEGIN {TABLE}; EXCEPTION WHEN duplicate_table THEN NULL; END $$",
    "EXECUTE": f"DO $$ BEGIN IF to_regclass('loans') IS NULL THEN EXECUTE '{TABLE}'; END IF; END $$",
    "type": f"DO $$ BEGIN {TYPE}; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    "IF NOT EXISTS": TABLE.replace("TABLE", "TABLE IF NOT EXISTS"),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("is_there", [True, False], ids=["there", "new"])
@pytest.mark.parametrize("way", ["op.execute({!r})", "op.get_bind().exec_driver_sql({!r})"])
@pytest.mark.parametrize("sql", CONDITIONAL.values(), ids=CONDITIONAL)
def test_taking_it_back_drops_nothing_that_was_there(
    sql: str, way: str, cluster18: Cluster, database: str, tmp_path: Path, *, is_there: bool
) -> None:
    project = at_first_revision(
        Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=False)
    )
    if not is_there:
        with cluster18.connect(database) as connection:
            connection.execute("DROP TABLE loans; ALTER TABLE authors DROP favourite; DROP TYPE color")
    before = catalog_of(cluster18, database), rows_of(cluster18, database)
    stops(project, f"{way.format(sql)}\nop.add_column('books', sa.Column('pages', sa.Integer()))")
    project.downgrade("r1")
    assert (catalog_of(cluster18, database), rows_of(cluster18, database)) == before
