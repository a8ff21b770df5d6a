"""What a revision did through ``op.get_bind()``, with its results, so that it is never done twice.

A revision that is continued runs its Python code again from the start. Statements that were committed are
answered from the journal instead of the database; the code takes the same path as before, up to where it
was stopped. (The technique is that of durable execution: record, then replay.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lockstep.errors import CannotContinueError
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

#: A result of more rows than this is not kept: a continued revision asks the database again.
MOST_ROWS = 10_000


class Sent:
    """A statement of the revision's own that was run; its result is read when it has to be written down."""

    def __init__(self, statement: str, cursor: Any, *, reads: bool, undo: tuple[str, ...] | None) -> None:
        self.statement = statement
        self.reads = reads
        self.undo = undo
        """What takes it back; empty where it left nothing, None where nothing is known to."""
        self._rowcount = cursor.rowcount
        # What a cursor of the server's (yield_per) gives is fetched later, bit by bit.
        whole = cursor.description and not getattr(cursor, "name", None)
        self._result = getattr(cursor, "pgresult", None) if whole else None
        self._returns = bool(cursor.description)

    def to_json(self) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "statement": self.statement,
            "rowcount": self._rowcount,
            "reads": self.reads,
        }
        result = self._result
        if result is None or result.ntuples > MOST_ROWS:
            return entry
        if any(result.fformat(number) for number in range(result.nfields)):
            return entry  # binary: not to be written as text
        entry["columns"] = [
            [result.fname(number).decode(), result.ftype(number)] for number in range(result.nfields)
        ]
        entry["rows"] = [
            [_text(result.get_value(row, number)) for number in range(result.nfields)]
            for row in range(result.ntuples)
        ]
        return entry


class Journal:
    """The statements of one revision's own code, in their order."""

    def __init__(self) -> None:
        self.pending: list[Sent] = []
        """Not committed yet."""
        self._replay: list[dict[str, Any]] = []
        self._number = 0
        self._way_out = ""
        """What is left where the code takes another path."""

    def start(self, recorded: Sequence[dict[str, Any]], way_out: str) -> None:
        """Begin a run of the revision's code, with what earlier runs of it committed."""
        self._replay = list(recorded)
        self._way_out = way_out
        self.pending = []
        self._number = 0

    def answer(self, connection: Connection, statement: str, *, reads: bool) -> str | None:
        """The statement to send in place of one that was committed before; None: run it.

        What only reads need not be asked the same way again: SQLAlchemy remembers some of the catalog, and a
        corrected file may look at something else. What was asked last time is answered as it was then.
        """
        if not self._replay:
            return None
        self._number += 1
        writes_before = next((n for n, one in enumerate(self._replay) if not one["reads"]), len(self._replay))
        if reads:
            asked = (n for n, one in enumerate(self._replay[:writes_before]) if one["statement"] == statement)
            found = next(asked, None)
            if found is None:
                return None
            known = self._replay[found]
            del self._replay[: found + 1]
        else:
            del self._replay[:writes_before]
            if not self._replay:
                return None
            known = self._replay.pop(0)
            if known["statement"] != statement:
                raise CannotContinueError(
                    f"the revision does something else than before: its statement {self._number} was "
                    f"{_short(known['statement'])!r} and is {_short(statement)!r} now. It cannot go on "
                    f"without running statements twice: let it be as it was, or {self._way_out}"
                )
        if "columns" not in known:
            if known["reads"]:
                return None
            return f"SELECT FROM generate_series(1, {max(int(known['rowcount']), 0)})"
        return _as_query(connection, known["columns"], known["rows"])


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _short(statement: str) -> str:
    flat = " ".join(statement.split())
    return flat if len(flat) <= 80 else flat[:79] + "…"


def _as_query(connection: Connection, columns: Sequence[Sequence[Any]], rows: Sequence[Sequence[Any]]) -> str:
    """A query that gives the rows again, under the same names and types."""
    oids = ", ".join(str(int(oid)) for _, oid in columns) or "0"
    known = catalog.rows(connection, f"SELECT oid, format_type(oid, NULL) FROM pg_type WHERE oid IN ({oids})")
    types = {int(oid): name for oid, name in known}
    if not columns:
        return f"SELECT FROM generate_series(1, {len(rows)})"
    selected = ", ".join(
        f"CAST(c{number} AS {types.get(int(oid), 'text')}) AS {quote(name)}"
        for number, (name, oid) in enumerate(columns)
    )
    names = ", ".join(f"c{number}" for number in range(len(columns)))
    if not rows:
        empty = ", ".join("NULL::text" for _ in columns)
        return f"SELECT {selected} FROM (VALUES ({empty})) recorded({names}) WHERE false"
    values = ", ".join(
        "("
        + ", ".join("NULL::text" if value is None else f"{literal(value).strip()}::text" for value in row)
        + ")"
        for row in rows
    )
    return f"SELECT {selected} FROM (VALUES {values}) recorded({names})"
