"""Shapes of tables whose rows a downgrade keeps, each with the revision that makes it and rows in it."""

from __future__ import annotations

from dataclasses import dataclass

#: What the shapes refer to. ``raw`` makes a column type of its SQL.
TYPES = """
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TYPE pair AS (a integer, b text);
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.b := 'a trigger was here'; RETURN NEW; END $$;
"""

RAW = """
class raw(sa.types.UserDefinedType):
    cache_ok = True
    def __init__(self, sql):
        self.sql = sql
    def get_col_spec(self, **kw):
        return self.sql
"""


@dataclass(frozen=True)
class Shape:
    name: str
    columns: str
    """Arguments of ``op.create_table('t', …)``."""
    rows: str
    """SQL that writes rows into ``t`` (and ``u``)."""
    more: str = ""
    """What else the revision does."""
    first: str = ""
    """And what it does before."""
    down: str = "op.drop_table('t')"
    before: str = "SELECT"
    """SQL that runs before the revision."""

    @property
    def upgrade(self) -> str:
        return f"{RAW}{self.first}\nop.create_table('t', {self.columns})\n{self.more}"

    @property
    def downgrade(self) -> str:
        return self.down


_ID = "sa.Column('id', sa.Integer(), primary_key=True)"
_B = "sa.Column('b', sa.Text())"

