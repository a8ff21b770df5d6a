"""``lockstep plan``, as somebody types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from command_line import revision
from databases import database18
from lockstep.commands import plan_text
from lockstep.commands.plan import direction_of
from lockstep.commands.plan import planned as plan_of
from lockstep.commands.project import Project
from lockstep.snapshot.scratch import PREFIX
from plan_project import OPERATIONS, on_rows, one_each, planned, strongest
from snapshot_project import ASYNC, CREATOR, env, lockstep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.cluster import Cluster

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "plan.schema.json").read_text())

database = database18()


def assert_is_as(value: Any, schema: dict[str, Any], whole: dict[str, Any]) -> None:
    """As far as the schema of plans says anything: types, and all the keys of objects."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        assert value in schema["enum"]
        return
    named: dict[str, Any] = {
        "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "null": type(None),
        "number": (int, float),
    }  # fmt: skip
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    assert any(isinstance(value, named[kind]) for kind in kinds), (value, schema)
    if isinstance(value, dict) and "properties" in schema:
        assert set(value) == set(schema["required"]) == set(schema["properties"])
        for key, inner in value.items():
            assert_is_as(inner, schema["properties"][key], whole)
    if isinstance(value, list):
        for inner in value:
            assert_is_as(inner, schema["items"], whole)


@pytest.fixture
def project(tmp_path: Path, cluster18: Cluster, database: str) -> Iterator[Path]:
    """One that has never heard of Lockstep."""
    yield on_rows(tmp_path, cluster18, database)
    with cluster18.connect() as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [PREFIX])
        assert left.fetchall() == []


def test_ten_ordinary_operations_are_told_with_their_locks_and_who_waits(project: Path) -> None:
    one_each(project)
    status, plan = planned(project)
    assert status == 1
    told = {one["revision"]: strongest(one["statements"]) for one in plan["plain"]}
    assert told == {f"r{number}": locks for number, (_, locks) in enumerate(OPERATIONS)}
    waits = {one["revision"]: [w for s in one["statements"] for w in s["waits"]] for one in plan["plain"]}
    long = {name: {w["table"] for w in each if w["long"]} for name, each in waits.items()}
    assert {name: tables for name, tables in long.items() if tables} == {
        "r0": {"posts"}, "r2": {"posts"}, "r3": {"posts"}, "r4": {"posts", "people"}
    }  # fmt: skip
    assert {h["name"] for h in plan["hazards"] if h["revision"] == "r3"} == {"rewrites-under-lock"}
    assert [h["says"] for h in plan["hazards"] if h["name"] == "breaks-running-program"] == [
        "posts.code refuses NULL", "posts.body is dropped", "quiet becomes still"
    ]  # fmt: skip
    assert [h["says"] for h in plan["hazards"] if h["name"] == "loses-data"] == ["posts.body is dropped"]
    (rows,) = [one for one in plan["tables"] if one["table"] == "posts"]
    assert rows["rows"] == 3000
    assert rows["bytes"] > 600_000
    assert_is_as(plan, SCHEMA, SCHEMA)


def test_what_lockstep_would_do_instead_goes_in_steps_where_the_target_is_large(project: Path) -> None:
    revision(project, "r1", "op.create_index('posts_code', 'posts', ['code'])", "first")
    revision(project, "r2", "op.create_index('people_age', 'people', ['age'])", "r1")
    _, plan = planned(project)
    large, small = (one["statements"] for one in plan["with_lockstep"])
    assert large[-1]["step"] == "posts: build index posts_code concurrently"
    assert strongest(large) == {"posts": "SHARE UPDATE EXCLUSIVE"}
    assert [(one["step"], one["sql"]) for one in small] == [
        (None, "CREATE INDEX people_age ON people (age)")
    ]  # fmt: skip


def test_where_lockstep_is_adopted_its_steps_decide_whether_somebody_waits(
    tmp_path: Path, cluster18: Cluster, database: str
) -> None:
    project = on_rows(tmp_path, cluster18, database, adopted=True)
    revision(project, "r1", "op.alter_column('posts', 'id', type_=sa.BigInteger())", "first")
    status, plan = planned(project)
    assert (status, plan["lockstep"], plan["hazards"]) == (0, True, [])
    assert any(wait["long"] for one in plan["plain"] for s in one["statements"] for wait in s["waits"])


