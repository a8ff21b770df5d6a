"""A real browser, and the service on a port for it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from api import SECRET, UNLIMITED_ENVIRONMENT
from mail_server import SENDER, MailServer
from running import Service, free_port, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import ConsoleMessage

    from testing.cluster import Cluster

#: Once it has come, a page answers at once; a busy machine may take a while to start one.
_PATIENCE = 20_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Chromium, of the system's package."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed: what needs it was not tested")
    expect.set_options(_PATIENCE)
    with sync_playwright() as playwright:
        # In a container, and as root, there is neither a sandbox nor much of /dev/shm.
        options = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def letters() -> Iterator[MailServer]:
    """Where the site sends its mail."""
    with MailServer() as mail_server:
        yield mail_server


@pytest.fixture(scope="module")
def site(
    cluster18: Cluster, migrated: str, letters: MailServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The service on an empty database at head, for the tests of a file."""
    name, port = cluster18.create_database(template=migrated), str(free_port())
    settings = {
        "DATABASE_URL": cluster18.url(name), "SECRET_KEY": SECRET, **UNLIMITED_ENVIRONMENT, "PORT": port,
        "SMTP_URL": letters.url, "MAIL_FROM": SENDER, "PUBLIC_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    with Service(tmp_path_factory.mktemp("site"), **settings) as service:
        yield service


@pytest.fixture
def appoint(site: Service) -> Callable[[str], None]:
    """Make somebody an administrator, as the host does."""

    def grant(email: str) -> None:
        done = run(site.folder, "grant-admin", email, **site.settings)
        assert done.returncode == 0, done.stderr

    return grant


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Somebody's browser, in which nothing complains: no policy, no script, no file that is missing."""
    contexts: list[BrowserContext] = []
    said: list[str] = []

    def hear(line: ConsoleMessage) -> None:
        # A page may be a problem's: the browser says so of every answer that is not 2xx.
        a_problem = line.text.startswith("Failed to load") and "/static/" not in line.location["url"]
        if line.type in {"error", "warning"} and not a_problem:
            said.append(line.text)

    def open_one(**options: object) -> BrowserContext:
        context = chromium.new_context(**options)  # type: ignore[arg-type]
        context.set_default_timeout(_PATIENCE)
        context.on("weberror", lambda error: said.append(str(error.error)))
        context.on("console", hear)
        contexts.append(context)
        return context

    yield open_one
    for context in contexts:
        context.close()
    assert said == []
