"""Made-up people, posts, comments and votes, to play with and to measure on: the same for the same seed."""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Annotated, LiteralString

import typer
from psycopg import sql
from psycopg.rows import scalar_row
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from folkmoot.commands import made_up
from folkmoot.commands.made_up import Amounts
from folkmoot.commands.schema import at_head
from folkmoot.people.passwords import HASHER
from folkmoot.postgres import database
from folkmoot.settings import SettingsError, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg import Connection


def command(
    *,
    users: Annotated[int, typer.Option(help="How many people to make.")] = 2_000,
    posts: Annotated[int, typer.Option(help="How many posts to make.")] = 10_000,
    votes: Annotated[int, typer.Option(help="How many votes to make.")] = 100_000,
    comments: Annotated[int, typer.Option(help="How many comments to make.")] = 50_000,
    number: Annotated[int, typer.Option("--seed", help="The same number makes the same data.")] = 1,
    password: Annotated[
        str | None, typer.Option(help="What all of them log in with; without it nobody can.")
    ] = None,
) -> None:
    """Add made-up people, posts, comments and votes to the database."""
    with database.explained():
        try:
            amounts = Amounts(users, posts, votes, comments)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        settings = load()
        with database.server(settings), at_head(settings) as connection:
            hashed = {"password_hash": HASHER.hash(password)} if password else {}
            seed(connection, amounts, number=number, console=Console(stderr=True), **hashed)
            emails = connection.cursor(row_factory=scalar_row)
            who = emails.execute("SELECT email FROM users ORDER BY id DESC LIMIT 1").fetchone()
    if password and who:
        typer.echo(f"Log in as {who}, for one.")


#: How many votes go into one COPY, and with it into one run of what counts them.
_CHUNK = 100_000


def seed(
    connection: Connection,
    amounts: Amounts,
    *,
    number: int = 1,
    password_hash: str = "!",  # noqa: S107 - a hash that no password has
    console: Console | None = None,
) -> None:
    """Add people, their posts, comments and votes, in one transaction that keeps other writers out meanwhile.

    The same number gives the same rows, but for their ids and for their times, which end now. Popularity is
    uneven, as it is among people: few posts have most of the votes. ``connection`` is in autocommit mode.
    """
    random = Random(number)  # noqa: S311 - to be repeatable
    columns = (TextColumn("{task.description:>13}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, *times, console=console) as progress, connection.transaction():
        connection.execute(
            "LOCK TABLE users, posts, votes, comments, comment_votes IN SHARE ROW EXCLUSIVE MODE"
        )
        first_user = _reserve(connection, "users", amounts.users)
        first_post = _reserve(connection, "posts", amounts.posts)
        people = made_up.people(random, first_user, amounts.users, password_hash)
        _copy(
            connection,
            progress,
            "users",
            "id, email, password, created_at, display_name",
            people,
            amounts.users,
        )
        posts = made_up.posts(random, first_post, amounts.posts, first_user, amounts.users)
        _copy(
            connection,
            progress,
            "posts",
            "id, title, content, published, created_at, owner_id",
            posts,
            amounts.posts,
        )
        votes = made_up.votes(random, amounts, first_user, first_post)
        _copy(connection, progress, "votes", "user_id, post_id", votes, amounts.votes)
        _discuss(connection, progress, random, amounts, first_user, first_post)
    connection.execute("VACUUM (ANALYZE) users, posts, post_ranks, votes, comments, comment_votes")


def _discuss(
    connection: Connection,
    progress: Progress,
    random: Random,
    amounts: Amounts,
    first_user: int,
    first_post: int,
) -> None:
    first = _reserve(connection, "comments", amounts.comments)
    posts = made_up.discussed(random, amounts)
    people = range(first_user, first_user + amounts.users)
    comments = made_up.comments(random, posts, first, first_post, people)
    columns: LiteralString = "post_id, id, parent_id, owner_id, content, created_at, path"
    _copy(connection, progress, "comments", columns, comments, amounts.comments)
    votes = list(made_up.comment_votes(random, posts, first, first_post, people))
    _copy(connection, progress, "comment_votes", "user_id, post_id, comment_id", iter(votes), len(votes))


def _reserve(connection: Connection, table: str, amount: int) -> int:
    """The first of as many ids, which nobody else gets."""
    sequence = f"pg_get_serial_sequence('{table}', 'id')"
    values = connection.cursor(row_factory=scalar_row)
    first = int(values.execute(f"SELECT nextval({sequence})".encode()).fetchall().pop())
    values.execute(f"SELECT setval({sequence}, %s, %s)".encode(), (first + amount, False))
    return first


def _copy(
    connection: Connection,
    progress: Progress,
    table: LiteralString,
    columns: LiteralString,
    rows: Iterator[Sequence[object]],
    total: int,
) -> None:
    task = progress.add_task(table, total=total)
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), sql.SQL(columns))
    done = 0
    while done < total:
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in islice(rows, min(_CHUNK, total - done)):
                copy.write_row(row)
                done += 1
                if done % 1000 == 0:
                    progress.update(task, completed=done)
    progress.update(task, completed=done)
