"""``alembic upgrade --sql``: a script that ends where plain Alembic ends, on tables with rows."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from cases import CASES, ROWS, SCHEMA
from project import Project
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

#: They ask the database, which a script cannot.
_ASKING = {"bind"}
#: A value added to an enum stays, and what is random differs.
_LASTING = {"autocommit_block"}


def test_a_script_ends_where_plain_alembic_ends(cluster18: Cluster, tmp_path: Path) -> None:
    plain, online = cluster18.create_database(), cluster18.create_database()
    for database in (plain, online):
        with cluster18.connect(database) as connection:
            connection.execute(SCHEMA + ROWS)
    project = Project(tmp_path / "project", cluster18.url(plain, "psycopg"))
    for case in CASES:
        if case.name not in _ASKING | _LASTING:
            project.revision(case.upgrade)
            project.revision(case.downgrade)
    project.upgrade(plain=True)
    script = project.sql()
    done = subprocess.run(
        [str(cluster18.bin / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", cluster18.url(online)],
        input=script, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert catalog_of(cluster18, online) == catalog_of(cluster18, plain)
    assert rows_of(cluster18, online) == rows_of(cluster18, plain)


def test_a_script_builds_indexes_outside_of_transactions_and_validates_apart(tmp_path: Path) -> None:
    project = Project(tmp_path / "project", "postgresql+asyncpg://somebody@nowhere/x?ssl=require")
    project.revision(
        "op.create_index('posts_a', 'posts', ['a'])\n"
        "op.create_foreign_key('posts_fk', 'posts', 'people', ['p'], ['id'], source_schema='My S')\n"
        "op.create_check_constraint('posts_ck', 'posts', \"a <> '100%'\")\n"
        "op.create_foreign_key(None, 'posts', 'people', ['p'], ['id'])\n"
        "op.backfill('posts', {'a': '100%'}, where=\"a LIKE 'x%'\")\n"
        "op.create_table('tags', sa.Column('id', sa.Integer()))\n"
        "op.create_index('tags_id', 'tags', ['id'])\n"
        "op.create_check_constraint('tags_ck', 'tags', 'id > 0')"
    )
    script = project.sql()
    transaction, parts = "", []
    for line in script.splitlines():
        if line in {"BEGIN;", "COMMIT;"}:
            parts.append(transaction)
            transaction = ""
        elif line and not line.startswith("--"):
            transaction += line + "\n"
    assert "CREATE INDEX CONCURRENTLY posts_a ON posts (a);\n" in parts
    assert any(
        "ADD CONSTRAINT posts_fk FOREIGN KEY(p) REFERENCES people (id) NOT VALID" in part
        and "VALIDATE" not in part
        for part in parts
    )
    assert any('ALTER TABLE "My S".posts VALIDATE CONSTRAINT posts_fk;' in part for part in parts)
    assert any("ALTER TABLE posts VALIDATE CONSTRAINT posts_ck;" in part for part in parts)
    assert "CHECK (a <> '100%') NOT VALID" in script
    assert "ALTER TABLE posts ADD FOREIGN KEY(p) REFERENCES people (id);" in script
    assert """UPDATE "posts" SET "a" = '100%' WHERE a LIKE 'x%'""" in script
    assert "CREATE INDEX tags_id ON tags (id);" in script
    assert "ADD CONSTRAINT tags_ck CHECK (id > 0);" in script
