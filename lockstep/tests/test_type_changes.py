"""A change of type falsifies no value: it is refused before anything is changed, or every row is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa

import lockstep
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


@pytest.mark.parametrize(
    ("before", "change", "says"),
    [
        ("CREATE TABLE log (old_row account)", WIDEN, r"public\.log\.old_row"),
        ("CREATE TABLE log (old_rows account[])", WIDEN, r"public\.log\.old_rows"),
        (
            "CREATE DOMAIN an_account AS account; CREATE TABLE log (one an_account)",
            WIDEN,
            r"public\.log\.one",
        ),
        (
            "CREATE TYPE pair AS (a account, b account); CREATE TABLE log (two pair[])",
            WIDEN,
            r"public\.log\.two",
        ),
        (
            "CREATE TABLE inner_log (old_row account); CREATE TABLE log (entry inner_log)",
            WIDEN,
            r"public\.inner_log\.old_row, public\.log\.entry",
        ),
        (
            "CREATE TABLE log (old_row account)",
            "op.add_column('account', "
            "sa.Column('u', sa.Uuid(), server_default=sa.text('gen_random_uuid()')))",
            r"filling the new u is not possible .* public\.log\.old_row",
        ),
    ],
    ids=["column", "array", "domain", "composite", "row-in-row", "volatile-default"],
)
def test_a_table_whose_rows_are_kept_in_columns_of_its_row_type_is_refused(
    before: str, change: str, says: str, world: World
) -> None:
    world.run(before)
    _refused(world, change, says)


@pytest.mark.parametrize(
    ("before", "change", "says"),
    [
        (
            "UPDATE account SET v = 3000000 WHERE id = 7",
            "op.alter_column('account', 'v', type_=sa.SmallInteger())",
            r"(?s)out of range.*\"id\": 7",
        ),
        (
            "UPDATE account SET name = 'far too long' WHERE id IN (3, 190)",
            "op.alter_column('account', 'name', type_=sa.String(5))",
            r"(?s)too long.*\"id\": 3.*\"id\": 190",
        ),
        (
            "UPDATE account SET name = 'x' WHERE id = 9; UPDATE account SET name = '1' WHERE name <> 'x'",
            "op.alter_column('account', 'name', type_=sa.Integer(), postgresql_using='name::integer')",
            r"(?s)invalid input syntax.*\"id\": 9",
        ),
        (
            "SELECT",
            "op.alter_column('account', 'v', type_=sa.BigInteger(), "
            "postgresql_using='CASE WHEN id = 5 THEN NULL ELSE v END')",
            r"(?s)break NOT NULL.*\"id\": 5",
        ),
        (
            "ALTER TABLE account ADD CHECK (v <> 35)",
            "op.alter_column('account', 'v', type_=sa.BigInteger(), postgresql_using='v - 5')",
            r"(?s)break CHECK account_v_check.*\"id\": 4",
        ),
        (
            "CREATE UNIQUE INDEX account_v ON account (v)",
            "op.alter_column('account', 'v', type_=sa.BigInteger(), postgresql_using='v / 20')",
            r"unique index account_v would have these values more than once",
        ),
        (
            "ALTER TABLE account ADD CHECK (v > 10) NOT VALID",
            WIDEN,
            r"(?s)break constraint account_v_check, which is NOT VALID.*\"id\": 1",
        ),
        (
            "CREATE RULE none AS ON UPDATE TO account DO INSTEAD NOTHING",
            WIDEN,
            "rule none makes something else of an UPDATE",
        ),
        (
            "SELECT",
            "op.alter_column('account', 'v', type_=sa.BigInteger(), "
            "postgresql_using='(v + random() * 10)::bigint')",
            "USING has a volatile function",
        ),
        (
            "ALTER TABLE account ADD COLUMN g integer GENERATED ALWAYS AS (id * 2) STORED",
            "op.alter_column('account', 'v', type_=sa.BigInteger(), postgresql_using='g + v')",
            "USING names the generated column g",
        ),
        (
            f'CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;'
            f'CREATE TRIGGER "{"~" * 63}" BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION f()',
            WIDEN,
            "would fire after Lockstep's own",
        ),
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;"
            "CREATE TRIGGER t BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION f();"
            "ALTER TABLE account ENABLE ALWAYS TRIGGER t",
            WIDEN,
            "has triggers that filling the new v would fire",
        ),
    ],
    ids=[
        "range", "length", "syntax", "null", "check", "twice", "not-valid", "rule", "volatile", "generated",
        "last-trigger", "always-trigger",
    ],
)  # fmt: skip
def test_rows_that_stand_in_the_way_are_named_and_nothing_is_changed(
    before: str, change: str, says: str, world: World
) -> None:
    world.run(before)
    _refused(world, change, says)


def _refused(world: World, change: str, says: str) -> None:
    before = world.state()
    world.project.revision(change)
    with pytest.raises(LockstepError, match=says):
        world.project.upgrade()
    assert world.state() == before
    assert world.run("SELECT count(*) FROM lockstep.revision") == [(0,)]


@pytest.mark.parametrize("name", ["zz", "~~zz", "~lockstep_2a", "éé"])
def test_a_trigger_of_any_name_that_changes_the_row_is_heard_before_ours(name: str, world: World) -> None:
    world.run(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN NEW.v := 1000000 + NEW.id; RETURN NEW; END$$;"
        f'CREATE TRIGGER "{name}" BEFORE UPDATE OF name ON account FOR EACH ROW EXECUTE FUNCTION touch()'
    )
    world.project.revision(WIDEN)
    with during(world, "fill the shadow", "UPDATE account SET name = 'new' WHERE id % 2 = 0"):
        world.project.upgrade()
    assert world.run("SELECT count(*) FROM account WHERE v = 1000000 + id AND id % 2 = 0") == [(100,)]
    assert world.run("SELECT count(*) FROM account WHERE v = id * 10 AND id % 2 = 1") == [(100,)]


@pytest.mark.parametrize("leaves", [True, False], ids=["it-stays", "it-is-gone-by-the-swap"])
def test_a_shadow_that_a_later_trigger_puts_out_of_step_is_never_swapped_in(
    leaves: bool,  # noqa: FBT001
    world: World,
) -> None:
    world.run(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN NEW.v := NEW.v + 5; RETURN NEW; END$$;"
    )
    trigger = (
        'CREATE TRIGGER "~zz" BEFORE UPDATE OF name ON account FOR EACH ROW EXECUTE FUNCTION touch();'
        "UPDATE account SET name = 'new' WHERE id = 77;"
    )
    gone = "" if leaves else 'DROP TRIGGER "~zz" ON account'
    world.project.revision(WIDEN, "op.alter_column('account', 'v', type_=sa.Integer())")
    with (
        during(world, "statistics of the new v", trigger + gone),
        pytest.raises(sa.exc.DBAPIError, match=r'whose new value is not made of the old one.*"id": 77'),
    ):
        world.project.upgrade()
    assert world.run("SELECT v FROM account WHERE id = 77") == [(775,)]
    if leaves:
        world.run("UPDATE account SET v = v WHERE id = 77")
        with pytest.raises(sa.exc.DBAPIError, match="no longer has the last word: ~zz"):
            world.project.upgrade()
        world.run('DROP TRIGGER "~zz" ON account')
    else:
        world.run("UPDATE account SET v = v WHERE id = 77")
    world.project.upgrade()
    assert world.run("SELECT v, pg_typeof(v)::text FROM account WHERE id = 77") == [(775, "bigint")]


def test_a_trigger_that_was_disabled_meanwhile_is_noticed(world: World) -> None:
    world.project.revision(WIDEN)
    off = "ALTER TABLE account DISABLE TRIGGER USER"
    with (
        during(world, "every row has the new v", off),
        pytest.raises(sa.exc.DBAPIError, match="no longer has the last word: it was dropped or disabled"),
    ):
        world.project.upgrade()


def test_whoever_writes_a_row_it_is_converted_as_the_migrator_would(world: World) -> None:
    world.run(f"ALTER DATABASE {world.name} SET TimeZone = 'America/New_York'")
    world.project.revision("op.alter_column('account', 'at', type_=sa.DateTime(timezone=True))")
    written = "SET TimeZone = 'Asia/Tokyo'; UPDATE account SET name = 'n' WHERE id = 1"
    with during(world, "statistics of the new at", written):
        world.project.upgrade()
    assert world.run("SELECT DISTINCT at = '2024-06-01 12:00-04' FROM account") == [(True,)]


def test_a_stopped_change_goes_on_with_the_settings_that_it_began_with(world: World) -> None:
    world.run(f"ALTER DATABASE {world.name} SET TimeZone = 'America/New_York'")
    world.project.revision("op.alter_column('account', 'at', type_=sa.DateTime(timezone=True))")
    with (
        during(world, "fill the shadow of at", "SELECT 1 / 0"),
        pytest.raises(psycopg.errors.DivisionByZero),
    ):
        world.project.upgrade()
    world.run(f"ALTER DATABASE {world.name} SET TimeZone = 'Asia/Tokyo'")
    world.project.upgrade()
    assert world.run("SELECT DISTINCT at = '2024-06-01 12:00-04' FROM account") == [(True,)]


def test_a_new_column_with_a_volatile_default_keeps_its_collation(world: World) -> None:
    world.project.revision(
        "op.add_column('account', sa.Column('token', sa.String(collation='POSIX'), "
        "server_default=sa.text('gen_random_uuid()::text')))"
    )
    world.project.upgrade()
    assert world.run(
        "SELECT collname::text FROM pg_attribute a JOIN pg_collation c ON c.oid = attcollation "
        "WHERE attrelid = 'account'::regclass AND attname = 'token'"
    ) == [("POSIX",)]


def test_that_the_column_becomes_the_last_one_is_said_before_the_first_statement(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.project.revision(WIDEN)
    with caplog.at_level("INFO", logger="alembic.lockstep"):
        world.project.upgrade()
    lines = [record.getMessage() for record in caplog.records]
    said = next(n for n, line in enumerate(lines) if "account.v becomes the last column of its row" in line)
    begun = next(n for n, line in enumerate(lines) if "alter column" in line.lower())
    assert said < begun


ORDERED = "SELECT array_agg(id) FROM (SELECT id FROM account) read"


def test_a_small_table_is_changed_as_written_with_column_and_rows_in_their_places(world: World) -> None:
    before = world.run("SELECT * FROM account")
    world.project.revision(WIDEN)
    world.project.upgrade(short_way=True)
    assert world.run("SELECT * FROM account") == before
    assert world.run("SELECT pg_typeof(v)::text FROM account LIMIT 1") == [("bigint",)]


def test_a_table_of_a_few_megabytes_keeps_its_order_where_its_pages_are_full(world: World) -> None:
    world.run("INSERT INTO account SELECT n, n, 'n' || n, now() FROM generate_series(201, 20000) n")
    before = world.run(ORDERED)
    world.project.revision(WIDEN)
    # However busy the machine is: a turn that takes too long is broken off, and gone over in parts.
    world.project.upgrade(pace=lockstep.Pace(batch_time=10))
    assert world.run(ORDERED) == before


def test_a_small_table_that_a_large_one_refers_to_is_not_changed_as_written(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.run(
        "CREATE TABLE entry (id integer, account integer REFERENCES account);"
        "INSERT INTO entry SELECT n, 1 FROM generate_series(1, 20000) n"
    )
    world.project.revision("op.alter_column('account', 'id', type_=sa.BigInteger())")
    world.project.upgrade(short_way=True)
    assert "account.id becomes the last column of its row" in caplog.text
