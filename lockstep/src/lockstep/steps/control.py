"""A running migration is paused, resumed and re-tuned from another terminal: ``lockstep.control``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.steps.pace import Pace

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

CREATE = """
CREATE TABLE IF NOT EXISTS lockstep.control (
    version_table text PRIMARY KEY,
    paused boolean NOT NULL DEFAULT false,
    pace jsonb NOT NULL DEFAULT '{}',
    changed_by text NOT NULL DEFAULT session_user,
    changed_at timestamptz NOT NULL DEFAULT now()
);
"""

#: The settings of Pace that can be changed while a migration runs.
TUNABLE = {
    "lock_timeout", "max_lock_timeout", "max_hold", "batch_time", "max_replica_lag", "max_archive_queue",
    "max_slot_retention", "max_active_sessions",
}  # fmt: skip


@dataclass(frozen=True)
class Control:
    """What was asked for from outside."""

    paused: bool = False
    changed_by: str = ""
    changed_at: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


def read(connection: Connection, version_table: str) -> Control:
    """What was asked for; nothing where nobody has asked. Locks nothing."""
    if not version_table or not catalog.scalar(connection, "SELECT to_regclass('lockstep.control')"):
        return Control()
    for paused, by, at, pace in catalog.rows(
        connection,
        "SELECT paused, changed_by, to_char(changed_at, 'HH24:MI:SS'), pace::text FROM lockstep.control "
        "WHERE version_table = %(name)s",
        name=version_table,
    ):
        return Control(paused, by, at, json.loads(pace))
    return Control()


def write(
    connection: Connection,
    version_table: str,
    *,
    paused: bool | None = None,
    settings: dict[str, Any] | None = None,
) -> Control:
    """Ask for something; what is not named stays. In the caller's transaction; the ledger is there.

    ``settings`` are those of Pace; one that is None goes back to what the program says. Raises LockstepError
    for one that cannot be changed now or makes no sense.
    """
    before = read(connection, version_table)
    wanted = {**before.settings, **(settings or {})}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    tuned(Pace(), wanted)
    connection.exec_driver_sql(
        "INSERT INTO lockstep.control (version_table, paused, pace) "
        "VALUES (%(name)s, %(paused)s, %(pace)s) ON CONFLICT (version_table) DO UPDATE "
        "SET paused = excluded.paused, pace = excluded.pace, changed_by = session_user, changed_at = now()",
        {
            "name": version_table,
            "paused": before.paused if paused is None else paused,
            "pace": json.dumps(wanted),
        },
    )
    return read(connection, version_table)


def tuned(pace: Pace, settings: dict[str, Any]) -> Pace:
    """The pace with what was asked for in place of its own. Raises LockstepError."""
    known = {one.name for one in fields(Pace)} & TUNABLE
    for name in settings:
        if name not in known:
            others = ", ".join(sorted(known))
            raise LockstepError(f"{name} cannot be changed while a migration runs; there is {others}")
    # A limit that was lowered below the other one of its pair takes it along.
    changed = dict(settings)
    if "lock_timeout" in changed and "max_lock_timeout" not in changed:
        changed["max_lock_timeout"] = max(pace.max_lock_timeout, changed["lock_timeout"])
    if "max_lock_timeout" in changed and "lock_timeout" not in changed:
        changed["lock_timeout"] = min(pace.lock_timeout, changed["max_lock_timeout"])
    return replace(pace, **changed)
