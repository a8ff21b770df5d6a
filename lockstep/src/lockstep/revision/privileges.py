"""What a role may do in Lockstep's own schemas, where another role has created them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.postgres import catalog
from lockstep.revision.ledger import ARCHIVE_SCHEMA, SCHEMA

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_DENIED = f"""
SELECT FROM pg_namespace n
CROSS JOIN unnest('{{USAGE,CREATE}}'::text[]) privilege
WHERE n.nspname IN ('{SCHEMA}', '{ARCHIVE_SCHEMA}') AND NOT has_schema_privilege(n.oid, privilege)
UNION ALL
SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN unnest('{{SELECT,INSERT,UPDATE,DELETE}}'::text[]) privilege
WHERE n.nspname = '{SCHEMA}' AND c.relkind = 'r' AND NOT has_table_privilege(c.oid, privilege)
UNION ALL
SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = '{SCHEMA}' AND CASE WHEN c.relkind = 'S' THEN NOT has_sequence_privilege(c.oid, 'USAGE') END
"""


def refusal(connection: Connection) -> str | None:
    """Why this role cannot use Lockstep's schemas, and what gives it the right to; None where it can, or
    where they are yet to be created.
    """
    if not catalog.rows(connection, f"SELECT EXISTS ({_DENIED})")[0][0]:
        return None
    user, owner = catalog.rows(
        connection,
        "SELECT quote_ident(current_user) AS role, coalesce(min(quote_ident(pg_get_userbyid(nspowner))), '') "
        f"FROM pg_namespace WHERE nspname = '{SCHEMA}'",
    )[0]
    return (
        f"Lockstep's schemas were created by {owner}, and {user} may not use them. Let {owner} type: "
        f"GRANT USAGE, CREATE ON SCHEMA {SCHEMA}, {ARCHIVE_SCHEMA} TO {user}; "
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {user}; "
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {user}"
    )