SHAPES = [
    Shape("serial key", f"{_ID}, {_B}", "INSERT INTO t (b) SELECT 'b' || n FROM generate_series(1, 40) n"),
    Shape(
        "no key, equal rows",
        f"sa.Column('a', sa.Integer()), {_B}",
        "INSERT INTO t SELECT n % 3, 'b' || n % 3 FROM generate_series(1, 40) n",
    ),
    Shape(
        "key of two columns, unique together",
        "sa.Column('a', sa.Integer(), primary_key=True), sa.Column('c', sa.Integer(), primary_key=True), "
        f"{_B}",
        "INSERT INTO t SELECT n % 5, n, 'b' || n FROM generate_series(1, 40) n",
        # SQLAlchemy 2.0 has no postgresql_include= for it.
        more="op.execute('ALTER TABLE t ADD UNIQUE (c, b) INCLUDE (a)')",
    ),
    Shape(
        "refers to itself in circles",
        f"{_ID}, {_B}, sa.Column('next_id', sa.Integer(), sa.ForeignKey('t.id'), nullable=False)",
        "INSERT INTO t SELECT n, 'b' || n, CASE WHEN n % 4 = 0 THEN n - 3 ELSE n + 1 END "
        "FROM generate_series(1, 40) n",
    ),
    Shape(
        "a chain from its end to its start",
        f"{_ID}, {_B}, sa.Column('next_id', sa.Integer(), sa.ForeignKey('t.id'))",
        "INSERT INTO t SELECT n, 'b' || n, CASE WHEN n < 300 THEN n + 1 END FROM generate_series(1, 300) n",
    ),
    Shape(
        "two tables that refer to each other",
        f"{_ID}, {_B}, sa.Column('u_id', sa.Integer(), nullable=False)",
        "ALTER TABLE t ALTER CONSTRAINT t_u_fk DEFERRABLE INITIALLY DEFERRED; "
        "BEGIN; INSERT INTO t SELECT n, 'b' || n, 41 - n FROM generate_series(1, 40) n; "
        "INSERT INTO u SELECT n, 41 - n FROM generate_series(1, 40) n; COMMIT; "
        "ALTER TABLE t ALTER CONSTRAINT t_u_fk NOT DEFERRABLE",
        more="op.create_table('u', sa.Column('id', sa.Integer(), primary_key=True), "
        "sa.Column('t_id', sa.Integer(), sa.ForeignKey('t.id'), nullable=False))\n"
        "op.create_foreign_key('t_u_fk', 't', 'u', ['u_id'], ['id'])",
        down="op.drop_constraint('t_u_fk', 't')\nop.drop_table('u')\nop.drop_table('t')",
    ),
    Shape(
        "a child that is made before its parent",
        f"{_ID}, {_B}, sa.Column('u_id', sa.Integer(), nullable=False)",
        "INSERT INTO u SELECT generate_series(1, 40); INSERT INTO t SELECT n, 'b' || n, n "
        "FROM generate_series(1, 40) n",
        more="op.create_table('u', sa.Column('id', sa.Integer(), primary_key=True))\n"
        "op.create_foreign_key('t_u_fk', 't', 'u', ['u_id'], ['id'], ondelete='CASCADE')",
        down="op.drop_table('t')\nop.drop_table('u')",
    ),
    Shape(
        "deferred unique constraint",
        f"{_ID}, {_B}, sa.UniqueConstraint('b', deferrable=True, initially='DEFERRED')",
        "INSERT INTO t (b) SELECT 'b' || n FROM generate_series(1, 40) n",
    ),
    Shape(
        "exclusion constraint",
        f"{_ID}, {_B}, sa.Column('r', raw('int4range')), "
        "postgresql.ExcludeConstraint((sa.column('r'), '&&'), name='t_apart')",
        "INSERT INTO t (b, r) SELECT 'b' || n, int4range(n, n + 1) FROM generate_series(1, 40) n",
    ),
    Shape(
        "partial and expression unique indexes",
        f"{_ID}, {_B}",
        "INSERT INTO t (b) SELECT CASE WHEN n % 2 = 0 THEN 'b' || n END FROM generate_series(1, 40) n",
        more="op.create_index('t_some', 't', ['b'], unique=True, postgresql_where=sa.text('b IS NOT NULL'))\n"
        "op.create_index('t_lower', 't', [sa.text('lower(b)')], unique=True)",
    ),
    Shape(
        "nulls not distinct",
        f"{_ID}, {_B}, sa.UniqueConstraint('b', postgresql_nulls_not_distinct=True)",
        "INSERT INTO t (b) SELECT nullif('b' || n, 'b1') FROM generate_series(1, 40) n",
    ),
    Shape(
        "generated and identity always",
        f"sa.Column('id', sa.Integer(), sa.Identity(always=True), primary_key=True), {_B}, "
        "sa.Column('g', sa.Text(), sa.Computed(\"b || '!'\", persisted=True))",
        "INSERT INTO t (b) SELECT 'b' || n FROM generate_series(1, 40) n",
    ),
    Shape(
        "types that are not PostgreSQL's own",
        f"{_ID}, sa.Column('m', raw('mood')), sa.Column('ms', raw('mood[]')), sa.Column('p', raw('pair')), "
        f"sa.Column('ps', raw('pair[]')), sa.Column('d', raw('positive')), {_B}",
        "INSERT INTO t (m, ms, p, ps, d, b) SELECT 'glad', ARRAY['sad', NULL]::mood[], "
        "(1, 'it''s \"x\", (y)')::pair, ARRAY[ROW(n, NULL)::pair], n, "
        "E'b\\\\' || n FROM generate_series(1, 40) n",
    ),
    Shape(
        "arrays, json and times",
        f"{_ID}, {_B}, sa.Column('a', raw('text[]')), sa.Column('j', raw('json')), "
        "sa.Column('w', raw('timestamptz')), sa.Column('i', raw('interval')), sa.Column('f', raw('float8'))",
        "INSERT INTO t (a, j, w, i, f) SELECT ARRAY['x', NULL], json_build_object('n', n), "
        "to_timestamp(n / 3.0), make_interval(hours => n), n / 3.0 FROM generate_series(1, 40) n",
    ),
    Shape(
        "names that want quoting",
        "sa.Column('Id % \"x\"', sa.Integer(), sa.Identity(), primary_key=True), "
        'sa.Column("it\'s", sa.Text()), '
        "sa.Column('{inside}', raw('mood'))",
        "INSERT INTO t (\"it's\", \"{inside}\") SELECT 'b' || n, 'sad' FROM generate_series(1, 40) n",
    ),
    Shape(
        "partitioned",
        f"sa.Column('a', sa.Integer(), primary_key=True), {_B}, postgresql_partition_by='RANGE (a)'",
        "INSERT INTO t SELECT n, 'b' || n FROM generate_series(1, 40) n",
        more="op.execute('CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (20)')\n"
        "op.execute('CREATE TABLE t_2 PARTITION OF t DEFAULT')",
    ),
    Shape(
        "triggers and rules on INSERT",
        f"{_ID}, {_B}",
        "ALTER TABLE t DISABLE TRIGGER ALL; ALTER TABLE t DISABLE RULE never; "
        "INSERT INTO t (b) SELECT 'b' || n FROM generate_series(1, 40) n; "
        "ALTER TABLE t ENABLE ALWAYS TRIGGER t_stamp; ALTER TABLE t ENABLE RULE never",
        more="op.execute('CREATE TRIGGER t_stamp BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION stamp()')\n"
        "op.execute('ALTER TABLE t ENABLE ALWAYS TRIGGER t_stamp')\n"
        "op.execute('CREATE RULE never AS ON INSERT TO t DO INSTEAD NOTHING')",
    ),
    Shape(
        "a column of its own later in the revision",
        f"{_ID}, {_B}",
        "INSERT INTO t (b, later) SELECT 'b' || n, n * 2 FROM generate_series(1, 40) n",
        more="op.add_column('t', sa.Column('later', sa.Integer()))\n"
        "op.create_check_constraint('t_later', 't', 'later > 0')",
        down="op.drop_constraint('t_later', 't')\nop.drop_column('t', 'later')\nop.drop_table('t')",
    ),
    Shape(
        "rows that the revision writes",
        f"{_ID}, {_B}",
        "INSERT INTO t (b) SELECT 'b' || n FROM generate_series(1, 40) n",
        more="op.execute(\"INSERT INTO t (b) VALUES ('first'), ('second')\")",
    ),
    Shape(
        "renamed on the way",
        f"{_ID}, {_B}",
        "INSERT INTO u (b) SELECT 'b' || n FROM generate_series(1, 40) n",
        more="op.rename_table('t', 'u')",
        down="op.drop_table('u')",
    ),
]
