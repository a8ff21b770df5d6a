"""What a plan says of the data: what makes plain Alembic fail is found before, by a role that only reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DBAPIError

from databases import database18
from plan_conversion_cases import CATALOG, CONVERSIONS
from plan_data_cases import CASES
from plan_reader import asked
from project import Project
from state import rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from plan_data_cases import Case
    from testing.cluster import Cluster

database = database18()


@pytest.mark.one_in(4)
@pytest.mark.parametrize("case", [*CASES, *CONVERSIONS, *CATALOG], ids=str)
def test_it_is_found_before_and_only_then(
    case: Case, cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"))
    project.revision(case.operation)
    with cluster18.connect(database) as connection:
        connection.execute(case.tables)
    before = rows_of(cluster18, database)
    found = asked(cluster18, database, project)
    assert [(one.kind, one.count) for one in found] == [(case.kind, case.count)], found
    (finding,) = found
    assert case.says in finding.says
    assert finding.fails
    if case.rows:
        assert finding.rows == case.rows
    assert len(finding.rows) == min(case.count or 0, 5)
    assert rows_of(cluster18, database) == before
    with pytest.raises(DBAPIError):
        project.upgrade(plain=True)
    with cluster18.connect(database) as connection:
        connection.execute(case.mend)
    assert asked(cluster18, database, project) == []
    project.upgrade(plain=True)