def test_a_lock_is_held_until_its_transaction_ends(project: Path) -> None:
    two = "op.add_column('people', sa.Column('x', sa.Text()))\n    op.create_index('c', 'posts', ['code'])"
    revision(project, "r1", two, "first")
    _, plan = planned(project)
    assert [(h["name"], h["says"]) for h in plan["hazards"]] == [
        ("holds-lock", "readers and writers of people wait for as long as it takes to read posts"),
        ("scans-under-lock", "writers of posts wait for as long as it takes to read posts"),
    ]


def test_the_way_down_is_planned_from_where_the_database_is(project: Path) -> None:
    status, plan = planned(project, "-1")
    assert (status, plan["direction"], plan["from"], plan["to"]) == (1, "downgrade", ["first"], [])
    assert {h["name"] for h in plan["hazards"]} == {"loses-data", "breaks-running-program"}


def test_a_target_below_the_database_is_gone_down_to_and_one_above_is_gone_up_to(project: Path) -> None:
    one_each(project)
    project_of = Project([str(project / "alembic.ini")], "alembic")
    found = {to: direction_of(project_of, to, ("r1",)) for to in ("first", "base", "-1", "r1-1", "r2", "+1")}
    assert found == dict.fromkeys(("first", "base", "-1", "r1-1"), "downgrade") | dict.fromkeys(
        ("r2", "+1"), "upgrade"
    )


def test_a_hazard_is_allowed_by_its_name(project: Path) -> None:
    revision(project, "r1", "op.create_index('posts_code', 'posts', ['code'])", "first")
    status, plan = planned(project, "--allow", "scans-under-lock")
    assert status == 0
    assert [one["allowed"] for one in plan["hazards"]] == [True]
    assert lockstep(project, "plan", "--allow", "luck")[0] == 2


def test_what_the_rows_refuse_is_told_with_the_rows_and_the_exit_status(project: Path) -> None:
    revision(project, "r1", "op.create_unique_constraint('once', 'people', ['age'])", "first")
    assert planned(project)[0] == 0
    revision(project, "r1", "op.create_unique_constraint('once', 'posts', ['owner_id'])", "first")
    status, plan = planned(project, "--allow", "scans-under-lock")
    (found,) = plan["findings"]
    assert (status, found["kind"], found["fails"], len(found["rows"])) == (1, "duplicates", True, 5)
    lines = lockstep(project, "plan")[1]
    assert lines[-1] == "1 statement would fail on the data that there are"
    assert f"data: r1: {found['says']}" in lines


def test_what_is_in_the_way_now_is_told_and_changes_no_exit_status(
    project: Path, cluster18: Cluster, database: str
) -> None:
    revision(project, "r1", "op.add_column('posts', sa.Column('x', sa.Text()))", "first")
    with cluster18.connect(database, autocommit=False) as other:
        other.execute("LOCK TABLE posts IN SHARE MODE")
        status, plan = planned(project)
        assert (status, plan["obstacles"][0]["kind"]) == (0, "transaction")
    assert_is_as(plan, SCHEMA, SCHEMA)


def test_nothing_to_do_is_told(project: Path, database: str) -> None:
    assert lockstep(project, "plan")[:2] == (0, [f"nothing to do: {database} is at first"])


