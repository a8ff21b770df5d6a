"""On a partitioned or inherited table an operation ends where plain Alembic ends, or is refused with why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lockstep import LockstepError
from project import Project
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

TABLES = """
CREATE TABLE people (id integer PRIMARY KEY, name text);
INSERT INTO people SELECT n, 'p' || n FROM generate_series(1, 100) n;
CREATE TABLE events (id integer NOT NULL, day date NOT NULL, person_id integer, kind varchar(10), n integer)
    PARTITION BY RANGE (day);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE "events New" PARTITION OF events FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
CREATE INDEX events_kind ON events (kind);
INSERT INTO events SELECT n, date '2020-01-01' + n % 700, n % 100 + 1, 'k' || n % 7, n % 50
    FROM generate_series(1, 1000) n;
CREATE TABLE deep (id integer, a integer NOT NULL) PARTITION BY LIST (a);
CREATE TABLE deep_1 PARTITION OF deep FOR VALUES IN (1) PARTITION BY RANGE (id);
CREATE TABLE deep_1_low PARTITION OF deep_1 FOR VALUES FROM (0) TO (1000);
INSERT INTO deep SELECT n, 1 FROM generate_series(1, 100) n;
CREATE TABLE parent (id integer, a text);
CREATE TABLE child (b integer) INHERITS (parent);
INSERT INTO child SELECT n, 'a' || n, n FROM generate_series(1, 100) n;
INSERT INTO parent SELECT n, 'a' || n FROM generate_series(1, 100) n;
"""

#: (what a revision does, why it is refused on 18, why on 15; None where it is not)
CASES: dict[str, tuple[str, str | None, str | None]] = {
    "create_index": ("op.create_index('events_n', 'events', ['n', sa.text('lower(kind)')])", None, None),
    "create_unique_index": ("op.create_index('e_once', 'events', ['id', 'day'], unique=True)", None, None),
    "create_index_deep": ("op.create_index('deep_id', 'deep', ['id'])", "themselves", "themselves"),
    "create_index_on_a_partition": ("op.create_index('old_n', 'events_old', ['n'])", None, None),
    "create_index_inherited": ("op.create_index('parent_a', 'parent', ['a'])", None, None),
    "drop_index": ("op.drop_index('events_kind', 'events')", None, None),
    "foreign_key_from": (
        "op.create_foreign_key('e_fk', 'events', 'people', ['person_id'], ['id'])",
        None, "needs PostgreSQL 18",
    ),
    "foreign_key_to": (
        "op.create_index('e_once', 'events', ['id', 'day'], unique=True)\n"
        "op.add_column('people', sa.Column('e', sa.Integer()))\n"
        "op.add_column('people', sa.Column('d', sa.Date()))\n"
        "op.create_foreign_key('p_fk', 'people', 'events', ['e', 'd'], ['id', 'day'])",
        None, None,
    ),
    "check": ("op.create_check_constraint('e_check', 'events', 'n >= 0')", None, None),
    "check_unnamed": ("op.create_check_constraint(None, 'deep', 'id >= 0')", None, None),
    "check_inherited": ("op.create_check_constraint('p_check', 'parent', 'id >= 0')", None, None),
    "unique": ("op.create_unique_constraint('e_u', 'events', ['id', 'day'])", "partitioned", "partitioned"),
    "primary_key": ("op.create_primary_key('e_pk', 'events', ['id', 'day'])", "partitioned", "partitioned"),
    "not_null": ("op.alter_column('events', 'person_id', nullable=False)", None, None),
    "not_null_inherited": ("op.alter_column('parent', 'a', nullable=False)", None, None),
    "add_constant": (
        "op.add_column('events', sa.Column('x', sa.Integer(), server_default='1', nullable=False))",
        None, None,
    ),
    "add_volatile": (
        "op.add_column('events', sa.Column('x', sa.Uuid(), server_default=sa.text('gen_random_uuid()'), "
        "nullable=False))", None, None,
    ),
    "add_volatile_inherited": (
        "op.add_column('parent', sa.Column('x', sa.Uuid(), server_default=sa.text('gen_random_uuid()'), "
        "nullable=False))", None, None,
    ),
    "add_references": (
        "op.add_column('events', sa.Column('x', sa.Integer(), sa.ForeignKey('people.id')))",
        None, "needs PostgreSQL 18",
    ),
    "add_unique": ("op.add_column('deep', sa.Column('x', sa.Integer(), unique=True))", "deep", "deep"),
    "retype": ("op.alter_column('events', 'id', type_=sa.BigInteger())", "partitioned", "partitioned"),
    "retype_inherited": ("op.alter_column('parent', 'id', type_=sa.BigInteger())", "inherited", "inherited"),
    "widen_varchar": ("op.alter_column('events', 'kind', type_=sa.String(20))", None, None),
    "backfill": (
        "op.backfill('events', {'kind': sa.text(\"kind || '%'\")}, where=\"kind NOT LIKE '%\\\\%'\")",
        None, None,
    ),
    "backfill_deep": ("op.backfill('deep', {'id': 7}, where='id <> 7')", None, None),
    "backfill_inherited": ("op.backfill('parent', {'a': 'x'}, where=\"a <> 'x'\")", None, None),
    "rename_and_drop": (
        "op.alter_column('events', 'n', new_column_name='m', server_default='3', comment='c')\n"
        "op.drop_column('events', 'kind')\nop.rename_table('events', 'happenings')\n"
        "op.drop_table('events_old')",
        None, None,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def pairs() -> dict[int, tuple[str, str]]:
    """On each version, a database for plain Alembic and one for Lockstep: emptied for each case."""
    return {}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("case", CASES)
def test_a_partitioned_table_ends_as_by_plain_alembic_or_is_refused(
    case: str, cluster: Cluster, pairs: dict[int, tuple[str, str]], tmp_path: Path
) -> None:
    upgrade, *refusals = CASES[case]
    refused = refusals[0 if cluster.version >= 18 else 1]
    if cluster.version not in pairs:
        pairs[cluster.version] = cluster.create_database(), cluster.create_database()
    plain, online = pairs[cluster.version]
    for database in (plain, online):
        with cluster.connect(database) as connection:
            connection.execute(
                f"DROP SCHEMA IF EXISTS lockstep, public CASCADE; CREATE SCHEMA public; {TABLES}"
            )
    project = Project(tmp_path / "project", "")
    project.revision(upgrade)
    url = cluster.url(online, "psycopg")
    if refused:
        with pytest.raises(LockstepError, match=refused):
            project.upgrade(url=url, short_way=False)
    else:
        project.upgrade(url=url, short_way=False)
        project.upgrade(url=cluster.url(plain, "psycopg"), plain=True)
        assert catalog_of(cluster, online) == catalog_of(cluster, plain)
        assert rows_of(cluster, online, "x") == rows_of(cluster, plain, "x")
        if "gen_random" in upgrade:
            with cluster.connect(online) as connection:
                table = "events" if "events" in upgrade else "parent"
                counted = connection.execute(f"SELECT count(*) - count(DISTINCT x) FROM {table}").fetchone()
            assert counted == (0,)
