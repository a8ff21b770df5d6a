"""Changes of type that fail on the values of a database, and operations that fail on its catalog."""

from __future__ import annotations

from lockstep.plan.finding import Kind
from plan_data_cases import Case

_NOTES = "CREATE TABLE notes (id integer PRIMARY KEY, a integer, b text);"
_WORDS = "CREATE TABLE notes (id integer PRIMARY KEY, b text); INSERT INTO notes VALUES"


def _conversion(name: str, values: str, type_: str, using: str, says: str, count: int = 1) -> Case:
    """Values of the text column b, of which those with id 1 and less are at fault."""
    return Case(
        name,
        f"{_WORDS} {values}",
        f"op.alter_column('notes', 'b', type_={type_}, postgresql_using=\"{using}\")",
        Kind.CONVERSION,
        says,
        "DELETE FROM notes WHERE id < 2",
        count,
    )


CONVERSIONS = [
    _conversion(
        "text that is no integer", "(1, '12x'), (2, '12'), (0, ''), (3, NULL)", "sa.Integer()", "b::integer",
        'in notes 2 rows have a b that cannot be made int: invalid input syntax for type integer: "', 2,
    ),
    _conversion(
        "text that is too large", "(1, '70000'), (2, '-5')", "sa.SmallInteger()", "b::smallint",
        'in notes 1 row has a b that cannot be made smallint: value "70000" is out of range',
    ),
    _conversion(
        "text that is no timestamp", "(1, '2026-02-30'), (2, '2026-02-28')", "sa.DateTime(timezone=True)",
        "b::timestamptz", "cannot be made timestamp with time zone: date/time field value out of range",
    ),
    _conversion(
        "text that is no uuid", "(1, 'x'), (2, '6ecd8c99-4036-403d-bf84-cf8400f67836')",
        "postgresql.UUID()", "b::uuid", "cannot be made uuid: invalid input syntax for type uuid",
    ),
    _conversion(
        "text that is no json", "(1, '{'), (2, '{}')", "postgresql.JSONB()", "b::jsonb",
        "cannot be made jsonb: invalid input syntax for type json",
    ),
    _conversion(
        "an expression that fails", "(1, '0'), (2, '5')", "sa.Integer()", "10 / b::integer",
        "cannot be made int: division by zero",
    ),
]  # fmt: skip

