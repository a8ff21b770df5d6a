"""``lockstep plan``: what a migration would do to this database, found by running it elsewhere."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import sqlalchemy as sa
import typer

from lockstep import private_names
from lockstep.commands import plan_text
from lockstep.commands.project import ConfigFiles, Project, Section, in_silence, one_line_errors
from lockstep.commands.rehearsal import Rehearsal
from lockstep.commands.revisions import gone, unknown
from lockstep.commands.scratch_database import connection_of, over_psycopg
from lockstep.errors import LockstepError
from lockstep.plan import signed, sources
from lockstep.plan import target as targets
from lockstep.plan.data import findings
from lockstep.plan.estimates import estimates
from lockstep.plan.obstacles import obstacles
from lockstep.plan.plan import Plan, PlannedRevision, names
from lockstep.plan.sarif import as_sarif
from lockstep.postgres.catalog import scalar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection

    from lockstep.plan.estimates import Estimate
    from lockstep.plan.finding import Finding
    from lockstep.plan.obstacles import Obstacle
    from lockstep.plan.operation import PlannedOperation
    from lockstep.plan.target import Target

#: Exit statuses: nobody waits; somebody does, or something is to be feared; could not tell.
SAFE, UNSAFE, UNKNOWN = 0, 1, 2


def register(main: typer.Typer) -> None:
    """Add the command."""
    # `-1` is a target, as it is for `alembic downgrade`.
    main.command(context_settings={"ignore_unknown_options": True})(plan)


def plan(
    to: Annotated[
        str, typer.Argument(metavar="TARGET", help="As for alembic: head, base, a revision, +1, -1.")
    ] = "head",
    *,
    plain: Annotated[bool, typer.Option("--plain", help="Plain Alembic and Lockstep side by side.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    as_sql: Annotated[bool, typer.Option("--sql", help="The statements of plain Alembic.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a comment on a pull request.")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="How long it takes, from samples of the rows. Takes a while.")
    ] = False,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write it to one file of HTML, for a ticket.")
    ] = None,
    sarif: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the hazards as SARIF, for code scanning.")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help=f"A hazard that is accepted: {', '.join(names())}.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(help="A database on whose server to rehearse, or `embedded`; else the project's own."),
    ] = None,
    keep: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the plan, for `alembic -x plan=FILE upgrade`.")
    ] = None,
    config: ConfigFiles = None,
    name: Section = "alembic",
) -> None:
    """Tell what upgrading or downgrading this database to TARGET would lock, rewrite, lose and break.

    The revisions run in a database made for it, on the project's server (the role needs CREATEDB) or on the
    embedded one; this one is only read. Exit status 1 where somebody would wait or a hazard is not allowed,
    2 where it could not be told.
    """
    with one_line_errors():
        if unknown := sorted({*(allow or ())} - {*names()}):
            raise LockstepError(f"--allow {unknown[0]}: there is {', '.join(names())}")
        found = planned(Project(config, name), to, server, allow or [], estimate=estimate)
        if keep is not None:
            signed.keep(found, keep)
        if html is not None:
            _write(html, plan_text.html(found, plain=plain))
        if sarif is not None:
            _write(sarif, json.dumps(as_sarif(found, Path.cwd()), indent=2))
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
    elif as_sql:
        typer.echo(plan_text.sql(found))
    elif markdown:
        typer.echo(plan_text.markdown(found))
    else:
        plan_text.show(found, plain=plain)
    if not found.is_safe:
        raise typer.Exit(UNSAFE)


def _write(file: str, text: str) -> None:
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise LockstepError(f"{file} cannot be written: {error.strerror}") from error


def planned(
    project: Project, to: str, server: str | None, allowed: list[str], *, estimate: bool = False
) -> Plan:
    """Look at the target, and rehearse what would run."""
    target, shapes = _target(project)
    project.load()  # only now: env.py may say where to find what the revisions import
    for name in unknown(project.script, target.heads):
        raise LockstepError(gone(name))
    direction = direction_of(project, to, target.heads)
    steps = _steps(project, direction, to, target.heads)
    end = tuple(sorted(_after(target.heads, steps)))
    revisions = revisions_of(steps)
    if not steps:
        return Plan(target, direction, end, revisions, False, [], [], allowed)  # noqa: FBT003
    with Rehearsal(project, server, target) as rehearsal:
        rehearsal.prepare()
        with sources.opened(project.root) as opened:
            with_lockstep = rehearsal.with_lockstep(direction, to)
            plain = rehearsal.plain(direction, to)
        in_the_data, in_the_way = _asked(project, plain)
        estimated = _estimated(project, rehearsal, plain) if estimate else []
    files = sources.imported([one.path for one in revisions], project.root) | opened
    beside = files - {Path(one.path).absolute() for one in revisions}
    return Plan(
        target, direction, end, revisions, rehearsal.adopted, plain, with_lockstep, allowed,
        in_the_data, in_the_way, estimated, sources.hashes(beside, project.script.dir), shapes,
    )  # fmt: skip


def revisions_of(steps: Sequence[Any]) -> list[PlannedRevision]:
    """The revisions of Alembic's steps."""
    return [
        PlannedRevision(
            step.revision.revision,
            step.revision.doc or "",
            sources.file_hash(step.revision.path),
            step.revision.path,
        )
        for step in steps
    ]


