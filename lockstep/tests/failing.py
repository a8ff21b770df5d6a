"""Thirty kinds of revisions that fail, on small tables: what a developer at a laptop writes by mistake."""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA = """
CREATE TYPE color AS ENUM ('red', 'green');
CREATE TABLE authors (id serial PRIMARY KEY, name text NOT NULL, born integer, favourite color);
CREATE TABLE books (
    id serial PRIMARY KEY, title text NOT NULL, author_id integer REFERENCES authors (id), price integer,
    isbn text
);
CREATE INDEX books_title ON books (title);
CREATE TABLE loans (book_id integer NOT NULL REFERENCES books (id), day date NOT NULL DEFAULT '2026-01-01');
CREATE TABLE empty (id integer PRIMARY KEY, a text);
INSERT INTO authors (name, born, favourite)
SELECT 'author ' || n, 1900 + n, CASE n % 2 WHEN 0 THEN 'red' END::color FROM generate_series(1, 40) n;
INSERT INTO books (title, author_id, price, isbn)
SELECT 'book ' || n, n % 40 + 1, n % 7, CASE WHEN n % 2 = 0 THEN 'i' || n END FROM generate_series(1, 200) n;
INSERT INTO loans (book_id) SELECT n FROM generate_series(1, 50) n;
"""

#: What stands before the mistake: something of everything.
BEFORE = """
op.add_column('books', sa.Column('pages', sa.Integer(), server_default='100'))
op.create_index('books_price', 'books', ['price'])
op.create_table('shelves', sa.Column('id', sa.Integer(), primary_key=True))
op.get_bind().execute(sa.text("UPDATE authors SET name = upper(name) WHERE id < 10"))
op.create_check_constraint('books_price', 'books', 'price >= 0')
op.drop_index('books_title', 'books')
"""


@dataclass(frozen=True)
class Failing:
    """A mistake, and the same lines put right."""

    name: str
    wrong: str
    right: str = "pass"


FAILING = [
    Failing("a typo in Python", "op.add_colum('books', sa.Column('x', sa.Integer()))",
            "op.add_column('books', sa.Column('x', sa.Integer()))"),
    Failing("an exception of its own", "raise RuntimeError('not yet')"),
    Failing("a name that is not there", "undefined_name"),
    Failing("sys.exit", "import sys\nsys.exit(3)"),
    Failing("no such table", "op.add_column('boks', sa.Column('x', sa.Integer()))"),
    Failing("no such column in an index", "op.create_index('i', 'books', ['nothing'])",
            "op.create_index('i', 'books', ['isbn'])"),
    Failing("no such column in an index on an empty table", "op.create_index('i', 'empty', ['nothing'])"),
    Failing("an index that exists", "op.create_index('books_price', 'books', ['id'])"),
    Failing("a table that exists", "op.create_table('authors', sa.Column('id', sa.Integer()))"),
    Failing("a column that exists", "op.add_column('books', sa.Column('title', sa.Text()))"),
    Failing("drop what is not there", "op.drop_table('nothing')"),
    Failing("drop a column that is not there", "op.drop_column('books', 'nothing')"),
    Failing("drop an index that is not there", "op.drop_index('nothing', 'books')"),
    Failing("drop a constraint that is not there", "op.drop_constraint('nothing', 'books')"),
    Failing("drop a table that others refer to", "op.drop_table('authors')"),
    Failing("rename to a name that is taken", "op.rename_table('books', 'loans')"),
    Failing("a duplicate in a unique index", "op.create_index('u', 'books', ['price'], unique=True)"),
    Failing("a duplicate in a unique constraint", "op.create_unique_constraint('u', 'books', ['author_id'])"),
    Failing("a row against a check", "op.create_check_constraint('c', 'books', 'price < 3')",
            "op.create_check_constraint('c', 'books', 'price < 30')"),
    Failing("a row without a parent", "op.create_foreign_key('f', 'books', 'loans', ['id'], ['book_id'])"),
    Failing("a parent that is not there",
            "op.execute('UPDATE books SET price = 9999 WHERE id = 1')\n"
            "op.create_foreign_key('f', 'books', 'authors', ['price'], ['id'])",
            "op.create_foreign_key('f', 'books', 'authors', ['author_id'], ['id'])"),
    Failing("NULL in what is to be NOT NULL", "op.alter_column('books', 'isbn', nullable=False)",
            "op.backfill('books', {'isbn': ''}, where='isbn IS NULL')\n"
            "op.alter_column('books', 'isbn', nullable=False)"),
    Failing("NOT NULL without a default", "op.add_column('books', sa.Column('n', sa.Text(), nullable=False))",
            "op.add_column('books', sa.Column('n', sa.Text(), nullable=False, server_default=''))"),
    Failing("a value that does not become the type",
            "op.alter_column('books', 'title', type_=sa.Integer(), postgresql_using='title::integer')"),
    Failing("a type that is not there", "op.execute('ALTER TABLE books ADD COLUMN t nowhere.kind')"),
    Failing("an enum value that is not there", "op.execute(\"UPDATE authors SET favourite = 'blue'\")",
            "op.execute(\"UPDATE authors SET favourite = 'green'\")"),
    Failing("a syntax error in SQL", "op.execute('ALTER TABEL books')"),
    Failing("a division by zero in its own code",
            "op.get_bind().execute(sa.text('UPDATE books SET price = 1 / (id - 7)'))"),
    Failing("an exception after a backfill",
            "op.backfill('books', {'isbn': 'none'}, where='isbn IS NULL')\nraise ValueError('no')",
            "op.backfill('books', {'isbn': 'none'}, where='isbn IS NULL')"),
    Failing("an exception after a type was made",
            "sa.Enum('a', 'b', name='letter').create(op.get_bind())\n"
            "op.add_column('books', sa.Column('l', sa.Enum('a', 'b', name='letter')))\nraise ValueError",
            "sa.Enum('a', 'b', name='letter').create(op.get_bind())\n"
            "op.add_column('books', sa.Column('l', sa.Enum('a', 'b', name='letter')))"),
    Failing("an exception after a column was dropped", "op.drop_column('books', 'isbn')\nraise ValueError",
            "op.drop_column('books', 'isbn')"),
    Failing("an exception in plain()",
            "with lockstep.plain():\n    op.drop_table('loans')\n    raise ValueError('no')"),
    Failing("a savepoint that is rolled back, then an exception",
            "with op.get_bind().begin_nested() as savepoint:\n"
            "    op.create_index('i', 'books', ['isbn'])\n    savepoint.rollback()\nraise ValueError('no')"),
    Failing("a temporary table that is dropped on commit",
            "op.execute('CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1 AS a')\n"
            "op.create_index('i', 'books', ['isbn'])\n"
            "op.get_bind().execute(sa.text('INSERT INTO t VALUES (2)'))\nraise ValueError('no')"),
]  # fmt: skip
