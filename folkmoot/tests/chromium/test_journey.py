"""A community's day in a browser: the whole path, with script and without."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import expect

from api import PASSWORD
from folkmoot.pages.front import POSTS
from folkmoot.pages.texts import text
from mail_server import link_in
from someone import Someone

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext

    from mail_server import MailServer
    from running import Service

    Open = Callable[..., BrowserContext]


#: What is the same code with script and without is tried without it in `make prove`.
in_prove = pytest.mark.parametrize(
    "scripted",
    [True, pytest.param(False, marks=pytest.mark.prove)],
    indirect=True,
    ids=["script", "no_script"],
)


@pytest.fixture(params=[True, False], ids=["script", "no_script"])
def scripted(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def arrive(opened: Open, site: Service, scripted: bool) -> Callable[[str], Someone]:  # noqa: FBT001 (a fixture)
    """A browser of somebody's own; each name is of one person in a test."""

    def come(name: str) -> Someone:
        email = f"{name.lower()}.{'with' if scripted else 'without'}@example.com"
        return Someone(opened(java_script_enabled=scripted, accept_downloads=True), site.url, name, email)

    return come


def test_register_write_a_draft_publish_vote_search_edit_and_delete(
    arrive: Callable[[str], Someone],
    scripted: bool,  # noqa: FBT001 (a fixture)
) -> None:
    title = f"A bench by the river, {'with' if scripted else 'without'}"
    ada, bea = arrive("Ada").register(), arrive("Bea").register()

    ada.write(title, "Who would *help*?", "write.preview")
    expect(ada.page.locator("#preview em")).to_have_text("help")
    ada.press("write.draft")
    ada.says("draft_kept")
    address = ada.page.url
    assert bea.page.goto(address).status == 404  # type: ignore[union-attr]
    ada.follow("nav.drafts")
    ada.page.get_by_role("link", name=title).click()
    ada.follow("post.edit")
    ada.press("write.publish")
    ada.says("published")

    bea.go("/?order=new")
    bea.page.get_by_role("link", name=title).click()
    expect(bea.page.locator(".text em")).to_have_text("help")
    bea.page.evaluate("window.stayed = true") if scripted else None
    bea.votes(title).click()
    expect(bea.votes(title)).to_have_attribute("aria-pressed", "true")
    expect(bea.votes(title)).to_contain_text("1")
    bea.votes(title).click()
    expect(bea.votes(title)).to_have_attribute("aria-pressed", "false")
    expect(bea.votes(title)).to_contain_text("0")
    if scripted:
        assert bea.page.evaluate("window.stayed")  # answered in place

    bea.go("/")
    bea.page.get_by_label(text("search.label")).fill(f"river {'with' if scripted else 'without'}")
    bea.page.get_by_label(text("search.label")).press("Enter")
    expect(bea.page.get_by_role("heading", name=title)).to_be_visible()

    ada.page.goto(address)
    ada.follow("post.edit")
    ada.fill("write.field_content", "Edited <b>text</b>")
    ada.press("write.save")
    expect(ada.page.locator(".text")).to_have_text("Edited <b>text</b>")
    ada.follow("post.delete")
    ada.press("delete_post.do")
    ada.says("post_deleted")
    assert bea.page.goto(address).status == 404  # type: ignore[union-attr]


@pytest.mark.one_in(3)
def test_comment_answer_vote_change_and_delete(
    arrive: Callable[[str], Someone],
    scripted: bool,  # noqa: FBT001 (a fixture)
) -> None:
    gus, hal = arrive("Gus").register(), arrive("Hal").register()
    gus.write("A place to talk", "about anything")
    address = gus.page.url
    hal.page.goto(address)
    hal.comment("comments.yours", "What *Hal* says")
    expect(hal.page.locator(".thread em")).to_have_text("Hal")

    gus.page.goto(address)
    gus.follow("comments.answer")
    gus.comment("comments.your_answer", "What Gus answers")
    gus.page.goto(address)
    answer = gus.page.locator(".thread li li")
    expect(answer).to_contain_text("What Gus answers")
    vote = gus.page.locator(".thread > li .vote button").first
    gus.page.evaluate("window.stayed = true") if scripted else None
    vote.click()
    expect(vote).to_have_attribute("aria-pressed", "true")
    vote.click()
    expect(vote).to_have_attribute("aria-pressed", "false")
    if scripted:
        assert gus.page.evaluate("window.stayed")

    hal.page.goto(address)
    said = hal.page.locator(".thread > li").first
    said.get_by_role("link", name=text("post.edit")).click()
    hal.page.get_by_role("main").get_by_role("textbox").fill("Something else")
    hal.press("write.save")
    hal.page.goto(address)
    expect(said).to_contain_text("Something else")
    said.get_by_role("link", name=text("post.delete")).first.click()
    hal.press("delete_post.do")
    hal.page.goto(address)
    expect(said.locator("summary").first).to_contain_text(text("comments.deleted"))
    expect(said).not_to_contain_text("Something else")
    expect(answer).to_have_count(1)  # what was answered keeps its place
    expect(hal.page.locator(".thread li li")).to_contain_text("What Gus answers")


