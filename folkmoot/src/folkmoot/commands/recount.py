"""Compare the numbers that are kept with what they count, and repair them; people go on meanwhile."""

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
    """Compare the numbers of votes and comments with these, and repair them; people can go on meanwhile."""
    with database.explained():
        settings = load()
        with database.server(settings), at_head(settings) as connection:
            wrong = recount(connection, repair=not check, console=Console(stderr=True))
    for each in wrong:
        typer.echo(each)
    if not wrong:
        typer.echo("exact")
    else:
        typer.echo(
            f"{len(wrong)} {'number differs' if len(wrong) == 1 else 'numbers differ'}"
            + ("" if check else ", repaired")
        )
    raise typer.Exit(1 if wrong and check else 0)


#: How many are counted in one statement, and locked in one transaction where they are repaired.
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Count:
    """A number on a post or a comment, and how many there are."""

    post_id: int
    #: None where the post has no rank at all.
    kept: int | None
    counted: int
    of: str = "votes"
    comment_id: int | None = None

    def __str__(self) -> str:
        where = f"post {self.post_id}" if self.comment_id is None else f"comment {self.comment_id}"
        return f"{where}: kept {self.kept}, counted {self.counted} {self.of}"


@dataclass(frozen=True, slots=True)
class _Number:
    """A number that is kept in a table `r`, for what is listed as `k`."""

    of: str
    #: What has one, in the order of its key and after one: `post_id`, `comment_id`, and the number as `kept`.
    listed: str
    #: What is counted for one of those.
    counted: str
    table: str
    #: Which row of the table is that of `k`.
    same: str
    #: Locks the rows of the `posts` and `comments` that are repaired.
    lock: str
    #: What else changes with the number.
    also: str = ""

    def compare(self) -> str:
        """One statement is one snapshot, and whoever changes what is counted changes the number in the same
        transaction: so this compares exactly, without a lock.
        """
        return f"""
            SELECT k.post_id, k.kept, c.counted, '{self.of}' AS of, k.comment_id
              FROM ({self.listed} LIMIT %(batch)s) AS k
             CROSS JOIN LATERAL (SELECT count(*)::integer AS counted FROM {self.counted}) AS c
             ORDER BY k.post_id, k.comment_id
        """

    def repair(self) -> str:
        return f"""
            UPDATE {self.table} AS r SET {self.of} = c.counted{self.also}
              FROM unnest(%(posts)s::bigint[], %(comments)s::bigint[]) AS k (post_id, comment_id)
             CROSS JOIN LATERAL (SELECT count(*)::integer AS counted FROM {self.counted}) AS c
             WHERE {self.same} AND r.{self.of} <> c.counted
        """


def _of_posts(of: str, counted: str, also: str = "") -> _Number:
    return _Number(
        of,
        f"""SELECT p.id AS post_id, NULL::bigint AS comment_id, r.{of} AS kept
              FROM posts AS p LEFT JOIN post_ranks AS r ON r.post_id = p.id
             WHERE p.id > %(post)s ORDER BY p.id""",
        counted,
        "post_ranks",
        "r.post_id = k.post_id",
        "SELECT FROM post_ranks WHERE post_id = ANY (%(posts)s) ORDER BY post_id FOR NO KEY UPDATE",
        also,
    )


_NUMBERS = (
    _of_posts(
        "votes",
        "votes AS v WHERE v.post_id = k.post_id",
        # A reader who pages through an order by votes has to know of fewer.
        """, fell = CASE WHEN c.counted < r.votes THEN pg_current_xact_id()::text::bigint ELSE r.fell END""",
    ),
    _of_posts("comments", "comments AS c WHERE c.post_id = k.post_id AND c.owner_id IS NOT NULL"),
    _Number(
        "votes",
        """SELECT post_id, id AS comment_id, votes AS kept FROM comments
            WHERE (post_id, id) > (%(post)s, %(comment)s) ORDER BY post_id, id""",
        "comment_votes AS v WHERE v.post_id = k.post_id AND v.comment_id = k.comment_id",
        "comments",
        "r.post_id = k.post_id AND r.id = k.comment_id",
        """SELECT FROM comments
            WHERE (post_id, id) IN (SELECT * FROM unnest(%(posts)s::bigint[], %(comments)s::bigint[]))
            ORDER BY post_id, id FOR NO KEY UPDATE""",
    ),
)
# An UPDATE of the document is what makes the database rank a post that has no rank.
_RANK = """
    UPDATE posts AS p SET document = post_document(title, content)
     WHERE id = ANY (%(posts)s) AND NOT EXISTS (SELECT FROM post_ranks WHERE post_id = p.id)
"""


def recount(connection: Connection, *, repair: bool, console: Console | None = None) -> list[Count]:
    """Compare every number of votes and comments with these, and return those that differed.

    Without ``repair`` nothing is locked or written. With it, what the numbers that differ stand on is locked,
    at most 500 in a transaction, for as long as it takes to count. ``connection`` is in autocommit mode.
    """
    wrong: list[Count] = []
    counts = connection.cursor(row_factory=class_row(Count))
    with Progress(console=console) as progress:
        for number in _NUMBERS:
            place = "posts" if number.table == "post_ranks" else "comments"
            task = progress.add_task(f"{number.of} of {place}", total=_total(connection, place))
            after = {"post": -(2**63), "comment": -(2**63)}
            statement = number.compare().encode()
            while compared := counts.execute(statement, {**after, "batch": _BATCH}).fetchall():
                batch = [each for each in compared if each.kept != each.counted]
                if batch and repair:
                    _repair(connection, number, batch)
                wrong += batch
                after = {"post": compared[-1].post_id, "comment": compared[-1].comment_id or 0}
                progress.update(task, advance=len(compared))
    return wrong


def _total(connection: Connection, table: str) -> int | None:
    values = connection.cursor(row_factory=scalar_row)
    return values.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()


def _repair(connection: Connection, number: _Number, wrong: list[Count]) -> None:
    """First the locks and then, in a statement of its own, the count: it has to see what those committed for
    whom the locks waited.
    """
    rows = {"posts": [each.post_id for each in wrong], "comments": [each.comment_id for each in wrong]}
    while True:
        try:
            with connection.transaction():
                for statement in (_RANK, number.lock, number.repair()):
                    connection.execute(statement.encode(), rows)
        except errors.DeadlockDetected:
            continue
        return