CONVERSIONS += [
    Case(
        "text that is too long",
        f"{_WORDS} (1, 'abcdef'), (2, 'abcd'), (3, 'abcd   ')",
        "op.alter_column('notes', 'b', type_=sa.String(4))",
        Kind.CONVERSION,
        "in notes 1 row has a b that cannot be made varchar(4): value too long for type character varying(4)",
        "DELETE FROM notes WHERE id = 1",
        1,
        ({"id": 1, "b": "abcdef"},),
    ),
    Case(
        "integers that are out of range",
        f"{_NOTES} INSERT INTO notes SELECT n, n * 1000 FROM generate_series(1, 35) n",
        "op.alter_column('notes', 'a', type_=sa.SmallInteger())",
        Kind.CONVERSION,
        "in notes 3 rows have a a that cannot be made smallint: smallint out of range",
        "DELETE FROM notes WHERE id > 32",
        3,
        ({"id": 33, "a": 33000}, {"id": 34, "a": 34000}, {"id": 35, "a": 35000}),
    ),
    Case(
        "numbers with too many digits",
        "CREATE TABLE notes (id integer PRIMARY KEY, a numeric);"
        "INSERT INTO notes VALUES (1, 1234.5), (2, 12)",
        "op.alter_column('notes', 'a', type_=sa.Numeric(5, 2))",
        Kind.CONVERSION,
        "cannot be made numeric(5, 2): numeric field overflow",
        "DELETE FROM notes WHERE id = 1",
        1,
        ({"id": 1, "a": 1234.5},),
    ),
    Case(
        "text that is no label of an enum",
        f"CREATE TYPE mood AS ENUM ('good', 'bad'); {_WORDS} (1, 'so so'), (2, 'good')",
        "op.alter_column('notes', 'b', type_=postgresql.ENUM('good', 'bad', name='mood', create_type=False),"
        " postgresql_using='b::mood')",
        Kind.CONVERSION,
        'cannot be made mood: invalid input value for enum mood: "so so"',
        "DELETE FROM notes WHERE id = 1",
        1,
        ({"id": 1, "b": "so so"},),
    ),
    Case(
        "a label that the enum which takes another's place does not have",
        "CREATE TYPE mood AS ENUM ('good', 'bad', 'so so');"
        "CREATE TABLE notes (id integer PRIMARY KEY, b mood);"
        "INSERT INTO notes VALUES (1, 'so so'), (2, 'good')",
        "op.execute('ALTER TYPE mood RENAME TO mood_before')\n"
        "op.execute(\"CREATE TYPE mood AS ENUM ('good', 'bad')\")\n"
        "op.execute('ALTER TABLE notes ALTER COLUMN b TYPE mood USING b::text::mood')\n"
        "op.execute('DROP TYPE mood_before')",
        Kind.CONVERSION,
        "in notes 1 row has a b that is no label of the type: 'good', 'bad'",
        "DELETE FROM notes WHERE id = 1",
        1,
        ({"id": 1, "b": "so so"},),
    ),
    Case(
        "duplicates after a change of type",
        "CREATE TABLE notes (id integer PRIMARY KEY, a numeric UNIQUE);"
        "INSERT INTO notes VALUES (1, 1.2), (2, 1.3)",
        "op.alter_column('notes', 'a', type_=sa.Integer())",
        Kind.DUPLICATES,
        "in notes 2 rows have a value of a that another row has, too: the unique index notes_a_key",
        "DELETE FROM notes WHERE id = 1",
        2,
        ({"id": 1, "a": 1}, {"id": 2, "a": 1}),
    ),
    Case(
        "a check that refuses a value of another type",
        "CREATE TABLE notes (id integer PRIMARY KEY, a numeric CONSTRAINT small CHECK (a < 2));"
        "INSERT INTO notes VALUES (1, 1.9), (2, 1.3)",
        "op.alter_column('notes', 'a', type_=sa.Integer())",
        Kind.CHECK,
        "the check small refuses 1 row of notes",
        "DELETE FROM notes WHERE id = 1",
        1,
        ({"id": 1, "a": 2},),
    ),
    Case(
        "orphans after a change of type",
        "CREATE TABLE owners (id numeric PRIMARY KEY);"
        "CREATE TABLE notes (id integer PRIMARY KEY, a numeric REFERENCES owners);"
        "INSERT INTO owners VALUES (1.2), (2); INSERT INTO notes VALUES (1, 1.2), (2, 2)",
        "op.alter_column('notes', 'a', type_=sa.Integer())",
        Kind.ORPHANS,
        "in notes 1 row refers by (a) to no row of owners: the foreign key notes_a_fkey refuses that",
        "DELETE FROM notes WHERE id = 1",
        1,
        ({"id": 1, "a": 1},),
    ),
    Case(
        "NULLs that a change of type makes",
        "CREATE TABLE notes (id integer PRIMARY KEY, b text NOT NULL);"
        "INSERT INTO notes VALUES (1, ''), (2, '1')",
        "op.alter_column('notes', 'b', type_=sa.Integer(), postgresql_using=\"nullif(b, '')::integer\")",
        Kind.NULLS,
        "in notes 1 row has NULL in b as int",
        "DELETE FROM notes WHERE id = 1",
        1,
        ({"id": 1, "b": None},),
    ),
    Case(
        "text of a partitioned table",
        "CREATE TABLE notes (id integer, b text) PARTITION BY HASH (id);"
        "CREATE TABLE notes_0 PARTITION OF notes FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE notes_1 PARTITION OF notes FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "INSERT INTO notes SELECT n, nullif(n % 10, 0) FROM generate_series(1, 60) n;"
        "UPDATE notes SET b = 'x' WHERE id % 20 = 1",
        "op.alter_column('notes', 'b', type_=sa.Integer(), postgresql_using='b::integer')",
        Kind.CONVERSION,
        "in notes 3 rows have a b that cannot be made int",
        "UPDATE notes SET b = 1 WHERE b = 'x'",
        3,
    ),
]


def _drift(name: str, tables: str, operation: str, kind: Kind, says: str, mend: str) -> Case:
    return Case(name, tables, operation, kind, says, mend)


