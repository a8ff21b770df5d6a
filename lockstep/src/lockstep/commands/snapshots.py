"""``lockstep snapshot``, ``verify``, ``adopt``, ``show`` and ``diff``: the catalog as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from alembic import command

from lockstep.commands import together
from lockstep.commands.checks import stale
from lockstep.commands.project import ConfigFiles, Project, Section, look_at_each_database, one_line_errors
from lockstep.commands.sides import Files, all_ignored, heads_of, live, shown, side_of, without
from lockstep.commands.trial import Trial
from lockstep.errors import LockstepError
from lockstep.snapshot import tables
from lockstep.snapshot.differences import differences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alembic.runtime.migration import MigrationContext

    from lockstep.commands.checks import Stale
    from lockstep.snapshot.differences import Difference
    from lockstep.snapshot.tables import Table

#: Exit statuses: as it should be; something is other; could not tell.
SAME, OTHER, UNKNOWN = 0, 1, 2

Ignored = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        help="A pattern of what to leave out: 'table public.tmp_*', or 'table public.posts: index *'. "
        "Alembic's option lockstep_ignore adds more, separated by commas.",
    ),
]
Server = Annotated[
    str | None,
    typer.Option(help="A database on whose server to try revisions, or `embedded`; else the project's own."),
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


def _print(found: Sequence[Difference], *, statements: bool = True) -> None:
    for one in found:
        typer.echo(str(one))
        if statements and one.statement:
            first, *more = one.statement.split("\n")
            typer.echo(f"    {first}{' …' if more else ''}")


def register(main: typer.Typer) -> None:
    """Add the commands."""
    main.command()(snapshot)
    main.command()(verify)
    main.command(name="adopt")(adopt_schema)
    main.command()(show)
    main.command()(diff)


def snapshot(
    *,
    only_check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit status 1 where a file is missing or stale.")
    ] = False,
    server: Server = None,
    ignore: Ignored = None,
    config: ConfigFiles = None,
    name: Section = "alembic",
) -> None:
    """Write a file for each revision with the schema after it: snapshots/REVISION.txt, beside env.py.

    The revisions run in a database made for it, on the project's server (the role needs CREATEDB) or on the
    embedded one. Exit status 2 where they could not.
    """
    with one_line_errors():
        project = Project(config, name)
        files = Files(project.script)
        with Trial(project, server, all_ignored(project, ignore)) as trial:
            wrong = stale(trial, files)
        for one in wrong:
            typer.echo(f"{one}" if only_check else _written(files, one))
    if not wrong:
        typer.echo(f"{len(files.revisions())} snapshots are as the revisions are")
    if only_check and wrong:
        raise typer.Exit(OTHER)


def _written(files: Files, one: Stale) -> str:
    """Bring a file up to date; what was done."""
    if one.text is None:
        one.path.unlink()
        return f"{shown(one.path)} is of no revision: removed"
    done = "rewrote" if one.path.exists() else "wrote"
    files.folder.mkdir(exist_ok=True)
    one.path.write_text(one.text, encoding="utf-8")
    return f"{done} {shown(one.path)}"


def verify(
    *,
    as_json: AsJson = False,
    models: Annotated[bool, typer.Option(help="Compare with the models, too.")] = True,
    ignore: Ignored = None,
    config: ConfigFiles = None,
    name: Section = "alembic",
) -> None:
    """Compare the database with the snapshot of the revision it is at, and with the models.

    Each difference is a line, with the statement that would undo it. The database is only read. Exit status 1
    where something differs, 2 where it could not be told.
    """
    with one_line_errors():
        project = Project(config, name)
        ignored = all_ignored(project, ignore)
        found = live(project, ignored, models=models)
        heads = heads_of(found)
        expected = without(together.expected(project, Files(project.script), heads), ignored)
        other = differences(found.catalog, expected)
    revision = ", ".join(heads)
    if as_json:
        shown = {
            "revision": revision,
            "differences": [one.to_json() for one in other],
            "models": found.models,
            "half_done": found.half_done,
        }
        typer.echo(json.dumps(shown, indent=2))
    else:
        _print(other)
        for line in found.half_done:
            typer.echo(line)
        for line in found.models or []:
            typer.echo(f"models: {line}")
        if other:
            typer.echo(
                f"{len(other)} differences from the snapshot of revision {revision}. The statements make the "
                "database what it says; where the database is right, put the change into a revision."
            )
        if found.models:
            typer.echo("The models differ: `alembic revision --autogenerate` writes a revision for it.")
        if not other and not found.models and not found.half_done:
            typer.echo(f"the database is what revision {revision} says")
    if other or found.models or found.half_done:
        raise typer.Exit(OTHER)


def adopt_schema(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Stamp it without asking.")] = False,
    ignore: Ignored = None,
    config: ConfigFiles = None,
    name: Section = "alembic",
) -> None:
    """Find the revision whose snapshot the database equals, and offer to stamp it.

    For a database with a schema and without a version, or with a wrong one. Exit status 1 where no revision
    is equal: what differs from the nearest one is told.
    """
    with one_line_errors():
        project = Project(config, name)
        ignored = all_ignored(project, ignore)
        found = live(project, ignored)
        files = Files(project.script)
        revisions = [r.revision for r in project.script.walk_revisions()]
        other = {
            revision: differences(found.catalog, without(files.read(revision), ignored))
            for revision in revisions
            if files.path(revision).exists()
        }
        if not other:
            raise LockstepError("there are no snapshots: `lockstep snapshot` writes them")
        nearest = min(other, key=lambda revision: len(other[revision]))
        if not other[nearest]:
            same = [revision for revision in other if not other[revision]]
            typer.echo(f"the database is revision {nearest}")
            for further in same[1:]:
                typer.echo(f"it is revision {further} as well, which changes nothing that is in a catalog")
            if found.heads == (nearest,):
                typer.echo("and stamped with it")
            elif yes or _agreed(nearest):
                command.stamp(project.config, nearest, purge=bool(found.heads))
            return
    typer.echo(f"no revision's snapshot is equal; revision {nearest} is the nearest:")
    _print(other[nearest])
    raise typer.Exit(OTHER)


def _agreed(revision: str) -> bool:
    try:
        return typer.confirm(f"alembic stamp {revision}?")
    except typer.Abort:  # nobody is there to be asked
        typer.echo("\nnot stamped: `lockstep adopt --yes` does it without asking")
        return False


def show(
    table: Annotated[str | None, typer.Argument(help="A table, type, function …; all where none.")] = None,
    *,
    at: Annotated[str, typer.Option(help="A revision, from its snapshot; else the database.")] = "live",
    as_json: Annotated[
        bool, typer.Option("--json", help="The tables of the database, with sizes, for programs.")
    ] = False,
    ignore: Ignored = None,
    config: ConfigFiles = None,
    name: Section = "alembic",
) -> None:
    """Show the schema: columns, constraints, indexes, triggers, policies, grants."""
    if as_json:
        _show_as_data(table, at, config, name)
        return
    with one_line_errors():
        project = Project(config, name)
        found = side_of(project, Files(project.script), at, all_ignored(project, ignore))
        if table is not None:
            found = found.without(lambda each: ": " not in each and not _is_of(each, table))
            if not found.objects:
                raise LockstepError(f"there is no {table}; `lockstep show` shows all that there is")
    typer.echo("\n".join(found.lines()).lstrip("\n"))


def _show_as_data(table: str | None, at: str, config: list[str] | None, name: str) -> None:
    found: list[Table] = []

    def look(_project: Project, context: MigrationContext, _heads: tuple[str, ...]) -> None:
        if at != "live":
            raise LockstepError("--json shows the database alone: `lockstep show --at` is without it")
        if context.connection is not None:
            found.extend(tables.read(context.connection, context.version_table, context.version_table_schema))
        if table is not None and not any(_is_of(f"{one.schema}.{one.name}", table) for one in found):
            raise LockstepError(
                f"there is no {table}; `lockstep show --json` shows all tables that there are"
            )

    look_at_each_database(config, name, look)
    shown = [one.to_json() for one in found if table is None or _is_of(f"{one.schema}.{one.name}", table)]
    typer.echo(json.dumps(shown, indent=2))


def _is_of(name: str, asked: str) -> bool:
    """Whether an object is meant by a name with or without its schema and kind."""
    bare = name.partition("(")[0].rpartition(" ")[2]
    return asked in {name, bare, bare.rpartition(".")[2], bare.rpartition(".")[2].strip('"')}


def diff(
    old: Annotated[str, typer.Argument(help="A revision, or `live`.")],
    new: Annotated[str, typer.Argument(help="A revision, or `live`.")] = "live",
    *,
    as_json: AsJson = False,
    ignore: Ignored = None,
    config: ConfigFiles = None,
    name: Section = "alembic",
) -> None:
    """Tell what is other in one revision than in another, or in the database; exit status 1 where it is."""
    with one_line_errors():
        project = Project(config, name)
        files, ignored = Files(project.script), all_ignored(project, ignore)
        other = differences(*(side_of(project, files, side, ignored) for side in (old, new)))
    if as_json:
        typer.echo(json.dumps([one.to_json() for one in other], indent=2))
    else:
        for one in other:
            typer.echo(one.as_change())
    if other:
        raise typer.Exit(OTHER)
