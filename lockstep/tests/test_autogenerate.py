"""What ``alembic revision --autogenerate`` writes runs while the program before it runs."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import alembic
import pytest
import sqlalchemy as sa
import typer
from alembic import command
from sqlalchemy.types import UserDefinedType

from databases import database18
from lockstep import LockstepError
from project import Project

if TYPE_CHECKING:
    from testing.cluster import Cluster

TABLES = """
CREATE TABLE posts (id integer PRIMARY KEY, title text NOT NULL, price integer,
                    CONSTRAINT posts_price CHECK (price > 0), CONSTRAINT gone CHECK (id > 0));
CREATE INDEX posts_cheap ON posts (price) WHERE price < 10;
CREATE UNIQUE INDEX posts_once ON posts (title) WHERE id > 5;
INSERT INTO posts SELECT n, 'Title ' || n, n FROM generate_series(1, 20) n;
"""

database = database18(TABLES)


def posts(*more: Any, title: str = "title", cheap: str | None = "price < 10") -> sa.MetaData:
    """The models of the tables, with more in them."""
    metadata = sa.MetaData()
    table = sa.Table(
        "posts",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(title, sa.Text, nullable=False),
        sa.Column("price", sa.Integer),
        sa.CheckConstraint("price>0", name="posts_price"),
        sa.CheckConstraint("id  >  0", name="gone"),
        *more,
    )
    sa.Index("posts_cheap", table.c.price, postgresql_where=None if cheap is None else sa.text(cheap))
    if title == "title":
        sa.Index("posts_once", table.c.title, unique=True, postgresql_where=sa.text("(id>5)"))
    return metadata


class Generated:
    """A project whose models are ahead of the database, and the revision that is generated of them."""

    def __init__(self, cluster: Cluster, database: str, folder: Path) -> None:
        self.cluster, self.database = cluster, database
        self.project = Project(folder / "project", cluster.url(database, "psycopg"))
        template = Path(alembic.__file__).parent / "templates" / "generic" / "script.py.mako"
        (self.project.folder / "script.py.mako").write_text(template.read_text())

    def of(self, metadata: Any, **run: Any) -> str:
        """The text of the revision."""
        config = self.project.config(target_metadata=metadata, **run)
        script = command.revision(config, "add things", autogenerate=True)
        assert not isinstance(script, list)
        assert script is not None
        self.path = Path(script.path)
        self.head = script.revision
        return self.path.read_text()

    def upgrade(self) -> None:
        self.project.upgrade()

    def rows(self, query: str) -> list[Any]:
        with self.cluster.connect(self.database) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def generated(cluster18: Cluster, database: str, tmp_path: Path) -> Generated:
    return Generated(cluster18, database, tmp_path)


def test_what_is_alike_gives_an_empty_revision(generated: Generated) -> None:
    text = generated.of(posts())
    assert text.count("pass\n") == 2
    assert text.startswith('"""add things\n\nRevision ID')


def test_a_column_without_a_default_is_added_filled_and_then_not_null(generated: Generated) -> None:
    text = generated.of(posts(sa.Column("slug", sa.Text, nullable=False)))
    assert "op.add_column('posts', sa.Column('slug', sa.Text(), nullable=True))" in text
    assert "op.backfill('posts', {'slug': ...})" in text
    assert text.index("op.backfill") < text.index("nullable=False")
    with pytest.raises(LockstepError, match="in place of the dots"):
        generated.upgrade()
    assert generated.project.current() == ""
    assert generated.rows("SELECT 1 FROM information_schema.columns WHERE column_name = 'slug'") == []
    generated.path.write_text(generated.path.read_text().replace(": ...}", ': sa.text("lower(title)")}'))
    generated.upgrade()
    assert generated.rows("SELECT slug FROM posts WHERE id = 7") == [("title 7",)]
    generated.project.downgrade("base")


def test_plain_alembic_refuses_the_dots_too(generated: Generated) -> None:
    generated.of(posts(sa.Column("slug", sa.Text, nullable=False)))
    with pytest.raises(LockstepError, match=r"posts\.slug: write a value in place of the dots"):
        generated.project.upgrade(plain=True)


@pytest.mark.parametrize(
    ("type_", "default", "written", "value"),
    [
        (sa.Integer(), 5, "server_default=sa.text('5')", 5),
        (sa.Boolean(), False, "server_default=sa.text('false')", False),
        (sa.Text(), "it's 100% a:b", 'server_default="it\'s 100% a:b"', "it's 100% a:b"),
        (sa.JSON(), {"a": [1]}, "server_default='{\"a\": [1]}'", {"a": [1]}),
        (sa.Numeric(5, 2), 1.5, "server_default=sa.text('1.5')", 1.5),
        (sa.Enum("glad", "sad", name="mood", native_enum=False), "sad", "server_default='sad'", "sad"),
    ],
    ids=["integer", "boolean", "text", "json", "numeric", "enum"],
)
def test_a_constant_default_becomes_a_server_default(
    type_: Any, default: Any, written: str, value: Any, generated: Generated
) -> None:
    text = generated.of(posts(sa.Column("more", type_, default=default, nullable=False)))
    assert written in text
    assert "backfill" not in text
    generated.upgrade()
    assert generated.rows("SELECT more FROM posts LIMIT 1") == [(value,)]


def test_a_function_as_default_is_asked_about(generated: Generated) -> None:
    text = generated.of(posts(sa.Column("key", sa.Uuid, default=uuid.uuid4, nullable=False)))
    assert "op.backfill('posts', {'key': ...})" in text
    assert 'sa.text("gen_random_uuid()"), say, for the model\'s uuid4' in text


