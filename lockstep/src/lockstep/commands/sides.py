"""The catalogs that commands compare: a project's snapshots, and its database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import produce_migrations
from alembic.util import CommandError

from lockstep.commands.model_differences import serials_known, told
from lockstep.commands.project import in_silence
from lockstep.commands.revisions import gone
from lockstep.commands.status import UNDERWAY_QUERY
from lockstep.errors import LockstepError
from lockstep.postgres.catalog import rows, scalar
from lockstep.snapshot.read import matches, read
from lockstep.snapshot.text import from_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy.engine import Connection

    from lockstep.commands.project import Project
    from lockstep.snapshot.text import Snapshot


class Files:
    """The snapshots of a project: ``snapshots/REVISION.txt`` beside its env.py."""

    def __init__(self, script: ScriptDirectory) -> None:
        self.folder = Path(script.dir, "snapshots")
        self._script = script

    def path(self, revision: str) -> Path:
        return self.folder / f"{revision}.txt"

    def read(self, revision: str) -> Snapshot:
        path = self.path(revision)
        try:
            return from_text(path.read_text(encoding="utf-8"), shown(path))
        except FileNotFoundError:
            if revision not in {one.revision for one in self._script.walk_revisions()}:
                raise LockstepError(gone(revision)) from None
            raise LockstepError(
                f"revision {revision} has no snapshot ({shown(path)}): `lockstep snapshot` writes it"
            ) from None

    def revisions(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.txt"))


def shown(path: Path) -> str:
    path = path.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def listed(project: Project, option: str) -> list[str]:
    """What an option of Alembic's configuration names, separated by commas."""
    configured = str(project.config.get_alembic_option(option) or "")
    return [each.strip() for each in configured.split(",") if each.strip()]


def all_ignored(project: Project, asked: list[str] | None) -> list[str]:
    return [*(asked or []), *listed(project, "lockstep_ignore")]


@dataclass(frozen=True)
class Live:
    """The database that env.py connects to, as it is."""

    heads: tuple[str, ...]
    catalog: Snapshot
    models: list[str] | None
    """What is other in the models, a line each; None where env.py gives no target_metadata."""
    half_done: list[str]
    """The revisions of which Lockstep has done a part, a line each; none where the role may not see it."""


def live(project: Project, ignored: Sequence[str], *, models: bool = False) -> Live:
    """Read the database of the project; nothing is written."""
    found: list[Live] = []

    def look(heads: Any, context: MigrationContext) -> list[Any]:
        connection = context.connection
        if connection is None:
            raise LockstepError("env.py gives no connection to context.configure()")
        catalog = read(connection, context.version_table, context.version_table_schema, ignored)
        metadata = context.opts.get("target_metadata")
        lines = None
        if models and metadata is not None:
            with serials_known(connection):
                lines = told(produce_migrations(context, metadata))
        found.append(Live(tuple(heads), catalog, lines, _half_done(connection)))
        return []

    with in_silence():
        project.run(look, dont_mutate=True)
    if len(found) != 1:
        raise LockstepError(
            f"{project.env} migrates {len(found)} databases or schemas; this command is for one: let it "
            "migrate one of them where `lockstep -x …` says so"
        )
    return found[0]


def _half_done(connection: Connection) -> list[str]:
    may = "has_table_privilege(to_regclass('lockstep.revision'), 'SELECT')"
    if not scalar(connection, f"SELECT has_schema_privilege(to_regnamespace('lockstep'), 'USAGE') AND {may}"):
        return []
    return [
        f"the {row.direction} of revision {row.revision} is half done: see `lockstep status`"
        for row in rows(connection, UNDERWAY_QUERY)
    ]


def heads_of(found: Live) -> list[str]:
    if not found.heads:
        raise LockstepError(
            "the database is at no revision: `alembic upgrade head`, or `lockstep adopt` if it has a schema"
        )
    return sorted(found.heads)


def side_of(project: Project, files: Files, name: str, ignored: Sequence[str]) -> Snapshot:
    """What a name stands for: ``live``, or a revision as Alembic takes it (head, a part of its id)."""
    if name == "live":
        return live(project, ignored).catalog
    try:
        revision = project.script.get_revision(name)
    except CommandError as error:
        raise LockstepError(f"{error}; or `live`, which is the database") from error
    if revision is None:
        raise LockstepError(f"{name} is no revision; or `live`, which is the database")
    return without(files.read(revision.revision), ignored)


def without(snapshot: Snapshot, ignored: Sequence[str]) -> Snapshot:
    return snapshot.without(lambda name: matches(ignored, name))
