"""A fill with a column's default, or with what is another value each time, beside values that were kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from databases import on_tables

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

TABLE = """
CREATE TABLE account (id integer PRIMARY KEY, v integer);
INSERT INTO account SELECT n, n FROM generate_series(1, 9) n;
CREATE SEQUENCE numbers;
"""
ADD = "op.add_column('account', sa.Column('color', sa.Text()))\n"
FILLS = {
    "a constant default": "op.alter_column('account', 'color', server_default='blue')\n"
    "op.backfill('account', {'color': sa.text('DEFAULT')})",
    "no default": "op.backfill('account', {'color': sa.text('default'), 'v': 7}, where='v < 7')",
    "a default from a sequence": "op.alter_column('account', 'color', server_default=sa.text("
    "\"nextval('numbers')::text\"))\nop.backfill('account', {'color': sa.text('DEFAULT')})",
    "a volatile value": "op.backfill('account', {'color': sa.text('gen_random_uuid()::text')})",
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("short_way", [True, False], ids=["together", "steps"])
@pytest.mark.parametrize("fill", FILLS)
def test_what_was_given_back_stays(
    fill: str, *, short_way: bool, cluster: Cluster, database: str, tmp_path: Path
) -> None:
    project = on_tables(cluster, database, tmp_path, TABLE)
    project.revision(f"{ADD}{FILLS[fill]}", "op.drop_column('account', 'color')")
    project.upgrade(short_way=short_way)
    with cluster.connect(database) as connection:
        connection.execute("UPDATE account SET color = 'red' WHERE id < 3")
        connection.execute("ALTER SEQUENCE numbers RESTART")
    project.downgrade("base", short_way=short_way)
    with cluster.connect(database) as connection:
        connection.execute("INSERT INTO account VALUES (10, 1), (11, 1)")
    project.upgrade(short_way=short_way)
    with cluster.connect(database) as connection:
        assert connection.execute("SELECT id FROM account WHERE color = 'red'").fetchall() == [(1,), (2,)]
        filled = connection.execute("SELECT count(color), min(v) FROM account").fetchone()
        assert filled == ((2, 7) if fill == "no default" else (11, 1))
        drawn = connection.execute("SELECT last_value, is_called FROM numbers").fetchone()
        assert drawn == ((2, True) if "sequence" in fill else (1, False))


@pytest.mark.parametrize("fill", ["a constant default", "no default"])
def test_a_half_done_fill_with_the_default_is_taken_back(
    fill: str, cluster: Cluster, database: str, tmp_path: Path
) -> None:
    project = on_tables(cluster, database, tmp_path, TABLE)
    fill = FILLS[fill].replace(", 'v': 7}, where='v < 7'", "}, where='false'")
    project.revision(f"{ADD}{fill}\nop.execute('SELECT 1 / 0')", "pass")
    with pytest.raises(sa.exc.DBAPIError):
        project.upgrade(short_way=False)
    with cluster.connect(database) as connection:
        connection.execute("UPDATE account SET color = 'red' WHERE id = 1")
    project.downgrade("base")
    with cluster.connect(database) as connection:
        places = connection.execute("SELECT place FROM lockstep.archive").fetchall()
        assert len(places) == 1
        kept = connection.execute(f'SELECT k0, value FROM lockstep_archive."{places[0][0]}"').fetchall()
    assert kept == [(1, "red")]
