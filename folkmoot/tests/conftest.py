"""Fixtures of Folkmoot's tests; the servers are those of testing/fixtures.py."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command

from api import POOLED, Api
from backed_up import conninfo
from folkmoot.backups import taking
from folkmoot.mail_settings import parse_smtp
from folkmoot.postgres import revisions
from mail_server import MailServer, delivery
from replicated import Replicated
from testing.cluster import memory
from testing.pooler import pooled
from watched import HELD, Hold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from folkmoot.mail.delivery import Delivery
    from testing.cluster import Cluster


@pytest.fixture(scope="session")
def migrated(cluster18: Cluster) -> str:
    """The name of an empty database at head, to be cloned with ``create_database(template=…)``."""
    name = cluster18.create_database()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", cluster18.url(name))
        command.upgrade(revisions.config(), "head")
    return name


@pytest.fixture(scope="session")
def served(cluster18: Cluster, migrated: str) -> Iterator[Api]:
    """The application on a database of its own, for the whole run; tests take ``api``."""
    name = cluster18.create_database(template=migrated)
    with ExitStack() as stack:
        settings: dict[str, Any] = {}
        if POOLED in os.environ:
            folder = stack.enter_context(pooled(cluster18, "transaction"))
            settings = {"database_url": f"postgresql://postgres@/{name}?host={folder}&port=6432"}
            settings["database_statement_cache_size"] = 0
        yield stack.enter_context(Api(cluster18, name, **settings))


@pytest.fixture
def api(served: Api) -> Api:
    """The application, as shipped, on empty tables."""
    served.empty()
    return served


@pytest.fixture(scope="session")
def servers() -> Iterator[Replicated]:
    """A primary and a replica of its own."""
    with pytest.MonkeyPatch.context() as patch:
        made = Replicated(1, patch)
    yield made
    made.remove()


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as mail_server:
        yield mail_server


@pytest.fixture
def sends(api: Api, mail_server: MailServer) -> Iterator[Delivery]:
    """The delivery of the application, which does nothing by itself."""
    made = delivery(api, parse_smtp(mail_server.url))
    api.application.state.delivery = made
    yield made
    api.application.state.delivery = None


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private empty folder for an embedded server: ``tmp_path`` is not in memory."""
    made = Path(tempfile.mkdtemp(prefix="folkmoot-test-", dir=memory()))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def source(cluster18: Cluster, migrated: str) -> Iterator[str]:
    """A database at head with somebody who wrote three posts and voted on one."""
    name = cluster18.create_database(template=migrated)
    with cluster18.connect(name) as connection:
        connection.execute("INSERT INTO users (email, password) VALUES ('ada@example.com', '!')")
        connection.execute(
            "INSERT INTO posts (title, content, owner_id) SELECT 'Title', '', 1 FROM generate_series(1, 3)"
        )
        connection.execute("INSERT INTO votes (user_id, post_id) VALUES (1, 2)")
    yield name
    cluster18.drop_database(name)


@pytest.fixture
def target(cluster18: Cluster) -> Iterator[str]:
    name = cluster18.create_database()
    yield name
    cluster18.drop_database(name)


@pytest.fixture
def backup(cluster18: Cluster, source: str, folder: Path) -> Path:
    return taking.take(conninfo(cluster18, source), folder / "backups")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured and recorded, the tests that passed too; of holds the longest alone."""
    longest, during = Hold(), ""
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if getattr(report, "when", None) != "teardown":  # the last one of a test has them all
            continue
        test = report.nodeid.rpartition("::")[2]
        for name, value in report.user_properties:
            if name == HELD:
                longest, during = max((longest, during), (Hold(**value), test), key=lambda each: each[0].ms)
            else:
                terminalreporter.write_line(f"{test}: {name} {value}")
    if during:
        terminalreporter.write_line(
            f"The longest that a request held a worker's event loop, in {during}: {longest}"
        )
