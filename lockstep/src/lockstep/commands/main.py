"""The ``lockstep`` command: what is half done, what is kept. Migrating is Alembic's own command."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from lockstep.archive import registry as kept_things
from lockstep.commands import abandon, check, doctor, go, history, plan, rebase, snapshots, tune, watch
from lockstep.commands.init import adopt
from lockstep.commands.project import (
    ConfigFiles,
    Section,
    keep_x,
    look_at_each_database,
    on_each_database,
    one_line_errors,
)
from lockstep.commands.revisions import gone, status_of
from lockstep.commands.status import Status, archived, lines, purge
from lockstep.errors import LockstepError
from lockstep.postgres.session import transaction
from lockstep.revision.ledger import Ledger
from lockstep.steps.step import Kind

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection

    from lockstep.commands.project import Project

main = typer.Typer(
    help="What Lockstep has half done and what it keeps; `alembic upgrade` and `downgrade` do the work.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
archive = typer.Typer(help="What downgrades dropped and Lockstep keeps.", invoke_without_command=True)
main.add_typer(archive, name="archive")
main.callback(help=main.info.help)(keep_x)

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@main.command()
def init(*, config: ConfigFiles = None, name: Section = "alembic") -> None:
    """Let env.py call lockstep.run(); where it is not one of Alembic's templates, show what to write instead.

    Exit status 1 where env.py was left as it is.
    """
    with one_line_errors():
        adopt(config, name)


@main.command(name="status")
def show_status(*, config: ConfigFiles = None, name: Section = "alembic", as_json: AsJson = False) -> None:
    """Tell what is pending, whether a revision is half done, and how far it has come.

    Also for a project that has not adopted Lockstep. Exit status 3 where a revision is half done.
    """
    found: list[Status] = []

    def look(project: Project, context: MigrationContext, heads: tuple[str, ...]) -> None:
        found.append(status_of(project, context, heads))

    look_at_each_database(config, name, look)
    if as_json:
        shown = [one.to_json() for one in found]
        typer.echo(json.dumps(shown[0] if len(shown) == 1 else shown, indent=2))
    for one in found if not as_json else []:
        if len(found) > 1:
            typer.echo(f"version table {one.version_table} of database {one.database}:")
        typer.echo(f"at {', '.join(one.heads) or 'base'}")
        for head in one.unknown:
            typer.echo(gone(head))
        if one.pending:
            typer.echo(f"pending: {', '.join(one.pending)} (alembic upgrade head)")
        for line in lines(one.underway, one.kept) or ["nothing is half done"]:
            typer.echo(line)
        for entry in (entry for underway in one.underway for entry in underway.entries):
            typer.echo(f"  {entry.says}: {entry.done} of {len(entry.steps)} steps")
            for number, step in enumerate(entry.steps):
                typer.echo(f"    {'done' if number < entry.done else 'open'}  {step.description}")
    if any(one.underway for one in found):
        raise typer.Exit(3)


@archive.callback()
def show_archive(
    context: typer.Context, *, config: ConfigFiles = None, name: Section = "alembic", as_json: AsJson = False
) -> None:
    """List what is kept: revision, when, rows, size."""
    if context.invoked_subcommand:
        return
    told: list[dict[str, Any]] = []

    def read(connection: Connection, table: str, _heads: tuple[str, ...]) -> None:
        told.extend(archived(connection, table))

    on_each_database(config, name, read)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    if not told:
        typer.echo("nothing is kept")
        return
    shown = Table("revision", "what", "kept at", "rows", "size", "state", "where")
    for one in told:
        shown.add_row(
            one["revision"], one["what"], one["kept_at"], "?" if one["rows"] is None else f"{one['rows']:,}",
            decimal(one["bytes"]), one["state"], one["place"],
        )  # fmt: skip
    Console().print(shown)


_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def _age(text: str) -> timedelta:
    found = re.fullmatch(r"(\d+)\s*([mhdw])", text)
    if not found:
        raise typer.BadParameter("takes a number and m, h, d or w: 30d, say")
    return int(found[1]) * _UNITS[found[2]]


@archive.command(name="purge")
def purge_archive(
    *,
    older_than: Annotated[str, typer.Option(help="Only what was kept longer ago: 30d, 12h.")] = "0m",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigFiles = None,
    name: Section = "alembic",
) -> None:
    """Remove what is kept, for good."""
    before = datetime.now(UTC) - _age(older_than)

    def remove(connection: Connection, table: str, _heads: tuple[str, ...]) -> None:
        old = [
            kept
            for kept in kept_things.of_version_table(connection, table)
            if kept.state != "keeping" and datetime.fromisoformat(kept.kept_at) <= before
        ]
        for half_done in Ledger(table).read_all(connection):
            if any((k.version_table, k.revision) == (table, half_done.revision) for k in old):
                raise LockstepError(
                    f"the {half_done.direction} of revision {half_done.revision} is half done and may need "
                    "what is kept for it: finish it or take it back first"
                )
        if not old:
            typer.echo("nothing to remove")
            return
        for kept in old:
            typer.echo(f"{kept} of revision {kept.revision}, kept at {kept.kept_at}")
        if not yes:
            typer.confirm(f"Remove these {len(old)} for good?", abort=True)
        connection.commit()
        purge(connection.execution_options(isolation_level="AUTOCOMMIT"), old)
        typer.echo(f"removed {len(old)}")

    on_each_database(config, name, remove, changes=True)


@main.command()
def resolve(
    *,
    done: Annotated[bool, typer.Option("--done/--again", help="It was done, or is to be run again.")],
    config: ConfigFiles = None,
    name: Section = "alembic",
) -> None:
    """Say what became of a statement that was interrupted outside of any transaction."""

    def settle(connection: Connection, table: str, _heads: tuple[str, ...]) -> None:
        ledger = Ledger(table)
        half_done = ledger.read_all(connection)
        connection.commit()
        open_ones = [
            (underway, entry)
            for underway in half_done
            for entry in underway.entries
            if not entry.done and entry.steps and entry.steps[0].kind is Kind.UNKNOWN
        ]
        if not open_ones:
            typer.echo("nothing to resolve")
            return
        with transaction(connection.execution_options(isolation_level="AUTOCOMMIT")):
            for underway, entry in open_ones:
                if done:
                    ledger.write(connection, underway, entry, 1)
                else:
                    ledger.forget(connection, underway.revision, entry.key)
                typer.echo(f"{entry.says}: {'done' if done else 'will be run again'}")

    on_each_database(config, name, settle, changes=True)


abandon.register(main)
check.register(main)
doctor.register(main)
go.register(main)
history.register(main)
plan.register(main)
rebase.register(main)
snapshots.register(main)
tune.register(main)
watch.register(main)
