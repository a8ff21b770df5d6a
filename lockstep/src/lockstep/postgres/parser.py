"""PostgreSQL's own parser: libpg_query, which comes with postgast. Trees are libpg_query's JSON, with the
names of ``parsenodes.h``.

postgast is imported where it is needed; what most commands need of it is its C library alone.
"""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lockstep.postgres.syntax import Node


class ParseError(Exception):
    """A text that PostgreSQL could not parse either."""


@cache
def _library() -> Any:
    """libpg_query, as postgast finds it, without the rest of postgast, which takes long to import."""
    package = importlib.util.find_spec("postgast")
    folder = package.submodule_search_locations[0] if package and package.submodule_search_locations else ""
    spec = importlib.util.spec_from_file_location("lockstep_libpg_query", Path(folder) / "native.py")
    if spec is None or spec.loader is None:  # pragma: no cover - a Python file always has a loader
        raise ImportError(folder)
    native = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(native)
    return native.lib


def parse(sql: str) -> list[Node]:
    """The statements of a text, each with its tree (``stmt``) and place (``stmt_location``, ``stmt_len``).

    Read as JSON, by what postgast calls private: its public function reads protobuf, which ends at a hundred
    levels, as many as fifty UNION ALL have.
    """
    lib = _library()
    found = lib.pg_query_parse(sql.encode())
    try:
        if found.error:
            raise ParseError(found.error.contents.message.decode())
        statements: list[Node] = json.loads(found.parse_tree).get("stmts", [])
    finally:
        lib.pg_query_free_parse_result(found)
    return statements


def parse_plpgsql(definition: str) -> list[dict[str, Any]]:
    """The body of a DO block or of a function in PL/pgSQL, given whole."""
    import postgast  # noqa: PLC0415  # see above

    try:
        found: list[dict[str, Any]] = postgast.parse_plpgsql(definition)
    except postgast.PgQueryError as error:
        raise ParseError(str(error)) from error
    return found


def aimed_at(alter_table: str, schema: str, name: str) -> str:
    """An ALTER TABLE statement, aimed at another table."""
    import postgast  # noqa: PLC0415  # see above
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    try:
        parsed = postgast.parse(alter_table)
        relation = parsed.stmts[0].stmt.alter_table_stmt.relation
        relation.catalogname, relation.schemaname, relation.relname = "", schema, name
        written: str = postgast.deparse(parsed)
    except (postgast.PgQueryError, DecodeError) as error:
        raise ParseError(str(error)) from error
    return written


def deparsed(statement: Node) -> str:
    """A statement's tree as SQL. Raises ParseError for one that nests too deep."""
    import postgast  # noqa: PLC0415  # see above
    from google.protobuf import json_format  # noqa: PLC0415

    tree = {"stmts": [{"stmt": statement}]}
    try:
        written: str = postgast.deparse(json_format.ParseDict(tree, postgast.ParseResult()))
    except (postgast.PgQueryError, json_format.ParseError) as error:
        raise ParseError(str(error)) from error
    return written