def _estimated(
    project: Project, rehearsal: Rehearsal, operations: Sequence[PlannedOperation]
) -> list[Estimate]:
    """What the statements would take: tried on samples of the target's rows in the scratch database."""
    found: list[Estimate] = []

    with rehearsal.connection() as scratch:

        def look(_heads: Any, context: MigrationContext) -> list[Any]:
            with _over_psycopg(connection_of(context)) as connection:
                found.extend(estimates(connection, operations, scratch))
            return []

        with in_silence():
            project.run(look, dont_mutate=True)
    return found


def _asked(project: Project, operations: Sequence[PlannedOperation]) -> tuple[list[Finding], list[Obstacle]]:
    """What the target's rows say of the operations, and what is in their way now. It is only read."""
    found: list[tuple[list[Finding], list[Obstacle]]] = []
    tables = dict.fromkeys(
        lock.table
        for operation in operations
        for effect in operation.effects
        for lock in effect.locks
        if lock.blocks_writes
    )

    def look(_heads: Any, context: MigrationContext) -> list[Any]:
        theirs = connection_of(context)
        with _over_psycopg(theirs) as connection:
            ask(connection, context)
        return []

    def ask(connection: Connection, context: MigrationContext) -> None:
        schema = context.version_table_schema or scalar(connection, "SELECT current_schema()")
        version_table = f"{schema}.{context.version_table}"
        in_the_data = findings(connection, operations)
        found.append((in_the_data, obstacles(connection, list(tables), version_table=version_table)))

    with in_silence():
        project.run(look, dont_mutate=True)
    return found[0]


@contextmanager
def _over_psycopg(connection: Connection) -> Iterator[Connection]:
    """The same database over psycopg, where env.py connects over another driver."""
    if connection.dialect.driver == "psycopg":
        yield connection
        return
    url = over_psycopg(connection.engine.url)
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as another:
        yield another


def _target(project: Project) -> tuple[Target, dict[str, str]]:
    """The target, and how its tables are made."""
    found: list[tuple[Target, dict[str, str]]] = []

    def look(heads: Any, context: MigrationContext) -> list[Any]:
        connection = connection_of(context)
        shapes = signed.shapes(connection, context.version_table, context.version_table_schema)
        found.append((targets.read(connection, tuple(heads)), shapes))
        return []

    with in_silence():
        project.run(look, dont_mutate=True)
    if len(found) != 1:
        raise LockstepError(
            f"{project.env} migrates {len(found)} databases or schemas; a plan is for one: let it migrate "
            "one of them where `lockstep -x …` says so"
        )
    return found[0]


def direction_of(project: Project, to: str, heads: tuple[str, ...]) -> str:
    """Down where the target is below what the database is at."""
    if to.endswith("base") or re.search(r"-\d+$", to):
        return "downgrade"
    if to.startswith("+") or not heads:
        return "upgrade"
    named = to.partition("+")[0]
    wanted = {one.revision for one in project.script.get_revisions(named)}
    below = {
        one.revision
        for head in heads
        for one in project.script.iterate_revisions(head, "base")
        if one.revision not in heads
    }
    return "downgrade" if wanted and wanted <= below else "upgrade"


def _steps(project: Project, direction: str, to: str, heads: tuple[str, ...]) -> list[Any]:
    find = private_names.upgrade_steps if direction == "upgrade" else private_names.downgrade_steps
    return list(find(project.script, to, heads))


def _after(heads: tuple[str, ...], steps: list[Any]) -> set[str]:
    """The revisions that the database is at when the steps are done."""
    now = set(heads)
    for step in steps:
        below = step.revision.down_revision or ()
        parents = {below} if isinstance(below, str) else set(below)
        here = {step.revision.revision}
        now = (now - parents) | here if step.is_upgrade else (now - here) | parents
    return now
