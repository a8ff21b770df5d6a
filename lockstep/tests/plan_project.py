"""Ten ordinary operations on tables with rows, and `lockstep plan` as somebody types it for them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from command_line import made, revision
from snapshot_project import PLAIN, alembic, env, lockstep

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

#: `posts` is not small, `people` is; `quiet` is empty.
TABLES = "\n    ".join(
    f'op.execute("{statement}")'
    for statement in (
        "CREATE TABLE people (id serial PRIMARY KEY, email varchar(200) NOT NULL, age integer)",
        "CREATE TABLE posts (id serial PRIMARY KEY, title text NOT NULL, body text, owner_id integer, "
        "code varchar(20))",
        "CREATE TABLE quiet (id serial PRIMARY KEY, word text)",
        "CREATE INDEX posts_title ON posts (title)",
    )
)
ROWS = """
INSERT INTO people (email, age) SELECT n || '@example.com', n FROM generate_series(1, 50) n;
INSERT INTO posts (title, body, owner_id, code)
SELECT 'Title ' || n, repeat('x', 200), n % 50 + 1, n FROM generate_series(1, 3000) n;
ANALYZE
"""

#: Each with whom it keeps waiting for as long as it takes, and the strongest lock on each table.
OPERATIONS = [
    ("op.create_index('posts_code', 'posts', ['code'])", {"posts": "SHARE"}),
    ("op.add_column('posts', sa.Column('extra', sa.Text()))", {"posts": "ACCESS EXCLUSIVE"}),
    ("op.alter_column('posts', 'code', nullable=False)", {"posts": "ACCESS EXCLUSIVE"}),
    ("op.alter_column('posts', 'id', type_=sa.BigInteger())", {"posts": "ACCESS EXCLUSIVE"}),
    (
        "op.create_foreign_key('posts_owner', 'posts', 'people', ['owner_id'], ['id'])",
        {"people": "SHARE ROW EXCLUSIVE", "posts": "SHARE ROW EXCLUSIVE"},
    ),
    ("op.drop_column('posts', 'body')", {"posts": "ACCESS EXCLUSIVE"}),
    ("op.rename_table('quiet', 'still')", {"quiet": "ACCESS EXCLUSIVE"}),
    ('op.execute("UPDATE posts SET title = upper(title)")', {"posts": "ROW EXCLUSIVE"}),
    ("op.drop_index('posts_title')", {"posts": "ACCESS EXCLUSIVE"}),
    ("op.create_table('tags', sa.Column('id', sa.Integer(), primary_key=True))", {}),
]  # fmt: skip


def on_rows(folder: Path, cluster: Cluster, database: str, *, adopted: bool = False) -> Path:
    """A project at revision ``first``, with rows; its env.py commits after each revision."""
    url = cluster.url(database, "psycopg")
    made(folder, url)
    if not adopted:
        text = PLAIN.replace("target_metadata=None", "transaction_per_migration=True")
        text = text.replace('"URL"', '"URL", poolclass=sa.NullPool')
        env(folder, text, cluster, database, "psycopg")
    revision(folder, "first", TABLES, None, "op.execute('DROP TABLE people, posts, quiet')")
    alembic(folder, "upgrade", "head")
    with cluster.connect(database) as connection:
        connection.execute(ROWS)
    return folder


def one_each(folder: Path) -> None:
    """A revision for each of the operations."""
    down = "first"
    for number, (operation, _) in enumerate(OPERATIONS):
        revision(folder, f"r{number}", operation, down)
        down = f"r{number}"


def planned(project: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit status, and what ``lockstep plan --json`` tells."""
    status, lines, errors = lockstep(project, "plan", "--json", *arguments)
    assert status in {0, 1}, errors
    found: dict[str, Any] = json.loads("\n".join(lines))
    return status, found


def strongest(statements: list[dict[str, Any]]) -> dict[str, str]:
    """The strongest lock on each table, but for those that only readers take."""
    modes = ("ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE")
    found: dict[str, str] = {}
    for lock in (lock for statement in statements for lock in statement["locks"]):
        mode = lock["mode"]
        if mode in modes and modes.index(mode) >= modes.index(found.get(lock["table"], modes[0])):
            found[lock["table"]] = mode
    return found
