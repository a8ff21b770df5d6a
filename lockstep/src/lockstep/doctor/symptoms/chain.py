"""Symptoms of the chain: which revision the database is at, and which there are."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from lockstep.doctor.diagnosis import Cure, symptom
from lockstep.doctor.revisions import Operation, RevisionFile, calls_in, string

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator
    from pathlib import Path

    from lockstep.doctor.case import Case
    from lockstep.doctor.tables import Database


@symptom("cannot-locate-revision", r"Can't locate revision identified by '(?P<revision>[^']+)'")
def cannot_locate_revision(case: Case, said: re.Match[str] | None) -> Iterator[Cure]:
    """The database is at a revision that no file here is of."""
    if case.chain.unreadable:  # which revisions there are is not known
        return
    at = case.database.heads if case.database else ()
    unknown = [name for name in at if name not in case.chain.files]
    if not unknown and said and said["revision"] not in case.chain.files:
        unknown = [said["revision"]]
    for name in unknown:
        what = f"no file here is of revision {name}, which the database is at" if name in at else (
            f"no file here is of revision {name}"
        )  # fmt: skip
        if case.database and name in at and case.database.has_source(name):
            yield Cure(
                f"{what}: a newer program has migrated it, whose revisions Lockstep has kept; take it down "
                "to what is here, or run the newer program",
                "lockstep go --to head",
            )
        elif committed := _in_git(case.sources.root, name):
            commit, path = committed
            yield Cure(f"{what}; it was committed in {commit}", f'git checkout {commit} -- ":/{path}"')
        elif case.database and name in at:
            there = reached(case.database, case.chain.ordered())
            to = there[-1].revision if there else "base"
            yield Cure(
                f"{what}, nor in git. By its tables and columns the schema is that of {to}: if the file is "
                "gone for good, say so to the database",
                f"alembic stamp --purge {to}",
            )
        else:
            yield Cure(what, "alembic history", "look which there are")


def _in_git(root: Path, revision: str) -> tuple[str, str] | None:
    """The last commit that has a file of that revision, and its path in the repository."""
    if not revision.isidentifier() and not revision.replace("-", "").isalnum():
        return None
    try:
        found = subprocess.run(  # noqa: S603  # the revision was looked at above
            ["git", "log", "--all", "-1", "--diff-filter=AMR", "--format=%h", "--name-only", "--",  # noqa: S607
             f":(top,glob)**/*{revision}*.py"],
            cwd=root, capture_output=True, text=True, timeout=5, check=True,
        ).stdout.split()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return (found[0], found[1]) if len(found) > 1 else None


@symptom("multiple-heads", r"Multiple head revisions are present", r"specify a specific target revision")
def multiple_heads(case: Case, _said: re.Match[str] | None) -> Iterator[Cure]:
    """Two people wrote a revision after the same one."""
    if case.chain.unreadable:  # which revisions there are is not known
        return
    heads = case.chain.heads()
    if len(heads) > 1:
        what = f"{len(heads)} revisions have none after them: {', '.join(heads)}"
        at = case.database.heads if case.database else ()
        if len(heads) == 2 and len(at) == 1 and at[0] in heads:
            said = f"{what}; the other one can come after {at[0]}, which the database has"
            yield Cure(said, "lockstep rebase")
        else:
            yield Cure(what, 'alembic merge heads -m "merge heads"')


@symptom("not-up-to-date", r"Target database is not up to date")
def not_up_to_date(case: Case, _said: re.Match[str] | None) -> Iterator[Cure]:
    """Revisions that the database has not had: autogenerate refuses to write another."""
    if case.chain.unreadable:  # which revisions there are is not known
        return
    database = case.database
    if database is None or any(name not in case.chain.files for name in database.heads):
        return
    pending = case.pending
    if pending:
        at = ", ".join(database.heads) or "no revision yet"
        heads = case.chain.heads()
        yield Cure(
            f"the database is at {at}, {len(pending)} revision{'s' * (len(pending) > 1)} behind "
            f"{', '.join(heads)}",
            f"alembic upgrade {'heads' if len(heads) > 1 else 'head'}",
        )


@symptom("relation-already-exists", r'relation "(?P<name>[^"]+)" already exists')
def relation_already_exists(case: Case, said: re.Match[str] | None) -> Iterator[Cure]:
    """What a revision would create is there: made by create_all(), most often."""
    if case.chain.unreadable:  # which revisions there are is not known
        return
    database = case.database
    pending = case.pending
    if database is None:
        if said:
            yield Cure(f"{said['name']} is there already{_by(case)}", "alembic stamp head")
        return
    here = [
        (operation, name)
        for file in pending
        for operation in file.operations("create_table")
        if (name := operation.table) in database.relations and not _dropped_before(pending, file, name)
    ]
    if not here:
        return
    operation, name = here[0]
    what = f"{name} is there already{_by(case)}, and revision {operation.file.revision} would create it"
    if done := reached(database, pending):
        yield Cure(f"{what}; what {done[-1].revision} and those before it make is all there",
                   f"alembic stamp {done[-1].revision}")  # fmt: skip
    else:
        yield Cure(
            f"{what}; not all that it makes is there",
            f'op.create_table("{name}", …, if_not_exists=True)',
            operation.where(),
        )


def _by(case: Case) -> str:
    """Where the project's own code creates tables."""
    for source in case.sources.files:
        for call in source.calls():
            if getattr(call.func, "attr", "") == "create_all":
                return f", made by create_all() in {source}, line {call.lineno} (take that line out)"
    return ""


def _dropped_before(pending: list[RevisionFile], file: RevisionFile, table: str) -> bool:
    before = pending[: pending.index(file)]
    return any(one.table == table for each in before for one in each.operations("drop_table", "rename_table"))


def reached(database: Database, files: list[RevisionFile]) -> list[RevisionFile]:
    """The files from the first to the last one of which all is there that they and those before create."""
    done = 0
    for number, file in enumerate(files, 1):
        later = files[number:]
        made = [
            _is_there(database, operation)
            for operation in file.operations("create_table", "add_column", "create_index")
            if not _gone(later, operation)
        ]
        if not all(made):
            break
        if made:
            done = number
    return files[:done]


def _is_there(database: Database, operation: Operation) -> bool:
    if operation.name == "create_index":
        return operation.text(0, "index_name") in {"", *database.relations}
    if operation.name == "add_column":
        return (operation.table, operation.column) in database.columns
    columns = [string(c.args[0]) for c in calls_in(operation.call.args[1:], "Column") if c.args]
    return operation.table in database.relations and all(
        (operation.table, column) in database.columns for column in columns if column
    )


def _gone(later: list[RevisionFile], operation: Operation) -> bool:
    """Whether a later revision takes away what this one makes, or calls it otherwise."""
    return any(
        one.table == operation.table
        for file in later
        for one in file.operations("drop_table", "rename_table", "drop_column", "drop_index")
    ) or any(
        one.table == operation.table and any(k.arg == "new_column_name" for k in one.call.keywords)
        for file in later
        for one in file.operations("alter_column")
    )


SYMPTOMS = (cannot_locate_revision, multiple_heads, relation_already_exists, not_up_to_date)
