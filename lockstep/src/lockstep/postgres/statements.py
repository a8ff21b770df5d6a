"""What a text of SQL does, found out by PostgreSQL's own parser.

``classify`` looks at the text alone; what the functions do that it calls is asked of the catalog by
``functions.py``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lockstep.postgres import syntax
from lockstep.postgres.parser import ParseError, parse, parse_plpgsql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lockstep.postgres.syntax import CreatedObject, Node


class StatementKind(StrEnum):
    """What one statement does, as far as waiting for it and taking it back are concerned."""

    READS = "reads"
    WRITES_ROWS = "writes rows"
    SESSION = "session state"
    """SET, temporary tables, PREPARE, LISTEN …: it ends with the session, or with the transaction."""
    UPKEEP = "upkeep"
    """ANALYZE, VACUUM, COMMENT, CHECKPOINT: nobody needs it taken back."""
    DDL = "ddl"
    LOCK = "lock"
    """LOCK TABLE, VACUUM FULL."""
    TRANSACTION = "transaction control"
    UNKNOWN = "unknown"
    """What cannot be parsed, or is built at run time (EXECUTE in a DO block, CALL)."""


@dataclass(frozen=True)
class Statement:
    """One statement of a text, with what its tree tells."""

    text: str
    kind: StatementKind
    creates: tuple[CreatedObject, ...] = ()
    functions: tuple[tuple[str, ...], ...] = ()
    """The names of the functions that it calls, each as its parts."""
    until_commit: bool = False
    """Of session state: whether it ends with the transaction (SET LOCAL, ON COMMIT DROP …)."""
    in_block: bool = False
    """Whether it stands in a DO block, whose code decides whether it runs."""
    node: tuple[str, str] = ("", "{}")
    """Its tree: the name of the node and its fields, as JSON."""

    @property
    def fields(self) -> Node:
        """The fields of its tree, by PostgreSQL's names (``parsenodes.h``)."""
        found: Node = json.loads(self.node[1])
        return found


@dataclass(frozen=True)
class Classified:
    """A text of one or more statements."""

    statements: tuple[Statement, ...]
    error: str | None = None
    """Why the text could not be parsed; then it is one statement of kind UNKNOWN."""

    @property
    def kinds(self) -> frozenset[StatementKind]:
        return frozenset(statement.kind for statement in self.statements)

    @property
    def creates(self) -> tuple[CreatedObject, ...]:
        return tuple(created for statement in self.statements for created in statement.creates)

    @property
    def functions(self) -> frozenset[tuple[str, ...]]:
        return frozenset(name for statement in self.statements for name in statement.functions)

    @property
    def only_reads(self) -> bool:
        """Whether it changes nothing, as far as the functions that it calls do not."""
        return self.kinds <= {StatementKind.READS}

    @property
    def only_rows(self) -> bool:
        """Whether it only reads or writes rows: waiting for its locks makes nobody else wait."""
        return self.kinds <= {StatementKind.READS, StatementKind.WRITES_ROWS}

    @property
    def waits_for_transactions(self) -> bool:
        """Whether one of them is done CONCURRENTLY: broken off, it would leave something INVALID."""
        return any("CONCURRENTLY" in statement.text.upper() for statement in self.statements)

    @property
    def leaves_nothing(self) -> bool:
        """Whether there is nothing to take back: it read, set, analyzed, commented or locked."""
        return self.kinds <= {
            StatementKind.READS, StatementKind.SESSION, StatementKind.UPKEEP, StatementKind.LOCK,
        }  # fmt: skip


@lru_cache(maxsize=512)
def classify(sql: str) -> Classified:
    """The statements of a text, which may be written for a driver (``%(name)s``, ``%s``, ``%%``).

    A DO block counts as the statements of its body, which may run or not: what they create is created where
    it is not there. What it builds at run time is UNKNOWN.
    """
    try:
        return Classified(tuple(_statements(sql)))
    except ParseError as error:
        if "%" not in sql:
            return _unknown(sql, error)
    written = without_placeholders(sql)
    try:
        return Classified(tuple(_statements(written)))
    except ParseError as error:
        return _unknown(sql, error)


def _unknown(sql: str, error: ParseError) -> Classified:
    return Classified((Statement(sql, StatementKind.UNKNOWN),), str(error.args[0]))


_PLACEHOLDER = re.compile(r"%(?:\((\w+)\))?s|%%")


def without_placeholders(sql: str) -> str:
    """The text of a statement for psycopg as PostgreSQL's parser reads it."""
    return _PLACEHOLDER.sub(lambda found: "%" if found[0] == "%%" else "$1", sql)


def _statements(sql: str) -> Iterator[Statement]:
    raw = sql.encode()
    for parsed in parse(sql):
        start = parsed.get("stmt_location", 0)
        end = start + parsed["stmt_len"] if parsed.get("stmt_len") else len(raw)
        text = raw[start:end].decode().strip()
        ((name, fields),) = parsed["stmt"].items()
        if name == "DoStmt":
            yield from (replace(one, in_block=True) for one in _do_block(text, fields))
        else:
            yield _statement(text, name, fields)


def _statement(text: str, name: str, fields: Node) -> Statement:
    kind, until_commit = _kind(name, fields)
    creates = syntax.created_objects(name, fields)
    if creates and all(created.temporary for created in creates):
        kind = StatementKind.SESSION
        until_commit = syntax.on_commit(fields) == "ONCOMMIT_DROP"
    functions = tuple(dict.fromkeys(syntax.function_names(fields)))
    return Statement(text, kind, creates, functions, until_commit, node=(name, json.dumps(fields)))


