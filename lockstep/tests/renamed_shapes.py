"""Shapes of tables and columns that their revision renames, or moves, after it has made them."""

from __future__ import annotations

from archive_shapes import Shape
from column_shapes import ColumnShape

_ID = "sa.Column('id', sa.Integer(), primary_key=True)"
_B = "sa.Column('b', sa.Text())"
_FILL = "SELECT 'b' || n FROM generate_series(1, 40) n"
_SWAPPED = f"INSERT INTO x (b) {_FILL}; INSERT INTO t (c) SELECT 'c' || n FROM generate_series(1, 30) n"
_SWAP = (
    "op.rename_table('t', 'x')\n"
    "op.create_table('u', sa.Column('id', sa.Integer(), primary_key=True), sa.Column('c', sa.Text()))\n"
    "op.rename_table('u', 't')"
)
_T = (
    "CREATE TABLE t (id serial PRIMARY KEY, b text); "
    "INSERT INTO t (b) SELECT 'b' || n FROM generate_series(1, 40) n"
)
_TWICE = (
    "op.rename_table('t', 'x')\nop.alter_column('x', 'b', new_column_name='c')\nop.rename_table('x', 'u')"
)
_BY_SQL = (
    "op.execute('CREATE SCHEMA app')\nop.execute('ALTER TABLE t SET SCHEMA app')\n"
    "op.execute('ALTER TABLE app.t RENAME b TO c; ALTER TABLE app.t RENAME TO u')"
)

RENAMED_SHAPES = [
    Shape(
        "renamed, and back in its downgrade", f"{_ID}, {_B}", f"INSERT INTO u (b) {_FILL}",
        more="op.rename_table('t', 'u')",
        down="op.rename_table('u', 't')\nop.drop_table('t')",
    ),
    Shape(
        "renamed twice, and a column of it", f"{_ID}, {_B}", f"INSERT INTO u (c) {_FILL}",
        more=_TWICE,
        down="op.rename_table('u', 'x')\nop.alter_column('x', 'c', new_column_name='b')\n"
        "op.rename_table('x', 't')\nop.drop_table('t')",
    ),
    Shape(
        "renamed twice, and dropped by its last names", f"{_ID}, {_B}", f"INSERT INTO u (c) {_FILL}",
        more=_TWICE, down="op.drop_table('u')",
    ),
    Shape(
        "a name that another table takes", f"{_ID}, {_B}", _SWAPPED,
        more=_SWAP, down="op.drop_table('t')\nop.drop_table('x')",
    ),
    Shape(
        "a name that another table takes, and gives back", f"{_ID}, {_B}", _SWAPPED,
        more=_SWAP,
        down="op.rename_table('t', 'u')\nop.drop_table('u')\nop.rename_table('x', 't')\nop.drop_table('t')",
    ),
    Shape(
        "moved to another schema by SQL", f"{_ID}, {_B}", f"INSERT INTO app.u (c) {_FILL}",
        more=_BY_SQL,
        down="op.execute('ALTER TABLE app.u RENAME TO t')\n"
        "op.get_bind().exec_driver_sql('ALTER TABLE app.t RENAME COLUMN c TO b')\n"
        "op.execute('ALTER TABLE app.t SET SCHEMA public')\n"
        "op.drop_table('t')\nop.execute('DROP SCHEMA app')",
    ),
    ColumnShape(
        "a column renamed, and back in its downgrade", "sa.Text()", "UPDATE t SET w = 'w' || id",
        more="op.alter_column('t', 'v', new_column_name='w')",
        down="op.alter_column('t', 'w', new_column_name='v')\nop.drop_column('t', 'v')",
    ),
    ColumnShape(
        "filled before and after it is renamed", "sa.Text()", "UPDATE t SET w = 'written' WHERE id % 3 = 0",
        more="op.execute(\"UPDATE t SET v = 'a' || b WHERE id % 3 = 1\")\n"
        "op.alter_column('t', 'v', new_column_name='w')\n"
        "op.execute(\"UPDATE t SET w = 'of ' || b WHERE id % 3 < 2\")\n"
        "op.backfill('t', {'w': sa.text(\"'more ' || b\")}, where='w IS NULL')",
        down="op.alter_column('t', 'w', new_column_name='v')\nop.drop_column('t', 'v')",
    ),
    ColumnShape(
        "columns that change their names", "sa.Text()", "UPDATE t SET v = 'v' || id, w = 'w' || id",
        more="op.alter_column('t', 'v', new_column_name='w')\nop.add_column('t', sa.Column('v', sa.Text()))",
        down="op.drop_column('t', 'v')\nop.alter_column('t', 'w', new_column_name='v')\n"
        "op.drop_column('t', 'v')",
    ),
    ColumnShape(
        "its table and its key are renamed", "sa.Text()", "UPDATE u SET v = 'v' || number",
        more="op.alter_column('t', 'id', new_column_name='number')\nop.rename_table('t', 'u')\n"
        "op.execute(\"UPDATE u SET v = 'of ' || b\")",
        down="op.rename_table('u', 't')\nop.alter_column('t', 'number', new_column_name='id')\n"
        "op.drop_column('t', 'v')",
    ),
    ColumnShape(
        "its table is renamed, and the column dropped first", "sa.Text()", "UPDATE u SET v = 'v' || id",
        more="op.rename_table('t', 'u')",
        down="op.drop_column('u', 'v')\nop.rename_table('u', 't')",
    ),
    ColumnShape(
        "a reference to a table that is renamed", "sa.Integer()",
        "INSERT INTO q SELECT generate_series(1, 5); UPDATE t SET w = id % 5 + 1",
        more="op.create_table('p', sa.Column('id', sa.Integer(), primary_key=True))\n"
        "op.create_foreign_key('t_p', 't', 'p', ['v'], ['id'])\n"
        "op.rename_table('p', 'q')\nop.alter_column('t', 'v', new_column_name='w')",
        down="op.drop_constraint('t_p', 't')\nop.alter_column('t', 'w', new_column_name='v')\n"
        "op.rename_table('q', 'p')\nop.drop_table('p')\nop.drop_column('t', 'v')",
    ),
]  # fmt: skip
