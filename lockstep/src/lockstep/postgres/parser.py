"""PostgreSQL's own parser: libpg_query, which comes with postgast. Trees are libpg_query's JSON, with the
names of ``parsenodes.h``.

postgast is imported where it is needed: it takes a tenth of a second, and most commands parse nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lockstep.postgres.syntax import Node


class ParseError(Exception):
    """A text that PostgreSQL could not parse either."""


def parse(sql: str) -> list[Node]:
    """The statements of a text, each with its tree (``stmt``) and place (``stmt_location``, ``stmt_len``).

    Read as JSON, by what postgast calls private: its public function reads protobuf, which ends at a hundred
    levels, as many as fifty UNION ALL have.
    """
    from postgast.native import lib  # noqa: PLC0415  # see above

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