def test_it_is_told_in_the_terminal_as_sql_and_as_a_comment(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    revision(project, "r1", "op.create_index('posts_code', 'posts', ['code'])", "first")
    monkeypatch.setenv("COLUMNS", "100")
    plan = plan_of(Project([str(project / "alembic.ini")], "alembic"), "head", None, [])
    says = "writers of posts wait for as long as it takes to read posts"
    for plain, words in ((False, "Lockstep would do instead:"), (True, "plain Alembic")):
        plan_text.show(plan, plain=plain)
        lines = capsys.readouterr().out.splitlines()
        assert f"scans-under-lock: revision r1: {says}" in lines
        assert any(line.startswith(words) for line in lines)
        assert max(len(line) for line in lines) <= 100
    assert "CREATE INDEX posts_code ON posts (code);" in plan_text.sql(plan).splitlines()
    assert f"- `scans-under-lock`: {says}" in plan_text.markdown(plan).splitlines()


def test_a_project_on_asyncpg_is_planned(project: Path, cluster18: Cluster, database: str) -> None:
    env(project, ASYNC, cluster18, database, "asyncpg")
    values = "op.bulk_insert(sa.table('quiet', sa.column('word')), [{'word': 'a'}, {'word': 'b'}])"
    revision(project, "r1", f"op.create_index('c', 'posts', ['code'])\n    {values}", "first")
    _, plan = planned(project)
    assert [strongest(one["statements"]) for one in plan["plain"]] == [
        {"posts": "SHARE"}, {"quiet": "ROW EXCLUSIVE", "quiet_id_seq": "ROW EXCLUSIVE"}
    ]  # fmt: skip
    assert "VALUES ('a'" in plan["plain"][1]["statements"][0]["sql"]


def test_nothing_is_written_to_the_target_by_a_role_that_may_only_read(
    project: Path, cluster18: Cluster, database: str
) -> None:
    revision(project, "r1", "op.create_index('posts_code', 'posts', ['code'])", "first")
    with cluster18.connect(database) as connection:
        connection.execute(
            "DO $$ BEGIN CREATE ROLE plan_reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO plan_reader;"
            "REVOKE TEMPORARY ON DATABASE {0} FROM PUBLIC".replace("{0}", database)
        )
    url = cluster18.url(database, "psycopg").replace("postgres@", "plan_reader@")
    assert "plan_reader" in url
    path = project / "migrations" / "env.py"
    path.write_text(path.read_text().replace(cluster18.url(database, "psycopg"), url))
    status, plan = planned(project, "--server", cluster18.url("postgres", "psycopg"))
    assert (status, [h["name"] for h in plan["hazards"]]) == (1, ["scans-under-lock"])


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("env.py", "postgres@", "nobody@", 'role "nobody" does not exist'),
        ("env.py", "import sqlalchemy", "1 / 0\nimport sqlalchemy", "ZeroDivisionError"),
        ("versions/r1.py", "def upgrade", "def def upgrade", "invalid syntax"),
        ("versions/r1.py", "posts_code", "posts_title", 'relation "posts_title" already exists'),
        ("env.py", "DATABASE", "missing", 'database "missing" does not exist'),
    ],
)
def test_what_cannot_be_told_is_one_line(
    project: Path, database: str, file: str, old: str, new: str, says: str
) -> None:
    revision(project, "r1", "op.create_index('posts_code', 'posts', ['code'])", "first")
    path = project / "migrations" / file
    path.write_text(path.read_text().replace(old.replace("DATABASE", database), new))
    status, lines, errors = lockstep(project, "plan")
    said = [line for line in errors.splitlines() if line.startswith("lockstep: ")]
    assert (status, lines, len(said)) == (2, [], 1), errors
    assert says in said[0]


def test_a_connection_that_cannot_be_led_away_is_refused(
    project: Path, cluster18: Cluster, database: str
) -> None:
    revision(project, "r1", "op.create_index('posts_code', 'posts', ['code'])", "first")
    env(project, CREATOR, cluster18, database)
    status, _, errors = lockstep(project, "plan")
    assert status == 2
    assert "connects in a way of its own" in errors


def test_revisions_import_what_env_py_alone_finds(tmp_path: Path, cluster18: Cluster, database: str) -> None:
    project = on_rows(tmp_path, cluster18, database)
    (project / "lib").mkdir()
    (project / "lib" / "found_by_env.py").write_text("NAME = 'tags'\n")
    settings = project / "migrations" / "env.py"
    settings.write_text(f"import sys\nsys.path.insert(0, {str(project / 'lib')!r})\n{settings.read_text()}")
    tags = "op.create_table(found_by_env.NAME, sa.Column('id', sa.Integer()))"
    revision(project, "r1", tags, "first", "op.drop_table('tags')")
    file = project / "migrations" / "versions" / "r1.py"
    file.write_text(f"import found_by_env\nimport time, xml\n{file.read_text()}")
    status, found = planned(project)
    assert status == 0
    assert [one["revision"] for one in found["revisions"]] == ["r1"]
    lockstep(project, "snapshot")
    status, lines, errors = lockstep(project, "check")
    assert (status, lines[1:]) == (
        0, ["one head, its snapshots, and each revision's way down and up again are in order"]
    ), errors  # fmt: skip