CATALOG = [
    _drift(
        "a column that is there already", _NOTES, "op.add_column('notes', sa.Column('b', sa.Text()))",
        Kind.EXISTS, "notes has a column b already", "ALTER TABLE notes DROP COLUMN b",
    ),
    _drift(
        "a table that is there already", _NOTES, "op.create_table('notes', sa.Column('id', sa.Integer()))",
        Kind.EXISTS, "there is a table notes already", "DROP TABLE notes",
    ),
    _drift(
        "an index that is there already", f"{_NOTES} CREATE INDEX found ON notes (a)",
        "op.create_index('found', 'notes', ['b'])",
        Kind.EXISTS, "there is an index found already", "DROP INDEX found",
    ),
    _drift(
        "a constraint that is there already",
        f"{_NOTES} ALTER TABLE notes ADD CONSTRAINT known CHECK (a > 0)",
        "op.create_check_constraint('known', 'notes', 'a > 1')",
        Kind.EXISTS, "notes has a constraint known already", "ALTER TABLE notes DROP CONSTRAINT known",
    ),
    _drift(
        "a type that is there already", "CREATE TYPE mood AS ENUM ('good')",
        "op.execute(\"CREATE TYPE mood AS ENUM ('good', 'bad')\")",
        Kind.EXISTS, "there is a type mood already", "DROP TYPE mood",
    ),
    _drift(
        "an enum's label that is there already", "CREATE TYPE mood AS ENUM ('good', 'bad')",
        "op.execute(\"ALTER TYPE mood ADD VALUE 'bad'\")",
        Kind.EXISTS, "the type mood has a label bad already",
        "DROP TYPE mood; CREATE TYPE mood AS ENUM ('good')",
    ),
    _drift(
        "a dropped table that is not there", "", "op.drop_table('notes')",
        Kind.MISSING, "there is no table notes", _NOTES,
    ),
    _drift(
        "a dropped column that is not there",
        "CREATE TABLE notes (id integer)", "op.drop_column('notes', 'b')",
        Kind.MISSING, "notes has no column b", "ALTER TABLE notes ADD COLUMN b text",
    ),
    _drift(
        "a dropped constraint that is not there", _NOTES, "op.drop_constraint('known', 'notes')",
        Kind.MISSING, "notes has no constraint known", "ALTER TABLE notes ADD CONSTRAINT known CHECK (a > 0)",
    ),
    _drift(
        "a dropped index that is not there", _NOTES, "op.drop_index('found', 'notes')",
        Kind.MISSING, "there is no index found", "CREATE INDEX found ON notes (a)",
    ),
    _drift(
        "a renamed column that is not there", "CREATE TABLE notes (id integer)",
        "op.alter_column('notes', 'b', new_column_name='c')",
        Kind.MISSING, "notes has no column b", "ALTER TABLE notes ADD COLUMN b text",
    ),
    _drift(
        "a dropped table that a foreign key refers to",
        f"{_NOTES} CREATE TABLE votes (id integer CONSTRAINT voted REFERENCES notes)",
        "op.drop_table('notes')",
        Kind.NEEDED, "cannot drop notes: the foreign key voted of votes depends on it", "DROP TABLE votes",
    ),
    _drift(
        "a dropped table that a view reads", f"{_NOTES} CREATE VIEW few AS SELECT a FROM notes",
        "op.drop_table('notes')",
        Kind.NEEDED, "cannot drop notes: the view few depends on it", "DROP VIEW few",
    ),
    _drift(
        "a dropped column that a view reads", f"{_NOTES} CREATE VIEW few AS SELECT a FROM notes",
        "op.drop_column('notes', 'a')",
        Kind.NEEDED, "cannot drop notes.a: the view few depends on it", "DROP VIEW few",
    ),
    _drift(
        "a type changed of a column that a view reads", f"{_NOTES} CREATE VIEW few AS SELECT a FROM notes",
        "op.alter_column('notes', 'a', type_=sa.BigInteger())",
        Kind.NEEDED, "cannot change the type of notes.a: the view few depends on it", "DROP VIEW few",
    ),
    _drift(
        "a dropped type that a column has",
        "CREATE TYPE mood AS ENUM ('good'); CREATE TABLE notes (id integer, b mood)",
        "op.execute('DROP TYPE mood')",
        Kind.NEEDED, "cannot drop the type mood: notes.b is of it", "ALTER TABLE notes DROP COLUMN b",
    ),
    _drift(
        "a constraint on a table that is not there", "",
        "op.create_unique_constraint('once', 'notes', ['a'])",
        Kind.MISSING, "there is no table notes", _NOTES,
    ),
    _drift(
        "a foreign key to a table that is not there", _NOTES,
        "op.create_foreign_key('owned', 'notes', 'owners', ['a'], ['id'])",
        Kind.MISSING, "there is no table owners", "CREATE TABLE owners (id integer PRIMARY KEY)",
    ),
]  # fmt: skip
