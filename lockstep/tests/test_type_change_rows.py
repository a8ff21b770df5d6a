"""What other types ask of rows: of those that are there, and of those that come after somebody looked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lockstep import LockstepError
from world import World, during

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testing.cluster import Cluster

ACCOUNTS = """
CREATE TABLE account (id integer PRIMARY KEY, v integer NOT NULL, name text, at timestamp);
INSERT INTO account SELECT n, n * 10, 'n' || n, '2024-06-01 12:00' FROM generate_series(1, 200) n;
"""
WIDEN = "op.alter_column('account', 'v', type_=sa.BigInteger())"


@pytest.fixture
def world(cluster: Cluster, tmp_path: Path) -> Iterator[World]:
    made = World(cluster, tmp_path, ACCOUNTS)
    yield made
    cluster.drop_database(made.name)


@pytest.mark.parametrize(("one", "other"), [("macaddr8", "macaddr"), ("macaddr", "macaddr8")])
def test_types_that_go_into_each_other_are_compared_as_the_foreign_key_compares_them(
    one: str, other: str, world: World
) -> None:
    """``macaddr8 = macaddr`` is not unique."""
    world.run(
        f"CREATE TABLE port (mac {one} UNIQUE); INSERT INTO port VALUES ('08:00:2b:01:02:03');"
        f"CREATE TABLE host (mac {one} REFERENCES port (mac)); INSERT INTO host SELECT mac FROM port"
    )
    world.project.revision(
        f"op.alter_column('host', 'mac', type_=postgresql.{other.upper()}())",
        f"op.alter_column('host', 'mac', type_=postgresql.{one.upper()}())",
    )
    world.project.upgrade()
    assert world.run("SELECT DISTINCT pg_typeof(mac)::text FROM host") == [(other,)]
    world.project.downgrade("base")
    assert world.run("SELECT DISTINCT pg_typeof(mac)::text FROM host") == [(one,)]


def test_a_foreign_key_compares_all_of_a_value_whose_type_has_a_length_by_default(world: World) -> None:
    """``bit`` alone is ``bit(1)``."""
    world.run(
        "CREATE TABLE flag (v bit(8) UNIQUE); INSERT INTO flag VALUES (B'10100101');"
        "CREATE TABLE flagged (v bit(8) REFERENCES flag (v)); INSERT INTO flagged SELECT v FROM flag"
    )
    world.project.revision(
        "op.alter_column('flagged', 'v', type_=postgresql.BIT(1), postgresql_using='v::bit(1)')"
    )
    before = world.state()
    with pytest.raises(LockstepError, match="foreign key flagged_v_fkey would be broken by these rows"):
        world.project.upgrade()
    assert world.state() == before


def test_a_check_that_is_not_valid_asks_nothing_of_the_new_values(world: World) -> None:
    world.run("ALTER TABLE account ADD CONSTRAINT odd CHECK (v <> 35) NOT VALID")
    world.project.revision("op.alter_column('account', 'v', type_=sa.BigInteger(), postgresql_using='v - 5')")
    world.project.upgrade()
    assert world.run("SELECT v FROM account WHERE id = 4") == [(35,)]
    assert world.run("SELECT convalidated FROM pg_constraint WHERE conname = 'odd'") == [(False,)]


def test_an_identity_column_takes_a_smaller_type_and_its_sequence_the_bounds(world: World) -> None:
    world.run("ALTER TABLE account ALTER v ADD GENERATED ALWAYS AS IDENTITY (START 7 INCREMENT 3)")
    world.project.revision("op.alter_column('account', 'v', type_=sa.SmallInteger())")
    world.project.upgrade()
    assert world.run(
        "SELECT seqtypid::regtype::text, seqmax, seqstart, seqincrement FROM pg_sequence "
        "WHERE seqrelid = 'account_v_seq'::regclass"
    ) == [("smallint", 32767, 7, 3)]


@pytest.mark.parametrize(
    ("change", "step", "written", "says", "again"),
    [
        (
            "op.alter_column('account', 'v', type_=sa.SmallInteger())", "a shadow of",
            "UPDATE account SET v = v + 100000 WHERE id IN (4, 9)",
            r'out of range. These rows are in the way: .*"id": 4.* \(smallint out of range\); .*"id": 9',
            "UPDATE account SET v = id WHERE v > 100000",
        ),
        (
            "op.alter_column('account', 'name', type_=sa.Integer(), "
            "postgresql_using='substr(name, 2)::integer')", "a shadow of",
            "UPDATE account SET name = 'none' WHERE id = 4",
            r'invalid input syntax for type integer: "one". These rows are in the way: .*"name": "none"',
            "UPDATE account SET name = 'n4' WHERE id = 4",
        ),
        (
            "op.alter_column('account', 'v', type_=sa.Numeric(), postgresql_using='v / 10')", "build index",
            "UPDATE account SET v = 11 WHERE id = 4",
            r'could not create unique index "account_v" on the new type: values are there twice',
            "UPDATE account SET v = 5000 WHERE id = 4",
        ),
    ],
    ids=["range", "syntax", "twice"],
)  # fmt: skip
def test_rows_that_came_after_somebody_looked_are_named_and_the_change_goes_on_without_them(
    change: str, step: str, written: str, says: str, again: str, world: World,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    world.run("CREATE UNIQUE INDEX account_v ON account (v)")
    before = world.state()
    world.project.revision(change)
    with during(world, step, written), pytest.raises(LockstepError, match=says) as raised:
        world.project.upgrade()
    assert "lockstep_" not in str(raised.value)
    assert "twice" not in says or "this row is in the way: [1]" in caplog.text
    world.run(again)
    world.project.upgrade()
    assert world.state()[0] != before[0]
    assert "lockstep_" not in str(world.state()[0])


def test_statistics_have_the_owner_that_plain_alembic_leaves_them(world: World) -> None:
    """PostgreSQL gives them to whoever changes the type, or lets them be, as its minor releases see fit."""
    role = f"analyst_{world.name}"
    world.run(
        f"CREATE ROLE {role}; CREATE STATISTICS pair (mcv) ON v, at FROM account;"
        f"ALTER STATISTICS pair OWNER TO {role}; CREATE STATISTICS own ON (v + 1), id FROM account;"
    )
    plain = world.cluster.create_database(world.name)
    world.project.revision(WIDEN)
    world.project.upgrade()
    world.project.upgrade(url=world.cluster.url(plain, "psycopg"), plain=True)
    owners = "SELECT stxname::text, stxowner::regrole::text FROM pg_statistic_ext ORDER BY 1"
    with world.cluster.connect(plain) as connection:
        right = connection.execute(owners).fetchall()
    found = world.run(owners)
    world.cluster.drop_database(plain)
    world.run(f"ALTER STATISTICS pair OWNER TO postgres; DROP ROLE {role}")
    assert found == right


def test_a_column_keeps_the_name_that_it_has_in_its_indexes(world: World) -> None:
    """Which psql shows of an index; a column that is in one twice has none that is only its own."""
    world.run(
        "CREATE TABLE v (v integer PRIMARY KEY, w integer); CREATE UNIQUE INDEX one ON account (v);"
        "CREATE INDEX two ON account (id, v); CREATE INDEX three ON account (lower(name)) INCLUDE (v);"
        "CREATE INDEX four ON account (v, (v + 1)) WHERE v > 1; CREATE INDEX five ON account ((v + 2));"
        "CREATE FUNCTION v(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';"
        "CREATE INDEX six ON account (v(name), id)"
    )
    names = (
        "SELECT c.relname::text, array_agg(attname::text ORDER BY attnum) FROM pg_attribute "
        "JOIN pg_class c ON c.oid = attrelid JOIN pg_index ON indexrelid = c.oid "
        "WHERE indrelid IN ('account'::regclass, 'v'::regclass) GROUP BY 1 ORDER BY 1"
    )
    before = world.run(names)
    world.run("CREATE INDEX seven ON account (v(name), v)")  # v and v1
    world.project.revision(f"{WIDEN}\nop.alter_column('v', 'v', type_=sa.BigInteger())")
    world.project.upgrade()
    assert [row for row in world.run(names) if row[0] != "seven"] == before