_KINDS = {
    "InsertStmt": StatementKind.WRITES_ROWS,
    "UpdateStmt": StatementKind.WRITES_ROWS,
    "DeleteStmt": StatementKind.WRITES_ROWS,
    "MergeStmt": StatementKind.WRITES_ROWS,
    "VariableShowStmt": StatementKind.READS,
    "DeclareCursorStmt": StatementKind.READS,
    "FetchStmt": StatementKind.READS,
    "ClosePortalStmt": StatementKind.READS,
    "VariableSetStmt": StatementKind.SESSION,
    "ConstraintsSetStmt": StatementKind.SESSION,
    "DiscardStmt": StatementKind.SESSION,
    "PrepareStmt": StatementKind.SESSION,
    "DeallocateStmt": StatementKind.SESSION,
    "ListenStmt": StatementKind.SESSION,
    "UnlistenStmt": StatementKind.SESSION,
    "LoadStmt": StatementKind.SESSION,
    "NotifyStmt": StatementKind.SESSION,
    "VacuumStmt": StatementKind.UPKEEP,
    "CommentStmt": StatementKind.UPKEEP,
    "CheckPointStmt": StatementKind.UPKEEP,
    "LockStmt": StatementKind.LOCK,
    "TransactionStmt": StatementKind.TRANSACTION,
    "CallStmt": StatementKind.UNKNOWN,
    "ExecuteStmt": StatementKind.UNKNOWN,
}

#: Functions of PostgreSQL's own that set what lives as long as the session or the transaction.
_SETTERS = {"set_config", "setseed"}


def _kind(name: str, fields: Node) -> tuple[StatementKind, bool]:
    """The kind of a statement, and whether what it sets ends with the transaction."""
    if name == "VacuumStmt" and any(one["defname"] == "full" for one in syntax.nodes(fields, "DefElem")):
        return StatementKind.LOCK, False
    if name == "SelectStmt" and "intoClause" not in fields:
        if syntax.writes_rows(fields):
            return StatementKind.WRITES_ROWS, False
        called = {parts[-1] for parts in syntax.function_names(fields)}
        if called & _SETTERS or any("advisory" in one for one in called):
            return StatementKind.SESSION, any("xact" in one for one in called)
        return StatementKind.READS, False
    if name == "CopyStmt":
        return (StatementKind.WRITES_ROWS if fields.get("is_from") else StatementKind.READS), False
    if name == "ExplainStmt":
        ((inner, inner_fields),) = fields["query"].items()
        analyzes = any(option["DefElem"]["defname"] == "analyze" for option in fields.get("options", ()))
        return _kind(inner, inner_fields) if analyzes else (StatementKind.READS, False)
    local = (
        bool(fields.get("is_local")) or name == "ConstraintsSetStmt" or fields.get("name") == "TRANSACTION"
    )
    return _KINDS.get(name, StatementKind.DDL), local and _KINDS.get(name) is StatementKind.SESSION


def _do_block(text: str, fields: Node) -> Iterator[Statement]:
    options = {option["DefElem"]["defname"]: option["DefElem"].get("arg") for option in fields["args"]}
    language = (options.get("language") or {}).get("String", {}).get("sval", "plpgsql")
    if language != "plpgsql":
        yield Statement(text, StatementKind.UNKNOWN)
        return
    yield from of_plpgsql(text)


def of_plpgsql(definition: str) -> list[Statement]:
    """The statements in the body of a DO block or of a function in PL/pgSQL, given whole."""
    try:
        return [_perhaps(statement) for statement in _in_plpgsql(parse_plpgsql(definition))]
    except (ParseError, ValueError):
        return [Statement(definition, StatementKind.UNKNOWN)]


def _perhaps(statement: Statement) -> Statement:
    creates = tuple(replace(created, if_not_exists=True) for created in statement.creates)
    return replace(statement, creates=creates)


def _in_plpgsql(tree: Any) -> Iterator[Statement]:
    if isinstance(tree, list):
        for item in tree:
            yield from _in_plpgsql(item)
        return
    if not isinstance(tree, dict):
        return
    for name, value in tree.items():
        built = value.get("query", "") if name in _BUILT else None
        if built is not None and (constant := _constant(built)) is not None:
            yield from _statements(constant)
        elif built is not None or name == "PLpgSQL_stmt_call":
            yield Statement(str(built or ""), StatementKind.UNKNOWN)
        if name == "PLpgSQL_expr":
            yield from _statements(_as_statement(value["query"], value.get("parseMode", 0)))
        else:
            yield from _in_plpgsql(value)


#: What runs a text that is built at run time: EXECUTE, and FOR … IN EXECUTE.
_BUILT = {"PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors"}


def _constant(built: Any) -> str | None:
    """The text that EXECUTE runs, where it stands there as it is."""
    (parsed,) = parse(f"SELECT {built['PLpgSQL_expr']['query']}")
    (target,) = parsed["stmt"]["SelectStmt"]["targetList"]
    constant: Node = target["ResTarget"]["val"].get("A_Const", {})
    text: str | None = constant.get("sval", {}).get("sval")
    return text


def _as_statement(query: str, mode: int) -> str:
    """An expression or an assignment of PL/pgSQL as a statement; ``mode`` is PostgreSQL's RawParseMode."""
    if mode == 0:
        return query
    if mode == 2:
        return f"SELECT {query}"
    target, sign, value = query.partition(":=")
    return f"SELECT {value if sign else target.partition('=')[2]}"
