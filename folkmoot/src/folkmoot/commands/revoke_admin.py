"""Let somebody be an administrator no more."""

from __future__ import annotations

from folkmoot.commands.grant_admin import Email, change


def command(email: Email) -> None:
    """Let somebody be an administrator no more."""
    change(email, administrator=False)
