"""``lockstep history``: what was applied to a database, when, by whom, and how long it took."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lockstep.commands.project import ConfigFiles, Section, ledger_of, look_at_each_database
from lockstep.commands.revisions import had, oldest_first
from lockstep.revision import history as written

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy.engine import Connection

    from lockstep.commands.project import Project
    from lockstep.revision.ledger import Ledger


def register(main: typer.Typer) -> None:
    """Add the command."""
    main.command()(history)


def history(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    config: ConfigFiles = None,
    name: Section = "alembic",
) -> None:
    """Tell what was applied, when, by which role and user, and how long it took: what runs under Lockstep.

    What was applied otherwise, or before, is named without.
    """
    found: list[dict[str, Any]] = []

    def look(project: Project, context: MigrationContext, heads: tuple[str, ...]) -> None:
        if context.connection is not None:
            found.extend(applied_to(context.connection, project.script, ledger_of(context), heads))

    look_at_each_database(config, name, look)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for one in found:
        typer.echo(_line(one))
    if not found:
        typer.echo("nothing was applied")


def applied_to(
    connection: Connection, script: ScriptDirectory, ledger: Ledger | None, heads: tuple[str, ...]
) -> list[dict[str, Any]]:
    """What was applied to a database at these heads, the last one at the end. What was applied before a
    history was kept comes first, with nothing but its name.
    """
    applied = [] if ledger is None else written.read(connection, ledger.version_table)
    known, done = {one.revision for one in applied}, had(script, heads)
    earlier = [
        {
            "revision": one.revision, "direction": None, "applied_at": None, "seconds": None,
            "role": None, "os_user": None, "host": None, "message": (one.doc or "").partition("\n")[0],
        }
        for one in oldest_first(script)
        if one.revision in done and one.revision not in known
    ]  # fmt: skip
    return earlier + [one.to_json() for one in applied]


def _line(one: dict[str, Any]) -> str:
    message = f"  {one['message']}" if one["message"] else ""
    if one["direction"] is None:
        return f"{one['revision']}  applied before a history was kept{message}"
    who = f"{one['role']} ({one['os_user']}@{one['host']})"
    took = "" if one["direction"] == "stamp" else f" in {one['seconds']:.1f} s"
    return f"{one['revision']}  {one['direction']} at {one['applied_at']} by {who}{took}{message}"
