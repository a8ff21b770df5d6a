"""``lockstep abandon``: give a half-done revision up, when neither way on is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lockstep.archive import guard, registry
from lockstep.commands.project import ConfigFiles, Section, on_each_database
from lockstep.errors import LockstepError
from lockstep.postgres.session import execute
from lockstep.revision.ledger import ARCHIVE_SCHEMA, Ledger
from lockstep.revision.undo import begun, private, take_private_back
from lockstep.steps.locks import brief
from lockstep.steps.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

    from lockstep.revision.ledger import Entry, Underway
    from lockstep.steps.step import Step

#: With what a statement begins that changes the schema, rather than what is kept of it.
_DEFINES = ("ALTER ", "COMMENT ", "CREATE ", "DROP ")


def what_stays(underway: Underway) -> Iterator[str]:
    """What the half-done revision has done, and what of it may have been begun, in a line each."""
    for entry in underway.entries:
        stays = _stays(entry)
        if not stays:
            continue
        done = sum(number < entry.done for number, _ in stays)
        yield f"  {entry.says}: {'done' if entry.finished else f'{done} of {len(entry.steps)} steps done'}"
        for number, step in stays:
            if number >= entry.done:
                yield f"    may have been begun: {step.description}"


def _stays(entry: Entry) -> list[tuple[int, Step]]:
    """The steps that were begun, the last one first, without those that are taken back."""
    return begun(entry)[len(private(entry)) :]


def what_goes(underway: Underway) -> Iterator[str]:
    """The operations of which something is taken back, in a line each."""
    for entry in underway.entries:
        if private(entry):
            yield f"  {entry.says}: what Lockstep has built for it so far, which nothing uses yet"


def what_takes_it_away(underway: Underway) -> Iterator[str]:
    """The SQL that takes it away, the last step first; what was written since is not kept by it."""
    for entry in sorted(underway.entries, key=lambda one: -one.position):
        for _, step in _stays(entry):
            if step.undo is None:  # and what came before it is not there any more as it was
                yield f"  -- {step.description}: cannot be taken back"
                break
            yield f"  -- {step.description}"
            for statement in step.undo:
                if statement.startswith(_DEFINES) and ARCHIVE_SCHEMA not in statement:
                    yield f"  {statement.strip()};"


def register(main: typer.Typer) -> None:
    """Add the command."""

    @main.command()
    def abandon(
        revision: Annotated[str, typer.Argument(help="Which one, where several are half done.")] = "",
        *,
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
        config: ConfigFiles = None,
        name: Section = "alembic",
    ) -> None:
        """Forget a half-done revision: what it did stays in the database, the version stays the old one.

        What Lockstep has built for an operation that is not finished goes. The last resort: `alembic
        upgrade` goes on with it, `alembic downgrade` takes it back.
        """

        def forget(connection: Connection, version_table: str, heads: tuple[str, ...]) -> None:
            ledger = Ledger(version_table)
            half_done = ledger.read_all(connection)
            connection.commit()
            chosen = [one for one in half_done if revision in {"", one.revision}]
            if revision and not chosen:
                raise LockstepError(f"revision {revision} is not half done; `lockstep status` shows what is")
            if not chosen:
                typer.echo("nothing is half done")
                return
            if len(chosen) > 1:
                raise LockstepError(f"say which one: {', '.join(one.revision for one in chosen)}")
            underway = chosen[0]
            typer.echo(f"The {underway.direction} of revision {underway.revision} is half done. What stays:")
            for line in list(what_stays(underway)) or ["  nothing"]:
                typer.echo(line)
            if goes := list(what_goes(underway)):
                typer.echo("What is taken away now:")
                for line in goes:
                    typer.echo(line)
            typer.echo(
                f"The database stays at {', '.join(heads) or 'base'}; what stays of the revision is yours to "
                "take away or to keep before it is run again."
            )
            if underway.direction == "upgrade" and (away := list(what_takes_it_away(underway))):
                typer.echo("In SQL, what takes it away is:")
                for line in away:
                    typer.echo(line)
            if not yes:
                typer.confirm("Forget that it is half done?", abort=True)
            let_go = [
                *guard.let_go(connection, version_table, underway.revision),
                *registry.given_up(connection, version_table, underway.revision),
            ]
            connection.commit()

            def work() -> None:
                for statement in let_go:
                    execute(connection, statement)
                ledger.finish(connection, underway.revision)

            connection.execution_options(isolation_level="AUTOCOMMIT")
            take_private_back(connection, Pace(), ledger, underway)
            brief(connection, Pace(), f"giving up revision {underway.revision}", work)
            typer.echo("forgotten")

        on_each_database(config, name, forget, changes=True)
