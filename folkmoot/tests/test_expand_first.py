"""A revision leaves the program before it working: what that program meets is compared before and after.

Nothing that it may use goes, and nothing that it does not know refuses what it writes. What values mean is in
no catalog: that is for whoever reads the revision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from psycopg.rows import scalar_row

from folkmoot.postgres import revisions

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from testing.cluster import Cluster

#: The revisions that come after this one are held to the rule; one program ran all that came before.
SINCE = "d2c61f0ab873"
#: Revisions that contract, and since which release nothing uses what they take away.
CONTRACTS = {"07d3c5a18e94": "none: only triggers write the numbers that take no null from here on"}

_COLUMNS = """
    SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull,
           atthasdef OR attidentity <> ''
      FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
     WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
       AND attnum > 0 AND NOT attisdropped
"""
# A unique index is what ON CONFLICT names.
_USED = """
    SELECT format('unique (%s) on %s where %s',
                  (SELECT string_agg(pg_get_indexdef(indexrelid, n, TRUE), ', ')
                     FROM generate_series(1, indnkeyatts) AS n),
                  indrelid::regclass, pg_get_expr(indpred, indrelid))
      FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
     WHERE relnamespace = 'public'::regnamespace AND indisunique
    UNION ALL
    SELECT format('function %s', oid::regprocedure) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""
#: What may refuse or change what is written, and the table that it stands on.
_REFUSING = """
    SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
     WHERE connamespace = 'public'::regnamespace AND conrelid <> 0 AND contype IN ('c', 'f', 'x')
    UNION ALL
    SELECT indrelid::regclass::text, pg_get_indexdef(indexrelid)
      FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
     WHERE relnamespace = 'public'::regnamespace AND indisunique
    UNION ALL
    SELECT tgrelid::regclass::text, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT tablename, format('POLICY %s', policyname) FROM pg_policies
"""


class Column(NamedTuple):
    type: str
    not_null: bool
    default: bool


class Met(NamedTuple):
    """What a program meets in a database."""

    columns: dict[tuple[str, str], Column]
    used: set[str]
    refusing: set[tuple[str, str]]


def meet(connection: psycopg.Connection) -> Met:
    columns = {(row[0], row[1]): Column(*row[2:]) for row in connection.execute(_COLUMNS)}
    used = set(connection.cursor(row_factory=scalar_row).execute(_USED))
    return Met(columns, used, {(row[0], row[1]) for row in connection.execute(_REFUSING)})


def breaks(before: Met, after: Met) -> list[str]:
    """What a program that was written for `before` may fail of on `after`."""
    tables = {table for table, _ in before.columns}
    found = [f"{what} is gone" for what in before.used - after.used]
    for name, old in before.columns.items():
        new = after.columns.get(name)
        if new is None or new.type != old.type:
            found.append(f"{'.'.join(name)} is {new.type if new else 'gone'}")
        elif new.not_null and not old.not_null:
            found.append(f"{'.'.join(name)} takes no null")
        elif old.default and not new.default:
            found.append(f"{'.'.join(name)} has no default")
    for (table, column), new in after.columns.items():
        if table in tables and (table, column) not in before.columns and new.not_null and not new.default:
            found.append(f"{table}.{column} is required")
    found += [f"{table}: {what}" for table, what in after.refusing - before.refusing if table in tables]
    return sorted(found)


def _since() -> list[str]:
    scripts = ScriptDirectory.from_config(revisions.config())
    newer = scripts.iterate_revisions("heads", SINCE)
    return [script.revision for script in reversed(list(newer))]


def test_each_revision_leaves_the_program_before_it_working(
    cluster18: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = cluster18.create_database()
    monkeypatch.setenv("DATABASE_URL", cluster18.url(name))
    command.upgrade(revisions.config(), SINCE)
    assert _since()
    for revision in _since():
        with cluster18.connect(name) as connection:
            before = meet(connection)
            command.upgrade(revisions.config(), revision)
            if revision not in CONTRACTS:
                assert breaks(before, meet(connection)) == [], revision
    cluster18.drop_database(name)


@pytest.fixture
def connection(cluster18: Cluster, migrated: str) -> Iterator[psycopg.Connection]:
    with cluster18.connect(migrated, autocommit=False) as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("CREATE TABLE new (n int NOT NULL UNIQUE, user_id bigint REFERENCES users)", None),
        ("ALTER TABLE posts ADD new text", None),
        ("ALTER TABLE posts ADD new text NOT NULL DEFAULT ''", None),
        ("CREATE INDEX ON posts (title)", None),
        ("ALTER TABLE posts ALTER title SET DEFAULT ''", None),
        ("ALTER TABLE posts ALTER title DROP NOT NULL", None),
        ("ALTER TABLE posts ADD new text NOT NULL", "posts.new is required"),
        ("ALTER TABLE posts ADD CHECK (title <> '')", "posts: CHECK"),
        ("ALTER TABLE users ADD FOREIGN KEY (id) REFERENCES users", "users: FOREIGN KEY"),
        ("CREATE UNIQUE INDEX ON users (display_name)", "users: CREATE UNIQUE INDEX"),
        ("ALTER TABLE users ALTER display_name SET NOT NULL", "users.display_name takes no null"),
        ("ALTER TABLE posts ALTER published DROP DEFAULT", "posts.published has no default"),
        ("ALTER TABLE posts RENAME title TO heading", "posts.title is gone"),
        ("ALTER TABLE posts DROP title CASCADE", "posts.title is gone"),
        ("ALTER TABLE request_counts ALTER requests TYPE bigint", "request_counts.requests is bigint"),
        ("DROP TABLE request_counts", "request_counts.key is gone"),
        ("ALTER TABLE votes DROP CONSTRAINT votes_pkey", "unique (user_id, post_id) on votes"),
        ("DROP FUNCTION keep_votes CASCADE", "function keep_votes"),
        (
            "CREATE TRIGGER t BEFORE UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION "
            "suppress_redundant_updates_trigger()",
            "posts: CREATE TRIGGER",
        ),
    ],
)  # fmt: skip
def test_what_would_break_the_program_before_is_found(
    connection: psycopg.Connection, statement: str, broken: str | None
) -> None:
    before = meet(connection)
    connection.execute(statement.encode())
    found = breaks(before, meet(connection))
    if broken is None:
        assert found == []
    else:
        assert any(each.startswith(broken) for each in found), found
