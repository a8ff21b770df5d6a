"""The seven revisions against the catalog that the guide's own code gives, empty and with rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.config import Config
from typer.testing import CliRunner

from api import Api
from folkmoot.postgres import revisions
from lockstep.commands.main import main as lockstep

if TYPE_CHECKING:
    import psycopg

    from testing.cluster import Cluster

ROOT = Path(__file__).parents[2]

#: The guide's revisions and what can be inserted at each; a row of every table that there is.
GUIDE = {
    "cfcc4fd02d18": "INSERT INTO posts (title) VALUES ('at 1')",
    "01b2584928a5": "INSERT INTO posts (title, content) VALUES ('at 2', 'content')",
    "8c82b1632f52": "INSERT INTO users (email, password) VALUES ('ada@example.com', 'hash')",
    "af786b740296": "INSERT INTO posts (title, content, owner_id) "
    "SELECT 'at 4', 'content', min(id) FROM users",
    "036d0a4565b7": "INSERT INTO posts (title, content, owner_id, published) "
    "SELECT 'at 5', 'content', min(id), FALSE FROM users",
    "036aa392dfb0": "INSERT INTO votes (user_id, post_id) SELECT users.id, posts.id FROM users, posts",
    "c47ecbf163d4": "INSERT INTO users (email, password, phone_number) "
    "VALUES ('b@example.com', 'hash', '+4420')",
}


class Migrations:
    """Folkmoot's migrations and the guide's own, on a database of the test."""

    def __init__(self, cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster = cluster
        self.database = database
        monkeypatch.setenv("DATABASE_URL", cluster.url(database))
        self.config = revisions.config()

    def upgrade(self, revision: str) -> None:
        command.upgrade(self.config, revision)

    def downgrade(self, revision: str) -> None:
        command.downgrade(self.config, revision)

    def upgrade_as_the_guide(self, revision: str) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "guide"))
        config.attributes["url"] = self.cluster.url(self.database, "psycopg")
        command.upgrade(config, revision)

    def connect(self) -> psycopg.Connection:
        return self.cluster.connect(self.database)

    def catalog(self) -> str:
        return self.cluster.dump_schema(self.database)


@pytest.fixture
def migrations(cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch) -> Migrations:
    return Migrations(cluster, database, monkeypatch)


@pytest.fixture(scope="session")
def expected() -> dict[int, list[str]]:
    """What the guide's own migrations give at each revision, by PostgreSQL version; filled when asked."""
    return {}


@pytest.fixture
def guide_catalogs(cluster: Cluster, expected: dict[int, list[str]]) -> list[str]:
    if cluster.version not in expected:
        name = cluster.create_database()
        with pytest.MonkeyPatch.context() as patch:
            guide = Migrations(cluster, name, patch)
            found = []
            for revision in GUIDE:
                guide.upgrade_as_the_guide(revision)
                found.append(guide.catalog())
        cluster.drop_database(name)
        assert len(set(found)) == len(GUIDE)
        expected[cluster.version] = found
    return expected[cluster.version]


def test_each_revision_gives_the_catalog_of_the_guide_and_its_downgrade_the_one_before(
    migrations: Migrations, guide_catalogs: list[str]
) -> None:
    for revision, catalog in zip(GUIDE, guide_catalogs, strict=True):
        migrations.upgrade(revision)
        assert migrations.catalog() == catalog, revision
    for catalog in reversed(guide_catalogs[:-1]):
        migrations.downgrade("-1")
        assert migrations.catalog() == catalog
    migrations.downgrade("base")
    migrations.upgrade("c47ecbf163d4")
    assert migrations.catalog() == guide_catalogs[-1]


def test_each_revision_applies_to_tables_with_rows_and_keeps_them(
    migrations: Migrations, guide_catalogs: list[str]
) -> None:
    for revision, (insert, catalog) in zip(
        GUIDE, zip(GUIDE.values(), guide_catalogs, strict=True), strict=True
    ):
        migrations.upgrade(revision)
        assert migrations.catalog() == catalog, revision
        with migrations.connect() as connection:
            connection.execute(insert)
    with migrations.connect() as connection:
        posts = connection.execute(
            "SELECT title, content, email, published "
            "FROM posts JOIN users ON users.id = owner_id ORDER BY title"
        ).fetchall()
        votes = connection.execute("SELECT count(*) FROM votes").fetchone()
    assert posts == [
        ("at 1", "", "nobody@folkmoot.invalid", True),
        ("at 2", "content", "nobody@folkmoot.invalid", True),
        ("at 4", "content", "ada@example.com", True),
        ("at 5", "content", "ada@example.com", False),
    ]
    assert votes == (8,)

    for catalog in reversed(guide_catalogs[:-1]):
        migrations.downgrade("-1")
        assert migrations.catalog() == catalog
    with migrations.connect() as connection:
        assert connection.execute("SELECT count(*) FROM posts").fetchone() == (4,)
    migrations.upgrade("head")


