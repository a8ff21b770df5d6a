"""Keeping a table's own triggers and rules from seeing what is given back: it was there before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockstep.postgres import catalog
from lockstep.postgres.catalog import quote

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

#: Triggers and rules that an event fires, in the table and its partitions: by ``pg_trigger.tgtype`` and
#: ``pg_rewrite.ev_type``. Foreign keys are no triggers of the table's own: PostgreSQL goes on checking them.
_FIRING = """
WITH members AS (
    SELECT %(oid)s::oid AS oid UNION SELECT relid FROM pg_partition_tree(%(oid)s)
)
SELECT 'TRIGGER' AS kind, tgname AS name, tgenabled::text AS enabled,
       format('%%I.%%I', n.nspname, c.relname) AS table
FROM pg_trigger t JOIN members m ON m.oid = t.tgrelid
JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT tgisinternal AND tgparentid = 0 AND tgenabled IN ('O', 'A') AND tgtype & %(trigger)s <> 0
  AND tgname NOT LIKE '~lockstep%%' AND (tgattr = '' OR %(number)s = ANY (tgattr::int2[]))
UNION ALL
SELECT 'RULE', rulename, ev_enabled::text, format('%%I.%%I', n.nspname, c.relname)
FROM pg_rewrite r JOIN members m ON m.oid = r.ev_class
JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE ev_enabled IN ('O', 'A') AND ev_type = %(rule)s
ORDER BY 1, 2
"""

_FORCED = """
SELECT format('%%I.%%I', n.nspname, c.relname) AS table FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = %(oid)s AND relforcerowsecurity AND relrowsecurity
"""


@dataclass(frozen=True)
class Silence:
    """What a batch is wrapped in so that no trigger and no rule sees it."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    without_triggers: bool = False
    """Instead: ``session_replication_role = replica``, which makes nobody wait."""


def silence(
    connection: Connection, oid: int, event: str, number: int = 0, *, unchecked: bool = False
) -> Silence:
    """What keeps an ``INSERT`` or an ``UPDATE`` (of the column ``number``) from firing triggers and rules.

    They are disabled within the transaction of a batch, so nobody else ever finds them so; writers to the
    table wait for as long as the batch lasts (SHARE ROW EXCLUSIVE; where row security is forced or a rule
    stands, ACCESS EXCLUSIVE). The table's owner may do that. ``unchecked``: no foreign key has to do with
    what is written, so a role that may set session_replication_role need not lock anything.
    """
    trigger, rule = {"INSERT": (4, "3"), "UPDATE": (16, "2")}[event]
    found = catalog.rows(connection, _FIRING, oid=oid, trigger=trigger, rule=rule, number=number)
    forced = catalog.rows(connection, _FORCED, oid=oid)
    ordinary = found and all((row.kind, row.enabled) == ("TRIGGER", "O") for row in found)
    if unchecked and ordinary and not forced and _may_replicate(connection):
        return Silence((), (), without_triggers=True)
    before, after = ["SET CONSTRAINTS ALL IMMEDIATE"], []
    for row in found:
        always = "ALWAYS " if row.enabled == "A" else ""
        before.append(f"ALTER TABLE {row.table} DISABLE {row.kind} {quote(row.name)}")
        after.append(f"ALTER TABLE {row.table} ENABLE {always}{row.kind} {quote(row.name)}")
    for row in forced:
        before.append(f"ALTER TABLE {row.table} NO FORCE ROW LEVEL SECURITY")
        after.append(f"ALTER TABLE {row.table} FORCE ROW LEVEL SECURITY")
    return Silence(tuple(before), tuple(after))


def _may_replicate(connection: Connection) -> bool:
    return bool(
        catalog.scalar(connection, "SELECT has_parameter_privilege('session_replication_role', 'SET')")
    )
