"""What takes back the objects that a statement of SQL has just made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.postgres import catalog, syntax
from lockstep.postgres.catalog import quote
from lockstep.postgres.statements import StatementKind, classify

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.statements import Classified, Statement
    from lockstep.postgres.syntax import CreatedObject, Node

_RELATIONS = {"table": "TABLE", "index": "INDEX", "sequence": "SEQUENCE"}
_TYPES = {"type": "TYPE", "domain": "DOMAIN"}

#: Functions of PostgreSQL's own that change something that stays.
_CHANGING = ["nextval", "setval", "lo_create", "lo_unlink", "lo_import", "lo_from_bytea", "lo_put"]


def already_there(connection: Connection, classified: Classified) -> frozenset[CreatedObject]:
    """What a text creates only where it is not there (IF NOT EXISTS, a DO block), and is there: asked before
    it runs.
    """
    perhaps = [created for created in classified.creates if created.if_not_exists and created.name]
    return frozenset(
        created
        for created in perhaps
        if catalog.scalar(
            connection,
            "SELECT to_regclass(%(name)s) IS NOT NULL OR to_regtype(%(name)s) IS NOT NULL",
            name=_written(created),
        )
    )


def _written(created: CreatedObject) -> str:
    return (f"{quote(created.schema)}." if created.schema else "") + quote(created.name)


def undo_of(
    connection: Connection,
    classified: Classified,
    temporary: set[str],
    there: frozenset[CreatedObject] = frozenset(),
) -> tuple[str, ...] | None:
    """What takes back a text of SQL that was run: empty where it left nothing, None where it cannot be.

    Called right after it, in its transaction. ``temporary``: see ``is_temporary``; ``there``: what
    ``already_there`` has said.
    """
    undo: list[str] = []
    for statement in classified.statements:
        if statement.creates and all(_drop_word(one) for one in statement.creates):
            for created in statement.creates:
                if created.temporary or created in there:
                    continue
                drop = _drop(connection, created)
                if drop is None:
                    return None
                undo[:0] = [drop] if drop else []
        elif statement.kind is StatementKind.WRITES_ROWS and _writes_temporary_tables(
            connection, statement, temporary
        ):
            continue
        elif statement.kind not in {
            StatementKind.READS, StatementKind.SESSION, StatementKind.UPKEEP, StatementKind.LOCK,
        } or (statement.functions and _may_change(connection, statement.functions)):  # fmt: skip
            return None
    return tuple(undo)


def is_temporary(connection: Connection, relation: Node, temporary: set[str]) -> bool:
    """Whether a table (its RangeVar) is one of this session's temporary ones.

    ``temporary`` are the names of those that the revision has made; another one is taken for a table that
    stays, unasked.
    """
    if relation["relname"] not in temporary or relation.get("schemaname", "pg_temp") != "pg_temp":
        return False
    name = f"pg_temp.{quote(relation['relname'])}"
    return bool(catalog.scalar(connection, "SELECT to_regclass(%(name)s) IS NOT NULL", name=name))


def _writes_temporary_tables(connection: Connection, statement: Statement, temporary: set[str]) -> bool:
    """Whether it writes rows of temporary tables alone, and calls nothing that may write others."""
    tree = {statement.node[0]: statement.fields}
    written = [n["relation"] for n in syntax.nodes(tree, *syntax.WRITERS)]
    return all(is_temporary(connection, one, temporary) for one in written) and not (
        statement.functions and _may_change(connection, statement.functions)
    )


def leaves_nothing(connection: Connection, classified: Classified) -> bool:
    """Whether statements that leave nothing by themselves call no function that does."""
    called = tuple(name for statement in classified.statements for name in statement.functions)
    return classified.leaves_nothing and not (called and _may_change(connection, called))


def type_undo(connection: Connection, statement: str) -> str | None:
    """What drops the type that a statement creates, by its qualified name; None for any other statement."""
    if not statement.lstrip()[:11].upper().startswith("CREATE TYPE"):
        return None
    created = classify(statement).creates
    if len(created) != 1:
        return None
    schema = created[0].schema or catalog.scalar(connection, "SELECT current_schema()")
    return f"DROP TYPE IF EXISTS {quote(str(schema))}.{quote(created[0].name)}"


def _drop_word(created: CreatedObject) -> str | None:
    return _RELATIONS.get(created.kind) or _TYPES.get(created.kind)


def _drop(connection: Connection, created: CreatedObject) -> str | None:
    """DROP for an object that was made; empty where it was not, None where it has no name."""
    if not created.name:
        return None
    relation = created.kind in _RELATIONS
    table, name, resolve = (
        ("pg_class", "relname", "to_regclass") if relation else ("pg_type", "typname", "to_regtype")
    )
    found = catalog.rows(
        connection,
        f"SELECT n.nspname AS schema, c.{name} AS name FROM {table} c "
        f"JOIN pg_namespace n ON n.oid = c.{name[:3]}namespace "
        f"WHERE c.oid = {resolve}(%(name)s)",
        name=_written(created),
    )
    if not found:
        return "" if created.if_not_exists else None
    word = _drop_word(created)
    return f"DROP {word} IF EXISTS {quote(found[0].schema)}.{quote(found[0].name)}"


def _may_change(connection: Connection, functions: tuple[tuple[str, ...], ...]) -> bool:
    """Whether one of the functions is a volatile one of somebody's own, or changes something itself."""
    names = sorted({parts[-1] for parts in functions if parts})
    return bool(
        catalog.scalar(
            connection,
            """
            SELECT EXISTS (
                SELECT FROM pg_proc WHERE proname = ANY (%(names)s)
                AND (proname = ANY (%(changing)s) OR provolatile = 'v' AND oid >= 16384)
            )
            """,
            names=names,
            changing=_CHANGING,
        )
    )