@pytest.mark.one_in(3)
@in_prove
def test_verify_by_mail_report_remove_and_see_why(
    arrive: Callable[[str], Someone],
    appoint: Callable[[str], None],
    letters: MailServer,
) -> None:
    ivy, jon, kai = (arrive(name).register() for name in ("Ivy", "Jon", "Kai"))
    ivy.page.goto(link_in(letters.wait_for_one_to(ivy.email)))
    ivy.press("verify.do")
    ivy.says("email_verified")
    ivy.go("/account")
    expect(ivy.page.get_by_role("main")).to_contain_text(text("account.verified"))

    ivy.write("Planks", "Buy these")
    address = ivy.page.url
    ivy.comment("comments.yours", "And those")
    jon.page.goto(address)
    for link in (jon.page.locator("article"), jon.page.locator(".thread")):
        link.get_by_role("link", name=text("post.report"), exact=True).click()
        jon.fill("report.reason", "Look at this")
        jon.press("report.do")
        jon.says("reported")

    appoint(kai.email)
    for title, button, why in (
        (text("comments.on", title="Planks"), "moderation.remove_comment", "It is rude"),
        ("Planks", "moderation.remove", "It sells"),
    ):
        kai.go("/moderation")
        kai.page.get_by_role("link", name=title, exact=True).click()
        kai.fill("moderation.reason", why)
        kai.press(button)
        kai.says("moderated")
        ivy.page.goto(address)
        expect(ivy.page.get_by_role("note").filter(has_text=why)).to_be_visible()
        seen = jon.page.goto(address)
        assert seen is not None
        assert why not in jon.page.content()
        if button == "moderation.remove":
            assert seen.status == 410
        else:
            expect(jon.page.get_by_text("And those")).to_have_count(0)
    expect(kai.page.get_by_role("main")).to_contain_text(text("moderation.empty"))
    kai.follow("moderation.log")
    for why in ("It is rude", "It sells"):
        expect(kai.page.locator(".rows li").filter(has_text=why).first).to_be_visible()


@in_prove
def test_what_is_wrong_stands_beside_the_field_and_what_was_typed_stays(
    arrive: Callable[[str], Someone],
) -> None:
    eve = arrive("Eve").register()
    eve.log_out()
    eve.go("/login?next=/write")
    eve.fill("register.email", eve.email)
    eve.fill("register.password", "not the password")
    eve.press("login.do")
    expect(eve.page.get_by_role("alert")).to_be_visible()
    expect(eve.page.get_by_label(text("register.email"))).to_have_value(eve.email)
    eve.fill("register.password", PASSWORD)
    eve.press("login.do")
    expect(eve.page).to_have_url(re.compile("/write$"))  # where they wanted to go
    eve.fill("write.field_title", "\u2003")
    eve.fill("write.field_content", "What was typed")
    eve.press("write.publish")
    field = eve.page.get_by_label(text("write.field_title"))
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(eve.page.get_by_label(text("write.field_content"))).to_have_value("What was typed")


@in_prove
def test_pages_lead_to_the_end_and_show_each_post_once(
    arrive: Callable[[str], Someone],
    site: Service,
    scripted: bool,  # noqa: FBT001 (a fixture)
) -> None:
    cleo = arrive("Cleo").register()
    word = "withscript" if scripted else "withoutscript"
    with httpx.Client(base_url=site.url) as client:
        form = {"username": cleo.email, "password": PASSWORD}
        token = client.post("/login", data=form).json()["access_token"]
        for number in range(2 * POSTS + 3):
            body = {"title": f"Post {number}", "content": word}
            client.post("/posts", json=body, headers={"Authorization": f"Bearer {token}"}).raise_for_status()
    cleo.go(f"/?q={word}&order=new")
    seen: list[str] = []
    for pages in range(10):  # noqa: B007 (how many there were)
        seen += cleo.page.locator(".posts h2").all_inner_texts()
        if cleo.page.locator("a[rel=next]").count() == 0:
            break
        cleo.page.locator("a[rel=next]").click()
        cleo.page.wait_for_load_state()
    assert pages == 2
    assert seen == [f"Post {number}" for number in reversed(range(2 * POSTS + 3))]


@in_prove
def test_sessions_export_and_the_end_of_an_account(arrive: Callable[[str], Someone]) -> None:
    dora, elsewhere = arrive("Dora").register(), arrive("Dora").log_in()
    dora.write("Written by Dora", "and gone with her")
    address = dora.page.url
    dora.follow("nav.account")
    rows = dora.page.locator(".rows li")
    expect(rows).to_have_count(2)
    rows.filter(has_not_text=text("account.this_one")).get_by_role("button").click()
    dora.says("session_ended")
    expect(rows).to_have_count(1)
    elsewhere.go("/account")
    expect(elsewhere.page).to_have_url(re.compile("/login"))
    with dora.page.expect_download() as downloading:
        dora.follow("account.export")
    exported = json.loads(Path(downloading.value.path()).read_text())
    assert dora.email in json.dumps(exported)
    dora.follow("account.delete")
    dora.fill("account.current_password", PASSWORD)
    dora.press("account_form.delete.do")
    dora.says("account_deleted")
    assert dora.page.goto(address).status == 404  # type: ignore[union-attr]


@in_prove
def test_the_keyboard_alone_is_enough_and_the_focus_is_seen(arrive: Callable[[str], Someone]) -> None:
    fay = arrive("Fay")
    fay.go("/")
    keyboard = fay.page.keyboard
    keyboard.press("Tab")
    focused = fay.page.locator(":focus")
    expect(focused).to_have_text(text("site.skip"))
    expect(focused).to_be_in_viewport()
    for _ in range(20):
        keyboard.press("Tab")
        if focused.inner_text() == text("nav.register"):
            break
    assert focused.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    keyboard.press("Enter")
    expect(fay.page).to_have_url(re.compile("/register"))
    fay.page.get_by_label(text("register.name")).focus()
    for value in (fay.name, fay.email, PASSWORD):
        keyboard.type(value)
        keyboard.press("Tab")
    keyboard.press("Enter")
    fay.says("registered")
