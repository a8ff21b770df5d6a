"""What a text of SQL does is found out by PostgreSQL's own parser."""

from __future__ import annotations

import pytest

from lockstep.postgres.statements import StatementKind, classify

READS, WRITES = StatementKind.READS, StatementKind.WRITES_ROWS
SESSION, UPKEEP, DDL = StatementKind.SESSION, StatementKind.UPKEEP, StatementKind.DDL
UNKNOWN = StatementKind.UNKNOWN


@pytest.mark.parametrize(
    ("sql", "kinds"),
    [
        ("SELECT 1", [READS]),
        ("  -- a remark\n/* and /* another */ */ (SELECT 1)", [READS]),
        ("SELECT * FROM t FOR UPDATE", [READS]),
        ("EXPLAIN UPDATE t SET a = 1", [READS]),
        ("EXPLAIN (ANALYZE) UPDATE t SET a = 1", [WRITES]),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", [WRITES]),
        ("MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE RETURNING merge_action()", [WRITES]),
        ("UPDATE t SET a = 1 RETURNING old.a, new.a", [WRITES]),
        ("COPY t FROM STDIN", [WRITES]),
        ("COPY t TO STDOUT", [READS]),
        ("UPDATE t SET a = 1; ALTER TABLE t ADD b int", [WRITES, DDL]),
        ("SET search_path TO x; SET LOCAL role = a", [SESSION, SESSION]),
        ("SELECT set_config('a.b', '1', true)", [SESSION]),
        ("SELECT pg_advisory_lock(1)", [SESSION]),
        ("CREATE TEMP TABLE x (a int)", [SESSION]),
        ("CREATE TABLE pg_temp.x (a int)", [SESSION]),
        ("SELECT 1 AS a INTO TEMP x", [SESSION]),
        ("SELECT 1 AS a INTO x", [DDL]),
        ("ANALYZE t; VACUUM t; COMMENT ON TABLE t IS 'x'", [UPKEEP, UPKEEP, UPKEEP]),
        ("LOCK TABLE t", [StatementKind.LOCK]),
        ("BEGIN; COMMIT", [StatementKind.TRANSACTION, StatementKind.TRANSACTION]),
        ("TRUNCATE t", [DDL]),
        ("ALTER TABLE t ADD CONSTRAINT n NOT NULL a NOT VALID", [DDL]),
        ("CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL)", [DDL]),
        ("DO $$ BEGIN UPDATE t SET a = 1; END $$", [WRITES]),
        ("DO $$ BEGIN IF EXISTS (SELECT) THEN ALTER TABLE t ADD b int; END IF; END $$", [READS, DDL]),
        ("DO $$ DECLARE n int; BEGIN n := 1; EXECUTE 'drop table t'; END $$", [READS, DDL, READS]),
        ("DO $$ BEGIN EXECUTE 'drop ' || 'table t'; END $$", [UNKNOWN, READS]),
        ("DO $$ BEGIN EXECUTE format('drop table %I', 't'); END $$", [UNKNOWN, READS]),
        ("DO LANGUAGE plpython3u $$ pass $$", [UNKNOWN]),
        ("CALL p()", [UNKNOWN]),
        ("this is no SQL", [UNKNOWN]),
        ("", []),
    ],
)
def test_a_text_is_told_by_what_its_statements_do(sql: str, kinds: list[StatementKind]) -> None:
    assert [statement.kind for statement in classify(sql).statements] == kinds


def test_the_placeholders_and_the_doubled_percent_of_a_driver_are_read() -> None:
    assert classify("UPDATE t SET a = %(a)s WHERE b LIKE 'x%%' AND c = %s").kinds == {WRITES}
    assert classify("SELECT 5 % 3, 'x%'").only_reads


def test_what_is_created_is_named_and_what_ends_with_the_transaction_is_told() -> None:
    created = classify(
        "CREATE TABLE IF NOT EXISTS s.t (a int); CREATE UNIQUE INDEX CONCURRENTLY i ON s.t (a);"
        "CREATE TYPE mood AS ENUM ('a'); "
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE TYPE pair AS (a int, b int); CREATE AGGREGATE g (int) (sfunc = int4pl, stype = int)"
    ).creates
    assert [(o.kind, o.schema, o.name, o.if_not_exists) for o in created] == [
        ("table", "s", "t", True),
        ("index", "s", "i", False),
        ("type", None, "mood", False),
        ("function", None, "f", False),
        ("type", None, "pair", False),
        ("aggregate", None, "g", False),
    ]
    ends = classify(
        "CREATE TEMP TABLE x (a int) ON COMMIT DROP; SET LOCAL a.b = 1; SET CONSTRAINTS ALL DEFERRED"
    )
    assert all(statement.until_commit for statement in ends.statements)
    stays = classify("SET a.b = 1; CREATE TEMP TABLE x (a int); SELECT pg_advisory_lock(1)")
    assert not any(statement.until_commit for statement in stays.statements)


def test_what_cannot_be_parsed_says_why_and_harmless_statements_leave_nothing() -> None:
    assert "syntax error" in (classify("ALTER TABEL x").error or "")
    assert classify("SET search_path = x; ANALYZE t; COMMENT ON TABLE t IS 'x'; SELECT 1").leaves_nothing
    for changes in ("UPDATE t SET a = 1", "CREATE TABLE t (a int)", "DROP TABLE t", "this is no SQL"):
        assert not classify(changes).leaves_nothing


def test_the_functions_that_are_called_are_named_at_any_depth() -> None:
    found = classify("WITH a AS (SELECT f(g(1))) SELECT * FROM s.h((SELECT 1))").functions
    assert found == {("f",), ("g",), ("s", "h")}
