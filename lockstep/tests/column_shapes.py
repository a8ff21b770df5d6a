"""Shapes of columns whose values a downgrade keeps, each with its table and values in it."""

from __future__ import annotations

from dataclasses import dataclass

from archive_shapes import RAW

_T = (
    "CREATE TABLE t (id serial PRIMARY KEY, b text); "
    "INSERT INTO t (b) SELECT 'b' || n FROM generate_series(1, 40) n"
)


@dataclass(frozen=True)
class ColumnShape:
    name: str
    column: str
    """Arguments of ``sa.Column('v', …)``."""
    rows: str
    """SQL that writes values into it."""
    before: str = _T
    """SQL that makes the table ``t``, with rows in it."""
    more: str = ""
    """What else the revision does."""
    down: str = "op.drop_column('t', 'v')"

    @property
    def upgrade(self) -> str:
        return f"{RAW}\nop.add_column('t', sa.Column('v', {self.column}))\n{self.more}"

    @property
    def downgrade(self) -> str:
        return self.down


_SOME = "UPDATE t SET v = 'v' || id WHERE id % 3 > 0"

COLUMN_SHAPES = [
    ColumnShape("text", "sa.Text()", _SOME),
    ColumnShape(
        "a constant default", "sa.Integer(), server_default='5', nullable=False",
        "UPDATE t SET v = id WHERE id % 3 > 0",
    ),
    ColumnShape(
        "an enum with a default", "raw('mood'), server_default='glad'",
        "UPDATE t SET v = 'sad' WHERE id % 3 > 0; UPDATE t SET v = NULL WHERE id = 2",
    ),
    ColumnShape(
        "a domain, under a key of an enum and text", "raw('positive')",
        "UPDATE t SET v = length(b)",
        before="CREATE TABLE t (m mood, b text, PRIMARY KEY (m, b)); "
        "INSERT INTO t SELECT 'glad', 'b' || n FROM generate_series(1, 20) n; "
        "INSERT INTO t SELECT 'sad', 'b' || n FROM generate_series(1, 20) n",
    ),
    ColumnShape(
        "a composite type, under a unique key", "raw('pair')",
        "UPDATE t SET v = (id, 'x, \"y\"')::pair",
        before="CREATE TABLE t (id integer NOT NULL UNIQUE, b text); "
        "INSERT INTO t SELECT n, 'b' || n FROM generate_series(1, 40) n",
    ),
    ColumnShape(
        "arrays of times", "raw('timestamptz[]')",
        "UPDATE t SET v = ARRAY['2026-01-01 00:00:00.123456+03'::timestamptz + id * interval '1 s', NULL]",
    ),
    ColumnShape("bytes", "sa.LargeBinary()", "UPDATE t SET v = decode(md5(id::text), 'hex')"),
    ColumnShape("numbers that round", "sa.Float()", "UPDATE t SET v = 1.0 / id::float8 + 1e-17"),
    ColumnShape("unique", "sa.Text(), unique=True", _SOME),
    ColumnShape(
        "a reference to another table", "sa.Integer(), sa.ForeignKey('p.id', ondelete='CASCADE')",
        "UPDATE t SET v = id % 5 + 1",
        before=f"CREATE TABLE p (id integer PRIMARY KEY); INSERT INTO p SELECT generate_series(1, 5); {_T}",
    ),
    ColumnShape(
        "a reference to its own table", "sa.Integer(), sa.ForeignKey('t.id')",
        "UPDATE t SET v = 41 - id",
    ),
    ColumnShape(
        "a check and an index", "sa.Integer(), sa.CheckConstraint('v > 0', name='t_v'), index=True",
        "UPDATE t SET v = id",
    ),
    ColumnShape(
        "a volatile default", "sa.Uuid(), server_default=sa.text('gen_random_uuid()'), nullable=False",
        "UPDATE t SET v = gen_random_uuid() WHERE id % 3 > 0",
    ),
    ColumnShape(
        "a trigger on UPDATE", "sa.Text()", "UPDATE t SET v = 'v' || id",
        before=f"{_T}; CREATE TRIGGER t_stamp BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION stamp(); "
        "ALTER TABLE t ENABLE ALWAYS TRIGGER t_stamp",
    ),
    ColumnShape(
        "a partitioned table", "sa.Text()", "UPDATE t SET v = 'v' || id",
        before="CREATE TABLE t (id integer PRIMARY KEY, b text) PARTITION BY RANGE (id); "
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (20); "
        "CREATE TABLE t_2 PARTITION OF t DEFAULT; "
        "INSERT INTO t SELECT n, 'b' || n FROM generate_series(1, 40) n",
    ),
    ColumnShape(
        "renamed on the way", "sa.Text()", "UPDATE t SET w = 'w' || id",
        more="op.alter_column('t', 'v', new_column_name='w')", down="op.drop_column('t', 'w')",
    ),
    ColumnShape(
        "filled by the revision", "sa.Text()", "UPDATE t SET v = 'written' WHERE id % 3 = 0",
        more="op.backfill('t', {'v': sa.text(\"'of ' || b\")}, where='v IS NULL')\n"
        "op.alter_column('t', 'v', nullable=False)",
    ),
    ColumnShape(
        "filled by SQL", "sa.Text()", "UPDATE t SET v = 'written' WHERE id % 3 = 0",
        more="op.execute(\"UPDATE t SET v = 'of ' || b WHERE v IS NULL\")",
    ),
    ColumnShape(
        "two that depend on one another", "sa.Integer()", "UPDATE t SET v = id, w = id * 2",
        more="op.add_column('t', sa.Column('w', sa.Integer(), server_default='0', nullable=False))\n"
        "op.create_check_constraint('t_vw', 't', 'w >= v')\nop.create_index('t_vw_i', 't', ['v', 'w'])",
        down="op.drop_index('t_vw_i', 't')\nop.drop_constraint('t_vw', 't')\n"
        "op.drop_column('t', 'w')\nop.drop_column('t', 'v')",
    ),
    ColumnShape(
        "a generated one beside it", "sa.Integer()", "UPDATE t SET v = id",
        more="op.add_column('t', sa.Column('g', sa.Integer(), sa.Computed('v * 2', persisted=True)))",
        down="op.drop_column('t', 'g')\nop.drop_column('t', 'v')",
    ),
    ColumnShape(
        "a table with row security", "sa.Text()", _SOME,
        before=f"{_T}; ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON t USING (false)",
    ),
]  # fmt: skip
