"""Compare the number on each post with its votes, and repair it; people go on voting meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from psycopg import errors
from psycopg.rows import class_row, scalar_row
from rich.console import Console
from rich.progress import Progress

from folkmoot.commands.schema import at_head
from folkmoot.postgres import database
from folkmoot.settings import load

if TYPE_CHECKING:
    from psycopg import Connection


def command(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Compare only; exit status 1 if any differs.")
    ] = False,
) -> None:
    """Compare the number of votes on each post with its votes, and repair it; people can vote meanwhile."""
    with database.explained():
        settings = load()
        with database.server(settings), at_head(settings) as connection:
            wrong = recount(connection, repair=not check, console=Console(stderr=True))
    for each in wrong:
        typer.echo(f"post {each.post_id}: kept {each.kept}, counted {each.counted}")
    if not wrong:
        typer.echo("exact")
    else:
        typer.echo(
            f"{len(wrong)} {'post differs' if len(wrong) == 1 else 'posts differ'}"
            + ("" if check else ", repaired")
        )
    raise typer.Exit(1 if wrong and check else 0)


#: How many posts are counted in one statement, and locked in one transaction where they are repaired.
_BATCH = 500

# One statement is one snapshot, and whoever changes a vote changes the number in the same transaction: so
# this compares exactly, without a lock.
_COMPARE = """
    SELECT p.id AS post_id, r.votes AS kept, coalesce(v.n, 0) AS counted
      FROM (SELECT id FROM posts WHERE id > %(after)s ORDER BY id LIMIT %(batch)s) AS p
      LEFT JOIN post_ranks AS r ON r.post_id = p.id
      LEFT JOIN LATERAL (SELECT count(*)::integer AS n FROM votes WHERE post_id = p.id) AS v ON TRUE
     ORDER BY p.id
"""
# An UPDATE of the document is what makes the database rank a post that has no rank.
_RANK = """
    UPDATE posts AS p SET document = post_document(title, content)
     WHERE id = ANY (%(posts)s) AND NOT EXISTS (SELECT FROM post_ranks WHERE post_id = p.id)
"""
# First the locks and then, in a statement of its own, the count: it has to see what those committed for whom
# the locks waited.
_LOCK = "SELECT FROM post_ranks WHERE post_id = ANY (%(posts)s) ORDER BY post_id FOR NO KEY UPDATE"
_REPAIR = """
    UPDATE post_ranks AS r
       SET votes = c.n,
           fell = CASE WHEN c.n < r.votes THEN pg_current_xact_id()::text::bigint ELSE r.fell END
      FROM unnest(%(posts)s::bigint[]) AS wanted (id)
     CROSS JOIN LATERAL (SELECT count(*)::integer AS n FROM votes WHERE post_id = wanted.id) AS c
     WHERE r.post_id = wanted.id AND r.votes <> c.n
"""


@dataclass(frozen=True, slots=True)
class Count:
    """The number on a post, and how many votes it has."""

    post_id: int
    #: None where the post has no rank at all.
    kept: int | None
    counted: int


def recount(connection: Connection, *, repair: bool, console: Console | None = None) -> list[Count]:
    """Compare every post's number with its votes, and return those that differed.

    Without ``repair`` nothing is locked or written. With it, the ranks of the posts that differ are locked,
    at most 500 in a transaction, for as long as it takes to count them. ``connection`` is in autocommit mode.
    """
    wrong: list[Count] = []
    total = connection.cursor(row_factory=scalar_row).execute("SELECT count(*) FROM posts").fetchone()
    counts = connection.cursor(row_factory=class_row(Count))
    with Progress(console=console) as progress:
        task = progress.add_task("posts", total=total)
        after = -(2**63)
        while compared := counts.execute(_COMPARE, {"after": after, "batch": _BATCH}).fetchall():
            batch = [each for each in compared if each.kept != each.counted]
            if batch and repair:
                _repair(connection, [each.post_id for each in batch])
            wrong += batch
            after = compared[-1].post_id
            progress.update(task, advance=len(compared))
    return wrong


def _repair(connection: Connection, posts: list[int]) -> None:
    while True:
        try:
            with connection.transaction():
                for statement in (_RANK, _LOCK, _REPAIR):
                    connection.execute(statement.encode(), {"posts": posts})
        except errors.DeadlockDetected:
            continue
        return
