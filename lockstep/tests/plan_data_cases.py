"""Operations that fail on the rows or the catalog of a database, with what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lockstep.plan.finding import Kind


@dataclass(frozen=True)
class Case:
    """One operation, the database that it fails on, and the same database put right."""

    name: str
    tables: str
    operation: str
    kind: Kind
    says: str
    mend: str
    count: int | None = None
    rows: tuple[dict[str, Any], ...] = ()

    def __str__(self) -> str:
        return self.name


_NOTES = "CREATE TABLE notes (id integer PRIMARY KEY, a integer, b text);"

CASES = [
    Case(
        "duplicates under a unique constraint",
        f"{_NOTES} INSERT INTO notes VALUES (1, 7, 'x'), (2, 7, 'x'), (3, 7, 'y'),"
        "(4, NULL, 'x'), (5, NULL, 'x')",
        "op.create_unique_constraint('once', 'notes', ['a', 'b'])",
        Kind.DUPLICATES,
        "in notes 2 rows have a value of a, b that another row has, too: the unique constraint once",
        "DELETE FROM notes WHERE id = 2",
        2,
        ({"id": 1, "a": 7, "b": "x"}, {"id": 2, "a": 7, "b": "x"}),
    ),
    Case(
        "duplicates under a unique constraint where NULLs are not distinct",
        f"{_NOTES} INSERT INTO notes VALUES (1, NULL), (2, NULL), (3, NULL), (4, 1)",
        "op.create_unique_constraint('once', 'notes', ['a'], postgresql_nulls_not_distinct=True)",
        Kind.DUPLICATES,
        "in notes 3 rows have a value of a that another row has, too",
        "DELETE FROM notes WHERE id < 3",
        3,
        ({"id": 1, "a": None}, {"id": 2, "a": None}, {"id": 3, "a": None}),
    ),
    Case(
        "duplicates under a unique index",
        f"{_NOTES} INSERT INTO notes SELECT n, n / 2 FROM generate_series(2, 21) n",
        "op.create_index('once', 'notes', ['a'], unique=True)",
        Kind.DUPLICATES,
        "in notes 20 rows have a value of a that another row has, too: the unique index once refuses that",
        "UPDATE notes SET a = id",
        20,
    ),
    Case(
        "duplicates under a partial unique index",
        f"{_NOTES} INSERT INTO notes VALUES (1, 1, 'live'), (2, 1, 'gone'), (3, 2, 'live'), (4, 2, 'live')",
        "op.create_index('once', 'notes', ['a'], unique=True, postgresql_where=sa.text(\"b = 'live'\"))",
        Kind.DUPLICATES,
        "in notes 2 rows have a value of a",
        "DELETE FROM notes WHERE id = 4",
        2,
        ({"id": 3, "a": 2, "b": "live"}, {"id": 4, "a": 2, "b": "live"}),
    ),
    Case(
        "duplicates under a unique index on an expression",
        f"{_NOTES} INSERT INTO notes VALUES (1, 1, 'Ann'), (2, 1, 'ann'), (3, 2, 'Bob')",
        "op.create_index('once', 'notes', [sa.text('lower(b)')], unique=True)",
        Kind.DUPLICATES,
        "in notes 2 rows have a value of (lower(b)) that another row has, too",
        "DELETE FROM notes WHERE id = 2",
        2,
        ({"id": 1, "b": "Ann"}, {"id": 2, "b": "ann"}),
    ),
    Case(
        "duplicates under a primary key",
        "CREATE TABLE notes (a integer, b text); INSERT INTO notes VALUES (1, 'x'), (1, 'y'), (2, 'z')",
        "op.create_primary_key('notes_pkey', 'notes', ['a'])",
        Kind.DUPLICATES,
        "the primary key notes_pkey refuses that",
        "DELETE FROM notes WHERE b = 'y'",
        2,
        ({"a": 1}, {"a": 1}),
    ),
    Case(
        "NULLs under a primary key",
        "CREATE TABLE notes (a integer, b text); INSERT INTO notes VALUES (NULL, 'x'), (1, 'y')",
        "op.create_primary_key('notes_pkey', 'notes', ['a'])",
        Kind.NULLS,
        "in notes 1 row has NULL in a: the primary key notes_pkey refuses that",
        "DELETE FROM notes WHERE a IS NULL",
        1,
        ({"a": None},),
    ),
    Case(
        "NULLs under NOT NULL",
        f"{_NOTES} INSERT INTO notes SELECT n, nullif(n % 2, 0) FROM generate_series(1, 20) n",
        "op.alter_column('notes', 'a', nullable=False)",
        Kind.NULLS,
        "in notes 10 rows have NULL in a",
        "UPDATE notes SET a = 0 WHERE a IS NULL",
        10,
    ),
    Case(
        "NULLs under SET NOT NULL in SQL",
        f"{_NOTES} INSERT INTO notes VALUES (1, NULL)",
        "op.execute('ALTER TABLE notes ALTER COLUMN a SET NOT NULL')",
        Kind.NULLS,
        "in notes 1 row has NULL in a",
        "DELETE FROM notes",
        1,
        ({"id": 1, "a": None},),
    ),
    Case(
        "a NOT NULL column without a default",
        f"{_NOTES} INSERT INTO notes VALUES (1), (2)",
        "op.add_column('notes', sa.Column('kind', sa.Text(), nullable=False))",
        Kind.NO_DEFAULT,
        "notes has 2 rows, for which the new column kind has no value",
        "DELETE FROM notes",
        2,
        ({"id": 1}, {"id": 2}),
    ),
    Case(
        "a unique column with a default",
        f"{_NOTES} INSERT INTO notes VALUES (1), (2)",
        "op.add_column('notes', sa.Column('kind', sa.Text(), server_default='x'))\n"
        "op.create_unique_constraint('once', 'notes', ['kind'])",
        Kind.DUPLICATES,
        "in notes 2 rows have a value of kind",
        "DELETE FROM notes WHERE id = 2",
        2,
        ({"id": 1, "kind": "x"}, {"id": 2, "kind": "x"}),
    ),
    Case(
        "orphans under a foreign key",
        f"{_NOTES} CREATE TABLE owners (id integer PRIMARY KEY); INSERT INTO owners VALUES (1);"
        "INSERT INTO notes VALUES (1, 1), (2, 2), (3, NULL), (4, 3)",
        "op.create_foreign_key('owned', 'notes', 'owners', ['a'], ['id'])",
        Kind.ORPHANS,
        "in notes 2 rows refer by (a) to no row of owners: the foreign key owned refuses that",
        "DELETE FROM notes WHERE a > 1",
        2,
        ({"id": 2, "a": 2}, {"id": 4, "a": 3}),
    ),
    Case(
        "orphans under a foreign key of two columns",
        f"{_NOTES} CREATE TABLE owners (id integer, name text, PRIMARY KEY (id, name));"
        "INSERT INTO owners VALUES (1, 'x'); INSERT INTO notes VALUES (1, 1, 'x'), (2, 1, 'y'), (3, 9, NULL)",
        "op.create_foreign_key('owned', 'notes', 'owners', ['a', 'b'], ['id', 'name'])",
        Kind.ORPHANS,
        "in notes 1 row refers by (a, b) to no row of owners",
        "DELETE FROM notes WHERE id = 2",
        1,
        ({"id": 2, "a": 1, "b": "y"},),
    ),
    Case(
        "rows that are NULL in part under MATCH FULL",
        f"{_NOTES} CREATE TABLE owners (id integer, name text, PRIMARY KEY (id, name));"
        "INSERT INTO owners VALUES (1, 'x');"
        "INSERT INTO notes VALUES (1, 1, 'x'), (2, NULL, NULL), (3, 9, NULL)",
        "op.create_foreign_key('owned', 'notes', 'owners', ['a', 'b'], ['id', 'name'], match='FULL')",
        Kind.ORPHANS,
        "in notes 1 row refers by (a, b) to no row of owners",
        "DELETE FROM notes WHERE id = 3",
        1,
        ({"id": 3, "a": 9, "b": None},),
    ),
    Case(
        "orphans of a foreign key to the table itself",
        f"{_NOTES} INSERT INTO notes VALUES (1, NULL), (2, 1), (3, 9)",
        "op.create_foreign_key('parent', 'notes', 'notes', ['a'], ['id'])",
        Kind.ORPHANS,
        "in notes 1 row refers by (a) to no row of notes",
        "DELETE FROM notes WHERE id = 3",
        1,
        ({"id": 3, "a": 9},),
    ),
    Case(
        "rows that a check refuses",
        f"{_NOTES} INSERT INTO notes VALUES (1, -1, 'x'), (2, 5, 'y'), (3, NULL, 'z')",
        "op.create_check_constraint('positive', 'notes', \"a > 0 AND b ~ '^[a-z]%?$'\")",
        Kind.CHECK,
        "the check positive refuses 1 row of notes: a > 0 AND b ~ '^[a-z]%?$'",
        "DELETE FROM notes WHERE id = 1",
        1,
        ({"id": 1, "a": -1, "b": "x"},),
    ),
    Case(
        "rows that a check cannot compute",
        f"{_NOTES} INSERT INTO notes VALUES (1, 0), (2, 5)",
        "op.create_check_constraint('part', 'notes', '10 / a > 0')",
        Kind.CHECK,
        "the check part refuses 1 row of notes: (10 / a) > 0 (division by zero)",
        "DELETE FROM notes WHERE id = 1",
        1,
        ({"id": 1, "a": 0},),
    ),
    Case(
        "rows that break a constraint which is validated",
        f"{_NOTES} INSERT INTO notes VALUES (1, -1), (2, 5);"
        "ALTER TABLE notes ADD CONSTRAINT positive CHECK (a > 0) NOT VALID",
        "op.execute('ALTER TABLE notes VALIDATE CONSTRAINT positive')",
        Kind.CHECK,
        "the check positive refuses 1 row of notes: a > 0",
        "DELETE FROM notes WHERE id = 1",
        1,
        ({"id": 1, "a": -1},),
    ),
    Case(
        "orphans under a constraint which is added NOT VALID and validated",
        f"{_NOTES} CREATE TABLE owners (id integer PRIMARY KEY); INSERT INTO notes VALUES (1, 1)",
        "op.create_foreign_key('owned', 'notes', 'owners', ['a'], ['id'], postgresql_not_valid=True)\n"
        "op.execute('ALTER TABLE notes VALIDATE CONSTRAINT owned')",
        Kind.ORPHANS,
        "in notes 1 row refers by (a) to no row of owners: the foreign key owned refuses that",
        "INSERT INTO owners VALUES (1)",
        1,
        ({"id": 1, "a": 1},),
    ),
    Case(
        "duplicates under a constraint in SQL",
        f"{_NOTES} INSERT INTO notes VALUES (1, 7), (2, 7)",
        "op.execute('ALTER TABLE notes ADD CONSTRAINT once UNIQUE (a)')",
        Kind.DUPLICATES,
        "in notes 2 rows have a value of a",
        "DELETE FROM notes WHERE id = 2",
        2,
        ({"id": 1, "a": 7}, {"id": 2, "a": 7}),
    ),
    Case(
        "duplicates under a unique index in SQL",
        f"{_NOTES} INSERT INTO notes VALUES (1, 7), (2, 7)",
        "op.execute('CREATE UNIQUE INDEX once ON notes (a DESC NULLS LAST)')",
        Kind.DUPLICATES,
        "in notes 2 rows have a value of a",
        "DELETE FROM notes WHERE id = 2",
        2,
        ({"id": 1, "a": 7}, {"id": 2, "a": 7}),
    ),
    Case(
        "rows that an exclusion constraint refuses",
        "CREATE TABLE stays (id integer PRIMARY KEY, during int4range, off boolean);"
        "INSERT INTO stays VALUES (1, '[1,5)'), (2, '[4,8)'), (3, '[8,9)'), (4, '[1,9)');"
        "UPDATE stays SET off = true WHERE id = 4",
        "op.create_exclude_constraint('apart', 'stays', (sa.column('during'), '&&'), using='gist',"
        " where='off IS NOT TRUE')",
        Kind.EXCLUSION,
        "in stays 2 rows conflict with another row: the exclusion constraint apart refuses that",
        "DELETE FROM stays WHERE id = 2",
        2,
        ({"id": 1, "during": "[1,5)", "off": None}, {"id": 2, "during": "[4,8)", "off": None}),
    ),
    Case(
        "rows that a new check of a domain refuses",
        "CREATE DOMAIN age AS integer; CREATE TABLE people (id integer PRIMARY KEY, years age);"
        "INSERT INTO people VALUES (1, -1), (2, 30)",
        "op.execute('ALTER DOMAIN age ADD CONSTRAINT positive CHECK (VALUE > 0)')",
        Kind.CHECK,
        "the check positive refuses 1 row of people: years > 0",
        "DELETE FROM people WHERE id = 1",
        1,
        ({"id": 1, "years": -1},),
    ),
    Case(
        "NULLs under NOT NULL of a domain",
        "CREATE DOMAIN age AS integer; CREATE TABLE people (id integer PRIMARY KEY, years age);"
        "INSERT INTO people VALUES (1, NULL), (2, 30)",
        "op.execute('ALTER DOMAIN age SET NOT NULL')",
        Kind.NULLS,
        "in people 1 row has NULL in years: the domain age refuses that",
        "DELETE FROM people WHERE id = 1",
        1,
        ({"id": 1, "years": None},),
    ),
]
