"""Which database: the one of the settings, the embedded one by default; its address, for each driver."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import sqlalchemy
from psycopg import OperationalError
from sqlalchemy import URL

from folkmoot.postgres import sharing
from folkmoot.postgres.server import ServerError
from folkmoot.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from folkmoot.settings import Settings

#: What the embedded server's own role may do, which no revision says.
IGNORED = ("*: granted to folkmoot_service*", "default privileges *")


def server(settings: Settings) -> AbstractContextManager[object]:
    """Keep the embedded server running for the length of the block; nothing to do for another database."""
    return sharing.running(settings) if settings.embedded else nullcontext()


def conninfo(settings: Settings) -> dict[str, str]:
    """The database's libpq parameters; they hold the password."""
    return sharing.conninfo(settings) if settings.embedded else settings.external_conninfo()


def service_conninfo(settings: Settings) -> dict[str, str]:
    """The same for the service: of the embedded database as the role that reads and writes rows."""
    if settings.embedded:
        return sharing.conninfo(settings, sharing.SERVICE)
    return settings.external_conninfo()


def sqlalchemy_url(settings: Settings, *, serving: bool = False) -> URL:
    """The database's URL for SQLAlchemy over psycopg; its ``repr`` hides the password."""
    rest = service_conninfo(settings) if serving else conninfo(settings)
    user, password, name = (rest.pop(key, None) for key in ("user", "password", "dbname"))
    return URL.create("postgresql+psycopg", username=user, password=password, database=name, query=rest)


@contextmanager
def explained(*more: type[Exception]) -> Iterator[None]:
    """Turn what keeps a command from its database into a line on standard error and exit status 2; and
    whatever else has a text that is ready to be shown.
    """
    ready: tuple[type[Exception], ...] = (SettingsError, ServerError, *more)
    try:
        yield
    except ready as error:
        message = str(error)
    except (OperationalError, sqlalchemy.exc.OperationalError) as error:
        reason = str(error.orig if isinstance(error, sqlalchemy.exc.OperationalError) else error)
        message = f"The database cannot be reached: {' '.join(reason.split())}"
    else:
        return
    print(message, file=sys.stderr)  # noqa: T201
    raise SystemExit(2)
