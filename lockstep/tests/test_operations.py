"""Each operation ends where plain Alembic ends: the same catalog, the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from cases import CASES, ROWS, SCHEMA, Case
from project import Project
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster


class Pair:
    """Two databases that are alike: one for plain Alembic, one for Lockstep."""

    def __init__(self, cluster: Cluster, *, filled: bool) -> None:
        self.plain, self.online = cluster.create_database(), cluster.create_database()
        for database in (self.plain, self.online):
            with cluster.connect(database) as connection:
                connection.execute(SCHEMA + (ROWS if filled else ""))


@pytest.fixture(scope="module")
def pairs() -> dict[tuple[int, bool], Pair]:
    """Shared by the cases: each goes up and down again, so the next finds what it expects."""
    return {}


@pytest.mark.one_in(8)
@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_operation_ends_where_plain_alembic_ends(
    case: Case,
    filled: bool,  # noqa: FBT001
    cluster: Cluster,
    pairs: dict[tuple[int, bool], Pair],
    tmp_path: Path,
) -> None:
    pair = pairs.pop((cluster.version, filled), None) or Pair(cluster, filled=filled)
    project = Project(tmp_path / "project", "", name=case.name[:28])
    project.revision(case.upgrade, case.downgrade)
    for direction, to in (("upgrade", "head"), ("downgrade", "base")):
        run = getattr(project, direction)
        run(to, cluster.url(pair.plain, "psycopg"), plain=True)
        run(to, cluster.url(pair.online, "psycopg"), short_way=not filled)
        assert catalog_of(cluster, pair.online) == catalog_of(cluster, pair.plain), direction
        rows = rows_of(cluster, pair.plain, case.volatile)
        assert rows_of(cluster, pair.online, case.volatile) == rows, direction
    with cluster.connect(pair.online) as connection:
        assert connection.execute("SELECT count(*) FROM lockstep.revision").fetchone() == (0,)
    pairs[cluster.version, filled] = pair  # not where it failed: the next case starts anew


LONG = "name_that_a_convention_makes_of_a_table_and_a_column_and_what_it_refers_to"


@pytest.mark.parametrize("short_way", [True, False], ids=["short", "long"])
def test_names_of_a_convention_that_are_too_long_are_shortened_as_plain_alembic_does(
    short_way: bool,  # noqa: FBT001
    cluster: Cluster,
    tmp_path: Path,
) -> None:
    convention = {kind: f"{kind}_%(table_name)s_{LONG}" for kind in ("ix", "uq", "fk")}
    convention["ck"] = f"ck_%(constraint_name)s_{LONG}"
    project = Project(tmp_path / "project", "", target_metadata=sa.MetaData(naming_convention=convention))
    project.revision(
        "op.create_foreign_key(None, 'posts', 'people', ['score'], ['id'])\n"
        "op.create_check_constraint('low', 'posts', 'score < 1000')\n"
        "op.create_unique_constraint(None, 'posts', ['code', 'id'])\n"
        "op.create_index(None, 'posts', ['body'])\n"
        f"op.create_index(op.f('of_people_{LONG}'), 'people', ['age'])\n"
        "op.add_column('loose', sa.Column('person', sa.Integer(), sa.ForeignKey('people.id'), index=True))\n"
        f"op.drop_index(op.f('of_people_{LONG}'), 'people')\n",
        "pass",
    )
    pair = Pair(cluster, filled=False)
    project.upgrade("head", cluster.url(pair.plain, "psycopg"), plain=True)
    project.upgrade("head", cluster.url(pair.online, "psycopg"), short_way=short_way)
    assert catalog_of(cluster, pair.online) == catalog_of(cluster, pair.plain)


@pytest.mark.parametrize(
    "change",
    [
        "op.add_column('owned', sa.Column('n', sa.Integer(), sa.Identity(), nullable=False))",
        "op.add_column('owned', raw_serial('n'))",
        "op.alter_column('owned', 'key', type_=sa.BigInteger())",
    ],
    ids=["identity", "serial", "an identity of another type"],
)
def test_what_is_made_for_a_table_belongs_to_its_owner_whoever_migrates(
    change: str, cluster: Cluster, tmp_path: Path
) -> None:
    pair = Pair(cluster, filled=False)
    for database in (pair.plain, pair.online):
        with cluster.connect(database) as connection:
            connection.execute(_OWNED)
    project = Project(tmp_path / "project", "")
    project.revision(f"{_RAW_SERIAL}\n{change}")
    project.upgrade("head", cluster.url(pair.plain, "psycopg"), plain=True)
    project.upgrade("head", cluster.url(pair.online, "psycopg"), short_way=False)
    assert catalog_of(cluster, pair.online) == catalog_of(cluster, pair.plain)


_OWNED = """
DO $$ BEGIN CREATE ROLE owner_of_tables; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT ALL ON SCHEMA public TO owner_of_tables;
SET ROLE owner_of_tables;
CREATE TABLE owned (key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a integer, b integer);
INSERT INTO owned (a, b) SELECT n, n FROM generate_series(1, 50) n;
RESET ROLE;
"""

_RAW_SERIAL = """
class Serial(sa.types.UserDefinedType):
    def get_col_spec(self, **_):
        return "SERIAL"

def raw_serial(name):
    return sa.Column(name, Serial(), nullable=False)
"""