def test_a_likely_rename_is_written_above_the_operations(generated: Generated) -> None:
    text = generated.of(posts(title="heading"))
    assert "# op.alter_column('posts', 'title', new_column_name='heading')" in text
    assert "op.drop_column('posts', 'title')" in text


def test_a_rename_that_is_confirmed_is_one(generated: Generated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", _Terminal())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", lambda question: "posts.heading is new" in question)
    text = generated.of(posts(title="heading"))
    assert "new_column_name='heading'" in text
    assert "drop_column" not in text
    generated.upgrade()
    assert generated.rows("SELECT heading FROM posts WHERE id = 3") == [("Title 3",)]
    generated.project.downgrade("base")
    assert generated.rows("SELECT title FROM posts WHERE id = 3") == [("Title 3",)]


class _Terminal:
    def isatty(self) -> bool:
        return True


def test_a_table_by_another_name_is_written_above_the_operations(generated: Generated) -> None:
    metadata = posts()
    metadata.tables["posts"].name = "articles"
    other = sa.MetaData()
    metadata.tables["posts"].to_metadata(other, name="articles")
    assert "# op.rename_table('posts', 'articles')" in generated.of(other)


def test_checks_and_predicates_are_seen(generated: Generated) -> None:
    metadata = posts(sa.CheckConstraint("length(title) < 50"), cheap="price < 20")
    checks = metadata.tables["posts"].constraints
    checks -= {one for one in checks if one.name == "gone"}
    text = generated.of(metadata)
    upgrade = text[text.index("def upgrade") : text.index("def downgrade")]
    assert "op.drop_constraint(op.f('gone'), 'posts', type_='check')" in upgrade
    assert "op.create_check_constraint(op.f('posts_title_check'), 'posts', 'length(title) < 50')" in upgrade
    assert "posts_price" not in upgrade
    assert "postgresql_where=sa.text('price < 20')" in upgrade
    assert "posts_once" not in upgrade
    generated.upgrade()
    assert generated.of(metadata).count("pass\n") == 2


class Money(UserDefinedType[Any]):
    """A type of the project's own."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "numeric"


def test_what_is_rendered_is_imported(generated: Generated) -> None:
    text = generated.of(posts(sa.Column("cost", Money())))
    assert "import test_autogenerate" in text
    generated.upgrade()


def test_models_that_nobody_imported_are_refused(generated: Generated) -> None:
    with pytest.raises(LockstepError, match="target_metadata has no tables"):
        generated.of(sa.MetaData())
    assert list((generated.project.folder / "versions").iterdir()) == []


def test_the_docstring_says_what_it_does_and_what_breaks(generated: Generated) -> None:
    text = generated.of(posts(sa.Column("note", sa.Text)))
    assert "- adds posts.note\n" in text
    assert "works on the schema after it." in text
    assert generated.path.name.endswith("_add_things.py")


def test_the_docstring_says_what_the_program_before_it_cannot(generated: Generated) -> None:
    text = generated.of(posts(sa.Column("slug", sa.Text, nullable=False), title="heading"))
    assert "does not work on the schema after it, where:\n- it writes no value to posts.heading" in text
    assert "- it uses posts.title" in text


def test_the_projects_own_directives_and_rendering_come_first(generated: Generated) -> None:
    def clear(_context: Any, _revision: Any, scripts: Any) -> None:
        scripts[0].upgrade_ops.ops[:] = []

    def render(kind: str, item: Any, _context: Any) -> Any:
        return "Money" if kind == "type" and isinstance(item, Money) else False

    assert (
        "slug"
        not in generated.of(
            posts(sa.Column("slug", sa.Text, nullable=False)), process_revision_directives=clear
        ).split("def downgrade")[0]
    )
    generated.upgrade()
    assert "import test_autogenerate" not in generated.of(posts(sa.Column("c", Money())), render_item=render)


def test_without_the_right_to_make_temporary_tables_the_rest_is_compared(
    generated: Generated, caplog: pytest.LogCaptureFixture
) -> None:
    with generated.cluster.connect(generated.database) as connection:
        connection.execute(f"REVOKE TEMPORARY ON DATABASE {generated.database} FROM PUBLIC")
        connection.execute("DROP ROLE IF EXISTS plain_reader; CREATE ROLE plain_reader LOGIN")
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        connection.execute("GRANT SELECT ON alembic_version TO plain_reader")
    url = sa.make_url(generated.project.url).set(username="plain_reader")
    generated.project.url = url.render_as_string()
    assert "add_column" in generated.of(posts(sa.Column("note", sa.Text)))
    assert "needs TEMPORARY" in caplog.text
    with generated.cluster.connect(generated.database) as connection:
        connection.execute("DROP OWNED BY plain_reader; DROP ROLE plain_reader")


def test_enums_are_created_get_values_and_are_dropped(generated: Generated) -> None:
    for values in (("glad", "sad"), ("glad", "sad", "calm")):
        kind = sa.Enum(*values, name="mood")
        generated.of(posts(sa.Column("mood", kind, nullable=False, default="sad")))
        generated.upgrade()
    labels = "SELECT enumlabel FROM pg_enum ORDER BY enumsortorder"
    assert generated.rows(labels) == [("glad",), ("sad",), ("calm",)]
    assert generated.rows("SELECT DISTINCT mood::text FROM posts") == [("sad",)]
    generated.of(posts())
    generated.upgrade()
    assert generated.rows(labels) == []
    generated.project.downgrade("base")
    assert generated.rows(labels) == []
