"""What a revision sets for its session or its transaction lives as long as its author may believe.

Plain Alembic's transaction ends with the revision: SET LOCAL and SET CONSTRAINTS hold to its end, a temporary
table made ON COMMIT DROP is there until then. Lockstep may commit in between: it makes the table without
that, and drops it where the author's transaction ends.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.postgres import catalog, syntax
from lockstep.postgres.session import AT_WORK, execute, sqlstate
from lockstep.postgres.statements import StatementKind, classify

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.statements import Classified

_SET_CONFIG = re.compile(
    r"set_config\s*\(\s*'([^']+)'.*?,\s*(?:true|'t'|'true'|'on')\s*\)", re.IGNORECASE | re.DOTALL
)

_ON_COMMIT = re.compile(r"\s+ON\s+COMMIT\s+(DROP|DELETE\s+ROWS)\b", re.IGNORECASE)


class SessionState:
    """The settings, deferred constraints and temporary tables of the revision at hand."""

    def __init__(self) -> None:
        self._local: set[str] = set()
        """Settings that hold until the author's transaction ends."""
        self._before: dict[str, str | None] = {}
        """What such a setting was before Lockstep made it hold over a commit of its own."""
        self._constraints: list[str] = []
        self._on_commit: dict[str, str] = {}
        """Temporary tables, by what becomes of them when the author's transaction ends."""
        self.temporary: set[str] = set()
        """The names of temporary tables that the revision has made."""
        self.role_changed = False
        """Whether the revision has set a role since somebody looked: it may have no right to the ledger."""
        self._may_be_reset = False
        """Whether SQL of the revision's own has run of which nobody knows what it sets."""

    def note(self, classified: Classified) -> None:
        """The revision has sent these statements."""
        self.suspect(classified)
        self.note_temporary(classified)
        for statement in classified.statements:
            if statement.kind is not StatementKind.SESSION:
                continue
            name, fields = statement.node[0], statement.fields
            if name == "VariableSetStmt":
                setting = str(fields.get("name", "")).lower()
                self.role_changed |= setting in {"role", "session_authorization"}
                if statement.until_commit and setting and not setting.startswith("transaction"):
                    self._local.add(setting)
            elif name == "ConstraintsSetStmt":
                self._constraints.append(statement.text)
            self._local.update(found.lower() for found in _SET_CONFIG.findall(statement.text))

    def suspect(self, classified: Classified) -> None:
        """These statements may set what their text does not say."""
        self._may_be_reset |= bool(classified.functions) or StatementKind.UNKNOWN in classified.kinds

    def note_temporary(self, classified: Classified) -> None:
        """The temporary tables that these statements make are there."""
        self.temporary.update(created.name for created in classified.creates if created.temporary)

    def lasting(self, sql: str) -> str:
        """The text with temporary tables that Lockstep's own commits leave alone, and the author's do not."""
        for found in reversed(list(_ON_COMMIT.finditer(sql))):
            ends, without = _ends(sql), sql[: found.start()] + sql[found.end() :]
            for table in ends.keys() - _ends(without).keys():  # none where it stands in a string
                self._on_commit[table] = ends[table]
                sql = without
        return sql

    def before_commit(self, connection: Connection) -> dict[str, str | None]:
        """What has to hold again after a commit that the revision's author does not know of.

        Raises LockstepError where a deferred constraint is violated in between.
        """
        self.refuse_lost(connection)
        if self._constraints:
            try:
                execute(connection, "SET CONSTRAINTS ALL IMMEDIATE")
            except DBAPIError as error:
                if not (sqlstate(error) or "").startswith("23"):
                    raise
                raise LockstepError(
                    "the revision has deferred its constraints, and they are violated at a point where "
                    f"Lockstep has to commit: {str(error.orig).strip().splitlines()[0]}. Put what belongs "
                    "together into `with lockstep.plain():`, or what takes long into a revision of its own"
                ) from error
        return {name: _setting(connection, name) for name in sorted(self._local)}

    def refuse_lost(self, connection: Connection) -> None:
        """Raise LockstepError where the revision's own SQL has reset Lockstep's settings: before a commit."""
        if self._may_be_reset and _setting(connection, AT_WORK) != "on":
            self._may_be_reset = False
            raise LockstepError(
                "SQL of the revision's own has taken away what Lockstep has set for its session, by which "
                "what was given back stays: a function, or a statement that is built at run time, resets all "
                "settings (RESET ALL). Let it reset those that it has set, by their names"
            )

    def after_commit(self, connection: Connection, held: dict[str, str | None]) -> None:
        """Let the settings hold on, for the session now; the constraints are deferred again."""
        for name, value in held.items():
            now = _setting(connection, name)
            if now != value:
                self._before.setdefault(name, now)
                _set(connection, name, value)

    def defer_again(self, connection: Connection) -> None:
        """In a new transaction: what the revision has deferred."""
        for statement in self._constraints:
            execute(connection, statement)

    def end_of_transaction(self, connection: Connection) -> None:
        """The author ends the transaction: so does what was set for it."""
        self._local.clear()
        self._constraints.clear()
        for table, end in list(self._on_commit.items()):
            if end == "ONCOMMIT_DROP":
                execute(connection, f"DROP TABLE IF EXISTS pg_temp.{catalog.quote(table)}")
                del self._on_commit[table]
            else:
                execute(connection, f"TRUNCATE pg_temp.{catalog.quote(table)}")

    def restore(self, connection: Connection) -> None:
        """Put back what Lockstep let hold on over its own commits."""
        before, self._before = self._before, {}
        for name, value in before.items():
            if name not in self._local:
                _set(connection, name, value)
            else:
                self._before[name] = value


#: Lockstep's own settings of the session, which its triggers and batches go by.
_OWN_SETTING = re.compile(r"set_config\s*\(\s*'lockstep\.", re.IGNORECASE)


def refuse_reset(classified: Classified) -> None:
    """Raise LockstepError for what would take from the session what Lockstep goes by: that the migrator is at
    work, and with DISCARD ALL its lock.
    """
    for statement in classified.statements:
        kind, fields = statement.node[0], statement.fields
        if fields.get("kind") == "VAR_RESET_ALL" or fields.get("target") == "DISCARD_ALL":
            said = "RESET ALL" if kind == "VariableSetStmt" else "DISCARD ALL"
            raise LockstepError(
                f"{said} would also take away what Lockstep has set for its session, by which what was given "
                "back stays: write RESET with the name of each setting that the revision has set, and "
                "DISCARD TEMP or DISCARD PLANS for the rest"
            )
        setting = str(fields.get("name", "")).lower() if kind == "VariableSetStmt" else ""
        if setting.startswith("lockstep.") or _OWN_SETTING.search(statement.text):
            raise LockstepError(
                "the settings lockstep.… are Lockstep's own, and a revision may not change them: leave out "
                f"{' '.join(statement.text.split())[:80]}"
            )


def _ends(sql: str) -> dict[str, str]:
    """The temporary tables that a text makes which do not outlast the transaction as they are."""
    return {
        created.name: end
        for statement in classify(sql).statements
        for created in statement.creates
        if created.temporary and (end := syntax.on_commit(statement.fields))
    }


def _setting(connection: Connection, name: str) -> str | None:
    found = catalog.scalar(connection, "SELECT current_setting(%(name)s, true)", name=name)
    return None if found is None else str(found)


def _set(connection: Connection, name: str, value: str | None) -> None:
    catalog.scalar(connection, "SELECT set_config(%(name)s, %(value)s, false)", name=name, value=value or "")
