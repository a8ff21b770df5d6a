"""What docs/limits.md says that Lockstep cannot do, where no other file shows it; and that each is shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa

from lockstep import LockstepError, Pace
from world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.cluster import Cluster

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "limits.md"

TABLE = """
CREATE TABLE account (id integer PRIMARY KEY, v integer, w integer);
INSERT INTO account SELECT n, n, n FROM generate_series(1, 50) n;
"""
WIDEN = "op.alter_column('account', 'v', type_=sa.BigInteger())"


def sentences() -> list[str]:
    """The page's items, each with its comment."""
    return re.findall(r"^- (.+?)(?=^- |^\s*$)", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("sentence", sentences(), ids=lambda sentence: sentence[:50])
def test_each_sentence_of_the_page_names_tests_that_exist(sentence: str) -> None:
    named = re.findall(r"(test_\w+\.py)::(test_\w+)", "".join(re.findall(r"<!--.*?-->", sentence, re.DOTALL)))
    assert named
    for file, test in named:
        assert f"\ndef {test}(" in (HERE / file).read_text()


@pytest.fixture
def world(cluster18: Cluster, tmp_path: Path) -> Iterator[World]:
    made = World(cluster18, tmp_path, TABLE)
    yield made
    cluster18.drop_database(made.name)


@pytest.mark.parametrize(
    "before",
    [
        "CREATE POLICY positive ON account USING (v > 0)",
        "CREATE TRIGGER positive BEFORE UPDATE OF v ON account FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE FUNCTION positive() RETURNS bigint BEGIN ATOMIC SELECT sum(v) FROM account; END",
        "CREATE PUBLICATION positive FOR TABLE account (id, v)",
        "ALTER TABLE account ADD CONSTRAINT positive EXCLUDE (v WITH =)",
    ],
    ids=["policy", "trigger", "function", "publication", "exclusion"],
)
def test_what_depends_on_the_column_is_named_and_nothing_is_changed(before: str, world: World) -> None:
    world.run(before)
    world.project.revision(WIDEN)
    with pytest.raises(LockstepError, match=r"these depend on it: .*positive.*Drop them before"):
        world.project.upgrade()
    assert world.run("SELECT pg_typeof(v)::text FROM account LIMIT 1") == [("integer",)]


_READ = "SELECT array_agg(id) FROM (SELECT id FROM account) read"


@pytest.mark.parametrize("rows", [5000, 12000], ids=["2 MB", "5 MB"])
def test_rows_lie_in_another_order_after_a_change_of_type_above_4_mb_and_it_is_said_first(
    rows: int, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.run("ALTER TABLE account ADD COLUMN pad text; TRUNCATE account")
    world.run(f"INSERT INTO account SELECT n, n, n, repeat('x', 390) FROM generate_series(1, {rows}) n")
    ((pages,),) = world.run("SELECT pg_relation_size('account') / 8192")
    kept = pages <= 512
    assert kept is (rows == 5000)
    before = world.run(_READ)
    world.project.revision(WIDEN)
    # However busy the machine is: a turn that takes too long is broken off, and gone over in parts.
    with caplog.at_level("INFO", logger="alembic.lockstep"):
        world.project.upgrade(pace=Pace(batch_time=10))
    assert (world.run(_READ) == before) is kept
    assert world.run("SELECT count(*) FROM account WHERE v = id") == [(rows,)]
    said = [n for n, line in enumerate(caplog.messages) if "its rows may lie in another order" in line]
    begun = [n for n, line in enumerate(caplog.messages) if "alter column" in line]
    assert said[0] < begun[0]


def test_postgresql_refuses_where_a_generated_column_depends_on_the_column(world: World) -> None:
    world.run("ALTER TABLE account ADD COLUMN more integer GENERATED ALWAYS AS (v + 1) STORED")
    world.project.revision(WIDEN)
    with pytest.raises(sa.exc.DBAPIError, match="cannot alter type of a column used by a generated column"):
        world.project.upgrade()


def test_a_foreign_key_of_a_partitioned_table_is_in_the_way(world: World) -> None:
    world.run("CREATE TABLE entry (account integer REFERENCES account) PARTITION BY RANGE (account)")
    world.project.revision("op.alter_column('account', 'id', type_=sa.BigInteger())")
    with pytest.raises(LockstepError, match="has a partitioned table at its other end"):
        world.project.upgrade()


def _as_its_owner(world: World) -> str:
    """A role of its own that owns the table and may do what Lockstep needs."""
    role = f"owner_of_{world.name}"
    world.run(
        f"CREATE ROLE {role} LOGIN; GRANT CREATE, TEMPORARY ON DATABASE {world.name} TO {role};"
        f"GRANT ALL ON SCHEMA public TO {role}; ALTER TABLE account OWNER TO {role}"
    )
    return world.cluster.url(world.name, "psycopg").replace("postgres@", f"{role}@")


def test_forced_row_security_is_in_the_way_of_another_type(world: World) -> None:
    world.run("ALTER TABLE account ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    world.project.revision(WIDEN)
    with pytest.raises(LockstepError, match=r"row security is forced on its owner\. Migrate as a role with"):
        world.project.upgrade(url=_as_its_owner(world))


def test_a_role_that_cannot_keep_triggers_from_firing_is_told_what_to_grant(world: World) -> None:
    world.run(
        "CREATE TRIGGER touch BEFORE UPDATE ON account FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    )
    world.project.revision(WIDEN)
    with pytest.raises(LockstepError, match='GRANT SET ON PARAMETER session_replication_role TO "owner_of_'):
        world.project.upgrade(url=_as_its_owner(world))


def test_a_prepared_statement_fails_until_there_is_a_new_connection(world: World) -> None:
    world.project.revision(WIDEN)
    with world.cluster.connect(world.name) as client:
        client.execute("SELECT v FROM account", prepare=True)
        world.project.upgrade()
        for _ in range(2):
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="cached plan must not change"):
                client.execute("SELECT v FROM account", prepare=True)
    with world.cluster.connect(world.name) as client:
        assert len(client.execute("SELECT v FROM account", prepare=True).fetchall()) == 50


def test_a_partitioned_table_is_copied_under_a_lock_before_a_downgrade_drops_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.project.revision(
        "op.create_table('event', sa.Column('n', sa.Integer()), postgresql_partition_by='RANGE (n)')\n"
        "op.execute('CREATE TABLE event_1 PARTITION OF event DEFAULT')",
        "op.drop_table('event')",
    )
    world.project.upgrade()
    world.run("INSERT INTO event VALUES (1), (2)")
    world.project.downgrade("base")
    assert "event is partitioned or inherited: it is copied under a lock before it is dropped" in caplog.text
    world.project.upgrade()
    assert world.run("SELECT n FROM event ORDER BY 1") == [(1,), (2,)]


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (
            "op.add_column('account', sa.Column('w2', sa.Integer(), sa.Computed('w * 2', persisted=True)))",
            "a stored generated column can only be added by rewriting the table",
        ),
        (
            "op.execute('CREATE DOMAIN positive AS integer CHECK (VALUE > 0)')\n"
            "op.add_column('account', sa.Column('p', "
            "postgresql.DOMAIN('positive', sa.Integer(), create_type=False)))",
            "a column of a domain with constraints can only be added by rewriting the table",
        ),
        (
            "op.create_exclude_constraint('once', 'account', ('v', '='), using='btree')",
            "can only be added under a lock, as written",
        ),
    ],
    ids=["generated", "domain", "exclude"],
)
def test_what_has_no_online_way_is_done_as_written_and_said(
    operation: str, said: str, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.project.revision(operation)
    world.project.upgrade()
    assert said in caplog.text


def test_an_operation_knows_nothing_of_the_next_one(world: World) -> None:
    world.run("CREATE INDEX account_v ON account (v)")
    world.project.revision(
        "op.drop_index('account_v', 'account')\nop.create_index('account_v', 'account', ['v', 'nothing'])"
    )
    with pytest.raises(sa.exc.DBAPIError, match='column "nothing" does not exist'):
        world.project.upgrade()
    assert world.run("SELECT to_regclass('account_v')") == [(None,)]


def test_a_column_of_a_table_without_a_key_is_kept_and_not_given_back(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.run("ALTER TABLE account DROP CONSTRAINT account_pkey, ALTER id DROP NOT NULL")
    world.project.revision(
        "op.add_column('account', sa.Column('color', sa.Text()))", "op.drop_column('account', 'color')"
    )
    world.project.upgrade()
    world.run("UPDATE account SET color = 'red' WHERE id = 1")
    world.project.downgrade("base")
    assert "has no key to find its rows by: color is kept under a lock" in caplog.text
    assert "and will not be given back by itself when the revision runs up again" in caplog.text
    world.project.upgrade()
    assert "was kept from a table without a key; it stays in" in caplog.text
    assert world.run("SELECT DISTINCT color FROM account") == [(None,)]
    ((place,),) = world.run("SELECT place FROM lockstep.archive")
    assert world.run(f"SELECT count(*) FROM lockstep_archive.\"{place}\" WHERE color = 'red'") == [(1,)]


def test_what_is_kept_does_not_follow_a_rename_that_is_built_at_run_time(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    rename = "op.execute(\"DO $$ BEGIN EXECUTE 'ALTER TABLE {} ' || 'RENAME TO {}'; END $$\")"
    world.project.revision(
        "op.create_table('t', sa.Column('id', sa.Integer(), primary_key=True))\n" + rename.format("t", "u"),
        rename.format("u", "t") + "\nop.drop_table('t')",
    )
    world.project.upgrade()
    world.run("INSERT INTO u VALUES (7)")
    world.project.downgrade("base")
    world.project.upgrade()
    assert "there is no table t at the end of the revision; its rows stay in" in caplog.text
    assert world.run("SELECT count(*) FROM u") == [(0,)]
    assert world.run("SELECT table_name, state FROM lockstep.archive") == [("t", "kept")]


def test_a_row_under_the_key_of_another_gets_its_kept_value(world: World) -> None:
    world.project.revision(
        "op.add_column('account', sa.Column('color', sa.Text()))", "op.drop_column('account', 'color')"
    )
    world.project.upgrade()
    world.run("UPDATE account SET color = 'red' WHERE id = 1")
    world.project.downgrade("base")
    world.run("DELETE FROM account WHERE id = 1; INSERT INTO account VALUES (1, 1000, 1000)")
    world.project.upgrade()
    assert world.run("SELECT v, color FROM account WHERE id = 1") == [(1000, "red")]


def test_a_sequence_keeps_what_a_failed_revision_drew(world: World) -> None:
    world.run("CREATE TABLE tag (id serial PRIMARY KEY, name text)")
    world.project.revision("op.execute(\"INSERT INTO tag (name) VALUES ('a')\")\nraise ValueError")
    with pytest.raises(ValueError, match=r"^$"):
        world.project.upgrade(short_way=True)
    assert world.run("INSERT INTO tag (name) VALUES ('b') RETURNING id") == [(2,)]


def test_a_revision_that_runs_again_in_steps_leaves_what_it_drew_as_a_gap(world: World) -> None:
    world.run("CREATE TABLE tag (id serial PRIMARY KEY, name text); CREATE TABLE busy AS SELECT 1 AS id")
    world.project.revision(
        "op.create_table('new', sa.Column('id', sa.Integer()))\n"
        "op.execute(\"INSERT INTO tag (name) VALUES ('a')\")\n"
        "op.add_column('busy', sa.Column('n', sa.Integer()))"
    )
    with world.cluster.connect(world.name, autocommit=False) as reader:
        reader.execute("SELECT FROM busy")
        world.project.upgrade(short_way=True, on_event=lambda _: reader.rollback())
    assert world.run("SELECT id FROM tag") == [(2,)]


def test_no_server_reports_the_progress_of_a_validation(cluster: Cluster) -> None:
    """Of these alone; a session's reads (pg_stat_io) are counted when its statement is over."""
    with cluster.connect() as connection:
        found = connection.execute(
            "SELECT viewname FROM pg_views WHERE viewname LIKE 'pg_stat_progress_%' ORDER BY 1"
        ).fetchall()
    reported = ["analyze", "basebackup", "cluster", "copy", "create_index", "vacuum"]
    assert [name for (name,) in found] == [f"pg_stat_progress_{what}" for what in reported]
