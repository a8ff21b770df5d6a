"""Entities of alembic_utils (views, functions, triggers) under Lockstep's autogenerate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import alembic
import pytest

from command_line import made, typed
from databases import database18
from snapshot_project import alembic as works
from snapshot_project import lockstep

if TYPE_CHECKING:
    from testing.cluster import Cluster

database = database18("CREATE TABLE posts (id integer PRIMARY KEY, title text)")

ENV = """
import sqlalchemy as sa
import lockstep
from alembic_utils.pg_function import PGFunction
from alembic_utils.pg_trigger import PGTrigger
from alembic_utils.pg_view import PGView
from alembic_utils.replaceable_entity import register_entities

metadata = sa.MetaData()
sa.Table("posts", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("title", sa.Text))
register_entities([
    PGView(schema="public", signature="titles", definition="SELECT title FROM posts"),
    PGFunction(schema="public", signature="same()",
               definition="RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$"),
    PGTrigger(schema="public", signature="posts_same", on_entity="public.posts",
              definition="BEFORE INSERT ON public.posts FOR EACH ROW EXECUTE FUNCTION public.same()"),
])
lockstep.run(url=URL, target_metadata=metadata)
"""


@pytest.mark.one_in(3)
def test_they_are_created_replaced_and_taken_back(tmp_path: Path, cluster18: Cluster, database: str) -> None:
    project = made(tmp_path, "")
    env = project / "migrations" / "env.py"
    env.write_text(ENV.replace("URL", repr(cluster18.url(database, "psycopg"))))
    template = Path(alembic.__file__).parent / "templates" / "generic" / "script.py.mako"
    (project / "migrations" / "script.py.mako").write_text(template.read_text())

    def generated(name: str) -> str:
        works(project, "revision", "--autogenerate", "-m", name, "--rev-id", name)
        (file,) = (project / "migrations" / "versions").glob(f"{name}_*.py")
        works(project, "upgrade", "head")
        return file.read_text()

    def views() -> list[tuple[str]]:
        with cluster18.connect(database) as connection:
            query = "SELECT definition FROM pg_views WHERE schemaname = 'public'"
            return [(str(text).split("\n")[0].strip(),) for (text,) in connection.execute(query)]

    text = generated("create")
    assert "- create PGView: public.titles\n- create PGFunction: public.same()\n- create PGTrigger:" in text
    assert text.count("op.create_entity(") == text.count("op.drop_entity(") == 3
    assert views() == [("SELECT title",)]
    env.write_text(env.read_text().replace("SELECT title FROM", "SELECT id FROM"))
    assert "- replace PGView: public.titles" in generated("replace")
    assert views() == [("SELECT id",)]
    assert "    pass\n" in generated("nothing")
    works(project, "downgrade", "create")
    assert views() == [("SELECT title",)]
    works(project, "downgrade", "base")
    assert views() == []
    assert lockstep(project, "status")[0] == 0
    assert typed(project, "alembic", "check")[0] != 0