def test_the_account_of_posts_without_owner_cannot_log_in_and_outlives_its_revision(
    migrations: Migrations,
) -> None:
    migrations.upgrade("cfcc4fd02d18")
    with migrations.connect() as connection:
        connection.execute(GUIDE["cfcc4fd02d18"])
    migrations.upgrade("8c82b1632f52")
    with migrations.connect() as connection:
        connection.execute(GUIDE["8c82b1632f52"])
    migrations.upgrade("af786b740296")
    with migrations.connect() as connection:
        password = connection.execute(
            "SELECT password FROM users WHERE email = 'nobody@folkmoot.invalid'"
        ).fetchone()
    assert password == ("!",), "no hash of any scheme looks like this"
    migrations.downgrade("8c82b1632f52")
    with migrations.connect() as connection:
        emails = connection.execute("SELECT email FROM users ORDER BY id").fetchall()
        assert emails == [("ada@example.com",), ("nobody@folkmoot.invalid",)]
        assert connection.execute("SELECT count(*) FROM posts").fetchone() == (1,)


def test_no_account_is_made_where_every_post_has_an_owner(migrations: Migrations) -> None:
    migrations.upgrade("head")
    with migrations.connect() as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (0,)


def test_the_models_say_what_the_migrations_build(migrations: Migrations) -> None:
    migrations.upgrade("head")
    command.check(migrations.config)


@pytest.mark.usefixtures("migrations")  # whose database the environment names
def test_the_snapshots_say_what_the_migrations_build() -> None:
    """That there is one head, and that down and up again ends alike, is checked as well."""
    checked = CliRunner().invoke(lockstep, ["check", "--config", str(ROOT / "alembic.ini")])
    assert checked.exit_code == 0, checked.output


@pytest.mark.parametrize("stamp", ["036aa392dfb0", "c47ecbf163d4"])
@pytest.mark.parametrize("scale", [1, pytest.param(100, marks=pytest.mark.prove)])
def test_a_database_built_by_the_guide_keeps_every_row(
    migrations: Migrations, stamp: str, scale: int
) -> None:
    migrations.upgrade_as_the_guide(stamp)
    fill(migrations, users=200 * scale, posts=1_000 * scale, votes=10_000 * scale)
    before = fingerprint(migrations)
    migrations.upgrade("head")
    assert fingerprint(migrations) == before
    with migrations.connect() as connection:
        version = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        (votes,) = connection.execute("SELECT count(*) FROM votes WHERE post_id = 2").fetchone() or (None,)
    assert not revisions.distance(row[0] for row in version).missing
    with Api(migrations.cluster, migrations.database) as api:
        post = api.get("/posts/2").json()
        assert (post["title"], post["owner"]["id"], post["votes"]) == ("Title 2", 3, votes)
        assert len(api.get("/posts", params={"limit": 100}).json()["items"]) == 100


@pytest.mark.prove
def test_a_million_posts_from_before_there_was_content_reach_head(migrations: Migrations) -> None:
    migrations.upgrade_as_the_guide("cfcc4fd02d18")
    with migrations.connect() as connection:
        connection.execute(
            "INSERT INTO posts (title) SELECT 'Title ' || n FROM generate_series(1, 1000000) n"
        )
    migrations.upgrade("head")
    with migrations.connect() as connection:
        found = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE content = '' AND title = 'Title ' || id), "
            "count(DISTINCT owner_id) FROM posts"
        ).fetchone()
    assert found == (1_000_000, 1_000_000, 1)


def fill(migrations: Migrations, *, users: int, posts: int, votes: int) -> None:
    """Rows as people left them: gaps in the ids, odd characters, drafts."""
    with migrations.connect() as connection:
        connection.execute(
            "INSERT INTO users (email, password, created_at) "
            "SELECT 'user' || n || '@example.com', 'hash ' || n, "
            "timestamptz '2021-01-01' + n * interval '1 min' "
            "FROM generate_series(1, %s) AS n",
            [users],
        )
        connection.execute("DELETE FROM users WHERE id %% 50 = 0", [])
        connection.execute(
            "INSERT INTO posts (title, content, owner_id, published, created_at) "
            "SELECT 'Title ' || n, repeat('þing & moot ', n %% 9), owner, n %% 7 <> 0, "
            "timestamptz '2021-02-01' + n * interval '1 second' "
            "FROM generate_series(1, %s) AS n, "
            "LATERAL (SELECT n %% %s + 1 AS owner) AS o WHERE owner %% 50 <> 0",
            [posts, users],
        )
        connection.execute(
            "INSERT INTO votes (user_id, post_id) "
            "SELECT u.id, p.id FROM posts AS p, "
            "LATERAL (SELECT (p.id * 7 + k * 13) %% %(users)s + 1 AS id "
            "FROM generate_series(1, %(each)s) AS k) AS u "
            "WHERE u.id %% 50 <> 0 ON CONFLICT DO NOTHING",
            {"users": users, "each": votes // posts + 1},
        )


def fingerprint(migrations: Migrations) -> list[object]:
    """The rows of the three tables, in the columns that the guide gives them, as numbers and digests."""
    found: list[object] = []
    columns = {
        "users": "id, email, password, created_at",
        "posts": "id, title, content, owner_id, published, created_at",
        "votes": "user_id, post_id",
    }
    with migrations.connect() as connection:
        for table, names in columns.items():
            found += connection.execute(
                f"SELECT count(*), md5(string_agg(md5(ROW({names})::text), '' ORDER BY ROW({names})::text)) "
                f"FROM {table}"
            ).fetchall()
    return found
