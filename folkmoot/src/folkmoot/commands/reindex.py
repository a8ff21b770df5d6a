"""Change the language of search: which words count as one, and which are too common to look for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from psycopg import sql
from psycopg.rows import scalar_row
from rich.console import Console
from rich.progress import Progress

from folkmoot.commands.schema import at_head
from folkmoot.postgres import database
from folkmoot.settings import SettingsError, load

if TYPE_CHECKING:
    from psycopg import Connection


def command(
    language: Annotated[
        str,
        typer.Argument(envvar="SEARCH_LANGUAGE", help="PostgreSQL's name of it: english, german, simple …"),
    ],
) -> None:
    """Set the language of search, and describe every post anew; the service can go on meanwhile."""
    with database.explained():
        settings = load()
        with database.server(settings), at_head(settings) as connection:
            try:
                reindex(connection, language, console=Console(stderr=True))
            except ValueError as error:
                raise SettingsError(str(error)) from None


_BATCH = 500
_LANGUAGES = "SELECT cfgname FROM pg_ts_config WHERE pg_ts_config_is_visible(oid) ORDER BY cfgname"
# New and edited posts are described in the new language from here on.
_SET = """
    CREATE OR REPLACE FUNCTION post_search_language() RETURNS regconfig LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS {body}
"""
_NEXT = "SELECT max(id) FROM (SELECT id FROM posts WHERE id > %s ORDER BY id LIMIT %s) AS p"
_DESCRIBE = """
    UPDATE posts SET document = post_document(title, content)
     WHERE id > %s AND id <= %s AND document IS DISTINCT FROM post_document(title, content)
"""


def reindex(connection: Connection, language: str, *, console: Console | None = None) -> None:
    """Search in another language, and describe every post anew, 500 in a transaction.

    Until it is done a search may miss posts that are not described yet. It can be stopped and run again.
    Raises ValueError where PostgreSQL has no such language. ``connection`` is in autocommit mode.
    """
    values = connection.cursor(row_factory=scalar_row)
    known = values.execute(_LANGUAGES).fetchall()
    if language not in known:
        raise ValueError(f"SEARCH_LANGUAGE takes one of {', '.join(known)}")
    body = sql.Literal(f"SELECT '{language}'::regconfig")
    connection.execute(sql.SQL(_SET).format(body=body))
    total = values.execute("SELECT count(*) FROM posts").fetchone()
    with Progress(console=console) as progress:
        task = progress.add_task("posts", total=total)
        after = -(2**63)
        while (last := values.execute(_NEXT, (after, _BATCH)).fetchone()) is not None:
            connection.execute(_DESCRIBE, (after, last))
            after = last
            progress.update(task, advance=_BATCH)
