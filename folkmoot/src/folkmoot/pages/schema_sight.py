"""What the schema page shows: Lockstep's data of the database, read in a thread, and kept for a moment."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import sqlalchemy as sa

from folkmoot.http.problems import Unavailable
from folkmoot.postgres import database, revisions
from folkmoot.postgres.models import Base
from folkmoot.postgres.server import ServerError
from lockstep.commands import overview

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from folkmoot.settings import Settings
    from lockstep.commands.overview import Overview
    from lockstep.commands.under_way import UnderWay

_T = TypeVar("_T")

#: How long what was seen is shown: everything, what is under way, a plan. In seconds.
KEPT, KEPT_LIVE, KEPT_PLAN = 3.0, 0.5, 60.0
#: A page that looks longer than this is given up; a plan runs the revisions elsewhere first.
_SECONDS, _PLAN_SECONDS = 15.0, 110.0
#: Alembic's file for a process of its own; env.py reads of it how to log, too.
_INI = """
[alembic]
script_location = {scripts}
path_separator = os
[loggers]
keys = root
[handlers]
keys =
[formatters]
keys =
[logger_root]
handlers =
"""
#: The transaction cannot write, waits for no lock for longer than a moment, and ends.
_BOUNDS = (
    "SET TRANSACTION READ ONLY",
    "SET LOCAL lock_timeout = '300ms'",
    "SET LOCAL statement_timeout = '5s'",
)


class Sight(Generic[_T]):
    """Something to see: one at a time looks, in a thread; whoever asks within some seconds sees the same."""

    def __init__(self, look: Callable[[], _T], kept: float, most: float = _SECONDS) -> None:
        self._look = look
        self._kept = kept
        self._most = most
        self._until = 0.0
        self._looking: asyncio.Task[_T] | None = None

    async def get(self) -> _T:
        """What was seen last, or is seen now."""
        if self._looking is None or (self._looking.done() and monotonic() >= self._until):
            self._looking = asyncio.create_task(self._seen())
        # Whoever goes away does not take it from the others.
        return await asyncio.shield(self._looking)

    async def _seen(self) -> _T:
        try:
            async with asyncio.timeout(self._most):
                found = await asyncio.to_thread(self._look)
        except TimeoutError:
            raise Unavailable("The database cannot be looked at now.") from None
        self._until = monotonic() + self._kept
        return found


class Sights:
    """What can be seen of the database of these settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # What it says while it compares is no news of the service.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.everything = Sight(self._everything, KEPT)
        self.live = Sight(self._live, KEPT_LIVE)
        self.plan = Sight(self._plan, KEPT_PLAN, _PLAN_SECONDS + _SECONDS)

    def _everything(self) -> Overview:
        with self._connected() as connection:
            return overview.overview(
                connection,
                revisions.scripts(),
                metadata=Base.metadata,
                ignored=database.IGNORED if self._settings.embedded else (),
                compare_server_default=True,
            )

    def _live(self) -> UnderWay | None:
        with self._connected() as connection:
            return overview.live(connection)

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        try:
            url = database.sqlalchemy_url(self._settings, serving=True)
            # Not prepared: a pooler may be between.
            engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"prepare_threshold": None})
            with engine.connect() as connection:
                for each in _BOUNDS:
                    connection.exec_driver_sql(each)
                yield connection
        except (sa.exc.OperationalError, ServerError) as error:
            raise Unavailable("The database cannot be looked at now.") from error

    def _plan(self) -> dict[str, Any]:
        """What `lockstep plan` says, in a process of its own: it runs env.py and the revisions."""
        with tempfile.TemporaryDirectory(prefix="folkmoot-plan-") as folder:
            ini = Path(folder, "alembic.ini")
            where = str(revisions.scripts().dir).replace("%", "%%")
            ini.write_text(_INI.format(scripts=where))
            try:
                done = subprocess.run(  # noqa: S603 - nothing of it comes from a request
                    [Path(sys.executable).with_name("lockstep"), "plan", "--json", "--config", ini],
                    env={**os.environ, **_as_environment(self._settings)},
                    stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                    timeout=_PLAN_SECONDS,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise Unavailable("The plan takes too long; type: lockstep plan") from None
        if done.returncode not in {0, 1}:
            return {"failed": done.stderr.strip()}
        plan: dict[str, Any] = json.loads(done.stdout)
        return plan


def _as_environment(settings: Settings) -> dict[str, str]:
    """The settings that say which database it is, for a process that reads them anew."""
    if settings.embedded:
        return {"FOLKMOOT_DATA_DIR": str(settings.data_dir)}
    url = settings.database_url
    return {} if url is None else {"DATABASE_URL": url.get_secret_value()}
