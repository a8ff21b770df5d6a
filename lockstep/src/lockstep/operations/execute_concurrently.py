"""``op.execute`` of CREATE or DROP INDEX CONCURRENTLY in an autocommit_block, told by the catalog.

Of other statements that run outside of transactions (VACUUM, ALTER SYSTEM) nothing does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.operations.drop_index import drop_concurrently, plain_index
from lockstep.operations.index_build import build, index_is_valid, refuse_namesake
from lockstep.postgres import catalog
from lockstep.postgres.catalog import qualified
from lockstep.postgres.syntax import names
from lockstep.revision.listener import in_autocommit

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.statements import Classified
    from lockstep.postgres.syntax import Node
    from lockstep.steps.step import Step


def concurrent_index(connection: Connection, classified: Classified) -> list[Step] | None:
    """The step of such a statement; None for any other, and where PostgreSQL will refuse it."""
    if len(classified.statements) != 1 or not in_autocommit(connection):
        return None
    statement = classified.statements[0]
    fields = statement.fields
    if not fields.get("concurrent"):
        return None
    if statement.node[0] == "IndexStmt" and fields.get("idxname"):
        return _create(connection, fields, statement.text)
    if (
        statement.node[0] == "DropStmt"
        and fields["removeType"] == "OBJECT_INDEX"
        and len(fields["objects"]) == 1
    ):
        return _drop(connection, names(fields["objects"][0]["List"]["items"]))
    return None


def _create(connection: Connection, fields: Node, text: str) -> list[Step] | None:
    name, relation = fields["idxname"], fields["relation"]
    table = catalog.find_table(connection, relation["relname"], relation.get("schemaname"))
    if table is None or table.kind not in {"r", "m"}:
        return None
    if fields.get("if_not_exists") and catalog.scalar(connection, index_is_valid(table.schema, name)):
        return []
    refuse_namesake(connection, table, name)
    return [build(table, name, text)]


def _drop(connection: Connection, parts: tuple[str, ...]) -> list[Step] | None:
    name = qualified(parts[-1], parts[-2] if len(parts) > 1 else None)
    index = plain_index(connection, name)
    return [drop_concurrently(index)] if index else None
