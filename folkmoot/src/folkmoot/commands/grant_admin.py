"""Make somebody an administrator, or let them be one no more."""

from __future__ import annotations

from typing import Annotated

import typer
from psycopg.rows import scalar_row

from folkmoot.commands.schema import at_head
from folkmoot.postgres import database
from folkmoot.settings import SettingsError, load

Email = Annotated[str, typer.Argument(help="The e-mail address of the account.")]

# As a login finds an account: by the exact spelling, or without regard to case.
_SET = """
    WITH found AS (
        SELECT id FROM users
         WHERE email = %(email)s OR (lower(email) = lower(%(email)s) AND NOT duplicate_email)
         ORDER BY email = %(email)s DESC LIMIT 1),
    done AS (
        UPDATE users SET administrator = %(administrator)s FROM found
         WHERE users.id = found.id AND users.administrator <> %(administrator)s RETURNING users.id),
    logged AS (INSERT INTO moderation_log (action, person_id) SELECT %(action)s, id FROM done)
    SELECT id FROM found
"""


def command(email: Email) -> None:
    """Make somebody an administrator: they remove posts, block accounts, and see what is reported."""
    change(email, administrator=True)


def change(email: str, *, administrator: bool) -> None:
    """Change whether somebody is an administrator, and log it."""
    with database.explained():
        settings = load()
        with database.server(settings), at_head(settings) as connection:
            action = "grant-admin" if administrator else "revoke-admin"
            values = {"email": email, "administrator": administrator, "action": action}
            found = connection.cursor(row_factory=scalar_row).execute(_SET, values).fetchone()
            if found is None:
                raise SettingsError(f"There is no account with the address {email}.")
    typer.echo(f"Person {found} is {'an administrator' if administrator else 'no administrator any more'}.")
