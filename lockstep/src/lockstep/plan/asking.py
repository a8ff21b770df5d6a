"""One pending statement and what is asked because of it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockstep.plan.finding import Finding, Kind
from lockstep.plan.pending import missing
from lockstep.plan.reading import NotKnownError, NotLookedAtError
from lockstep.postgres.parser import ParseError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from lockstep.plan.pending import Pending, PendingTable
    from lockstep.plan.reading import AtFault, Reader
    from lockstep.postgres.syntax import Node


@dataclass
class Asking:
    """A pending statement, what those before it have done, and what was found so far."""

    revision: str
    statement: str
    pending: Pending
    reader: Reader
    found: list[Finding]

    def add(self, kind: Kind, table: str, says: str, rows: AtFault | None = None) -> None:
        if rows is None:
            self.found.append(Finding(kind, self.revision, self.statement, table, says))
            return
        if rows.count:
            self.found.append(
                Finding(
                    kind, self.revision, self.statement, table, says, rows.count, rows.at_least, rows.rows
                )
            )

    def not_known(self, table: str, what: str, why: str) -> None:
        self.add(Kind.NOT_KNOWN, table, f"whether {what} is not known before: {why}")

    @contextmanager
    def about(self, table: PendingTable, what: str) -> Iterator[None]:
        """What cannot be asked is said to be so; ``what`` comes after "whether"."""
        try:
            yield
        except NotLookedAtError as error:
            self.add(Kind.NOT_LOOKED_AT, table.label, f"whether {what} was not looked at: {error}")
        except (NotKnownError, ParseError) as error:
            self.not_known(table.label, what, str(error))

    def may_ask(self, table: PendingTable, columns: Collection[str], what: str) -> bool:
        """Whether the columns are there, with values that are known; otherwise it is said what is not so."""
        if table.real is None and not table.types:
            self.not_known(table.label, what, table.why_unknown(()) or "it does not exist yet")
            return False
        if (gone := missing(table, columns)) and not table.in_doubt:
            named = ", ".join(gone)
            self.add(Kind.MISSING, table.label, f"{table.label} has no column {named}")
            return False
        why = self.pending.unfollowed or table.why_unknown(columns)
        if why:
            self.not_known(table.label, what, why)
        return why is None

    def table(self, relation: Node, *, missing_ok: bool = False) -> PendingTable | None:
        """The table that a statement is about; where it is not there, that is a finding."""
        found = self.pending.named_by(relation)
        if found is None and not missing_ok and self.pending.is_missing(relation["relname"]):
            name = ".".join(filter(None, [relation.get("schemaname"), relation["relname"]]))
            self.add(Kind.MISSING, name, f"there is no table {name}")
        return found


def number(rows: AtFault, one: str = "", many: str = "") -> str:
    """``3 rows`` or ``1 row``, and the verb that goes with it."""
    verb = one if rows.count == 1 else many
    least = "at least " if rows.at_least else ""
    return f"{least}{rows.count:,} row{'' if rows.count == 1 else 's'} {verb}".rstrip()
