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

    from lockstep.commands.project import Project


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
        ledger = ledger_of(context)
        applied = []
        if ledger is not None and context.connection is not None:
            applied = written.read(context.connection, ledger.version_table)
        known = {one.revision for one in applied}
        earlier = [one for one in oldest_first(project.script) if one.revision in had(project.script, heads)]
        found.extend(
            {
                "revision": one.revision, "direction": None, "applied_at": None, "seconds": None,
                "role": None, "os_user": None, "host": None, "message": (one.doc or "").partition("\n")[0],
            }
            for one in earlier
            if one.revision not in known
        )  # fmt: skip
        found.extend(one.to_json() for one in applied)

    look_at_each_database(config, name, look)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for one in found:
        typer.echo(_line(one))
    if not found:
        typer.echo("nothing was applied")


def _line(one: dict[str, Any]) -> str:
    message = f"  {one['message']}" if one["message"] else ""
    if one["direction"] is None:
        return f"{one['revision']}  applied before a history was kept{message}"
    who = f"{one['role']} ({one['os_user']}@{one['host']})"
    took = "" if one["direction"] == "stamp" else f" in {one['seconds']:.1f} s"
    return f"{one['revision']}  {one['direction']} at {one['applied_at']} by {who}{took}{message}"
