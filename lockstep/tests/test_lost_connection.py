"""A server that ends the migrator's session in the middle is what the error says, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import OperationalError

from databases import database18
from failing import SCHEMA
from project import ADDS, Project, edit

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

_END = "SELECT pg_terminate_backend(pg_backend_pid())"

_FUNCTION = (
    "CREATE FUNCTION ends(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS "
    "$$ BEGIN {body} RETURN $1; END $$"
)

database = database18(f"{SCHEMA}; {_FUNCTION.format(body='PERFORM pg_terminate_backend(pg_backend_pid());')}")


@pytest.mark.parametrize("short_way", [True, False])
@pytest.mark.parametrize(
    "ends",
    [
        f"op.execute({_END!r})",
        f"op.get_bind().exec_driver_sql({_END!r})",
        f"with op.get_context().autocommit_block():\n    op.execute({_END!r})",
        pytest.param(
            f"with op.get_bind().begin_nested():\n    op.execute({_END!r})", marks=pytest.mark.prove
        ),
        pytest.param(f"with lockstep.plain():\n    op.execute({_END!r})", marks=pytest.mark.prove),
        "op.create_index('i', 'books', [sa.text('ends(id)')])",
        pytest.param("op.create_check_constraint('c', 'books', 'ends(id) > 0')", marks=pytest.mark.prove),
        pytest.param(
            "op.alter_column('books', 'price', type_=sa.BigInteger(), postgresql_using='ends(price)')",
            marks=pytest.mark.prove,
        ),
        pytest.param(
            "op.backfill('books', {'price': sa.text('ends(id)')}, where='price IS DISTINCT FROM id')",
            marks=pytest.mark.prove,
        ),
    ],
)
def test_the_error_is_what_the_server_said(
    tmp_path: Path, cluster18: Cluster, database: str, ends: str, *, short_way: bool
) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=short_way)
    name = project.revision(f"{ADDS}\n{ends}")
    with pytest.raises(OperationalError, match="terminating connection"):
        project.upgrade()
    with cluster18.connect(database) as connection:
        connection.execute(_FUNCTION.format(body="").replace("CREATE", "CREATE OR REPLACE"))
    if "terminate" in ends:
        edit(project, name, "pg_terminate_backend", "abs")
    project.upgrade()
    assert project.current() == "r1 (head)"
