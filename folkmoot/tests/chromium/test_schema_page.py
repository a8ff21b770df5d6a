"""The schema page in a browser: of a database at head, drifted, half done, and being migrated."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from playwright.sync_api import expect

from axe import complaints
from folkmoot.pages.texts import text
from folkmoot.postgres import database, revisions
from folkmoot.postgres.models import Base
from folkmoot.settings import load
from running import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import BrowserContext

    Open = Callable[..., BrowserContext]

ENV = "import lockstep\nlockstep.run(url={url!r}, short_way=False)\n"
REVISION = """
'give every person a phone'
import sqlalchemy as sa
from alembic import op
revision = "next"
down_revision = {head!r}

def upgrade():
    op.backfill("users", {{"phone_number": sa.text("'+49' || id")}})

def downgrade():
    pass
"""


class Host:
    """Who runs a service on the embedded database, and a program that is newer than it."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service = service
        self.url = service.url + "/schema"
        settings = load(folkmoot_data_dir=folder / ".data")
        self.conninfo = database.conninfo(settings)
        self.newer = folder / "newer"
        (self.newer / "versions").mkdir(parents=True)
        url = database.sqlalchemy_url(settings).render_as_string(hide_password=False)
        (self.newer / "env.py").write_text(ENV.format(url=url))
        self.head = str(revisions.scripts().get_current_head())
        (self.newer / "versions" / "next.py").write_text(REVISION.format(head=self.head))
        older = Path(revisions.scripts().dir, "versions")
        (self.newer / "alembic.ini").write_text(
            f"[alembic]\nscript_location = {self.newer}\npath_separator = newline\n"
            f"version_locations = {self.newer / 'versions'}\n    {older}\n"
        )

    def sql(self, statement: str) -> None:
        with psycopg.connect(**self.conninfo, autocommit=True) as connection:  # type: ignore[arg-type]
            connection.execute(statement.encode())

    def type(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(Path(sys.executable).with_name(program)), *arguments]
        return subprocess.Popen(command, cwd=self.newer, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def typed(self, program: str, *arguments: str) -> None:
        assert self.type(program, *arguments).wait(60) == 0


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    with Service(folder) as service:
        yield Host(service, folder)


@pytest.fixture(params=[True, False], ids=["script", "no_script"])
def browser(request: pytest.FixtureRequest, opened: Open) -> BrowserContext:
    return opened(java_script_enabled=request.param)


@pytest.mark.one_in(2)
def test_at_head_it_shows_tables_picture_and_revisions(host: Host, browser: BrowserContext) -> None:
    page = browser.new_page()
    page.goto(host.url)
    expect(page.get_by_role("heading", level=1)).to_have_text(text("schema.title"))
    expect(page.get_by_text(text("schema.drift.none"))).to_be_visible()
    expect(page.locator("svg.picture a")).to_have_count(len(Base.metadata.tables))
    page.locator("svg.picture a", has_text="sessions").click()
    columns = page.locator("#table-sessions table").first.locator("tbody tr")
    expect(columns.first).to_be_visible()  # the way to a table opens it
    assert columns.first.inner_text().split("\t")[:3] == ["id", "bigint", text("schema.yes")]
    current = page.locator(".timeline [aria-current=step]")
    expect(current).to_have_count(1)
    expect(current).to_contain_text(host.head)
    page.locator("#revision-036aa392dfb0 summary").click()
    expect(page.locator("#revision-036aa392dfb0 table")).to_contain_text("table public.votes")


def test_texts_of_the_picture_fit_into_their_boxes(host: Host, opened: Open) -> None:
    page = opened().new_page()
    page.goto(host.url)
    outside = page.evaluate("""() => [...document.querySelectorAll("svg.picture a")].flatMap(a => {
        const box = a.querySelector("rect").getBBox();
        return [...a.querySelectorAll("text")].filter(text => {
            const is = text.getBBox();
            return is.x < box.x || is.y < box.y || is.x + is.width > box.x + box.width
                || is.y + is.height > box.y + box.height;
        }).map(text => text.textContent);
    })""")
    assert outside == []


@pytest.mark.one_in(2)
def test_what_was_changed_by_hand_is_told_with_what_undoes_it(host: Host, browser: BrowserContext) -> None:
    page = browser.new_page()
    host.sql("CREATE INDEX by_hand ON posts (title)")
    try:
        page.goto(host.url)
        while page.locator("#drift").count() == 0:  # what was seen is kept for a moment
            page.reload()
        expect(page.locator("#drift")).to_contain_text("index by_hand is not expected")
        expect(page.locator("#drift")).to_contain_text("DROP INDEX public.by_hand")
        page.get_by_role("link", name=text("schema.drift.badge", n=2)).click()
    finally:
        host.sql("DROP INDEX by_hand")


@pytest.mark.prove
def test_what_is_pending_has_a_plan(host: Host, opened: Open) -> None:
    page = opened().new_page()
    host.typed("alembic", "downgrade", "-1")
    try:
        page.goto(host.url)
        while page.locator("#pending").count() == 0:
            page.reload()
        assert complaints(page) == []
        expect(page.get_by_role("link", name=text("schema.pending.plan"))).to_be_visible()
        page.goto(f"{host.url}/plan", timeout=100_000)  # the revisions run elsewhere first
        expect(page.get_by_role("heading", level=1)).to_have_text(text("schema.plan.title"))
        expect(page.locator("h2").first).to_contain_text(host.head)
        expect(page.locator("tbody pre").first).to_be_visible()
        assert complaints(page) == []
    finally:
        host.typed("alembic", "upgrade", host.head)


@contextmanager
def migrating(host: Host) -> Iterator[subprocess.Popen[bytes]]:
    """A newer program's revision that is under way, and held where it fills a column."""
    host.sql(
        "INSERT INTO users (email, password) SELECT n || '@example.org', '!' FROM generate_series(1, 50) n"
    )
    host.typed("lockstep", "pause")
    process = host.type("alembic", "upgrade", "next")
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        host.typed("lockstep", "resume")
        host.typed("alembic", "upgrade", "next")
        host.typed("alembic", "downgrade", host.head)
        host.sql("DELETE FROM users")


@pytest.mark.prove
def test_a_migration_is_seen_while_it_runs_and_when_it_was_stopped(host: Host, opened: Open) -> None:
    page, plain = opened().new_page(), opened(java_script_enabled=False).new_page()
    page.goto(host.url)
    expect(page.locator("#under-way")).to_contain_text(text("schema.live.nothing"))
    with migrating(host) as process:
        runs = text("schema.live.runs", direction="upgrade", revision="next")
        expect(page.locator("#under-way")).to_contain_text(runs)  # the script puts it in place
        expect(page.locator("#under-way")).to_contain_text("backfill")
        plain.goto(host.url)
        while plain.locator("#under-way", has_text=runs).count() == 0:
            plain.reload()
        assert plain.locator("meta[http-equiv=refresh]").count() == 1
        assert page.locator("meta[http-equiv=refresh]").count() == 0
        assert complaints(page) == []
        process.send_signal(signal.SIGKILL)
        process.wait()
        stopped = text("schema.live.stopped", direction="upgrade", revision="next")
        expect(page.locator("#under-way")).to_contain_text(stopped)
        page.reload()
        while page.locator(".half-done").count() == 0:
            page.reload()
        expect(page.locator(".half-done")).to_contain_text(text("schema.half_done.open"))
        assert complaints(page) == []
    page.goto(host.url)
    while page.get_by_text(text("schema.drift.none")).count() == 0:
        page.reload()


@pytest.mark.prove
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing(host: Host, opened: Open, scheme: str, width: int) -> None:
    context = opened(color_scheme=scheme, viewport={"width": width, "height": 900})
    page = context.new_page()
    for path in ("", "/live"):
        page.goto(host.url + path)
        for summary in page.locator("summary").all():
            summary.click()
        assert complaints(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing is cut off
