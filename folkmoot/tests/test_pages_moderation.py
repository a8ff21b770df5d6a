"""The pages of links in mail, of reports, and of administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from browser import Browser

if TYPE_CHECKING:
    from api import Api
    from folkmoot.mail.delivery import Delivery
    from mail_server import MailServer

NEW = "another battery staple"


def reeve(api: Api) -> Browser:
    """The browser of an administrator."""
    made = Browser(api).register("reeve@example.com", name="Reeve")
    with api.connect() as connection:
        connection.execute("UPDATE users SET administrator = TRUE")
    return made


def written(api: Api, email: str) -> Browser:
    """The browser of somebody who has written a post, which it shows."""
    made = Browser(api).register(email)
    made.open("/write")
    made.send(made.form("/write", do="publish"), title="Buy this", content="Cheap")
    return made


def test_an_address_is_verified_by_a_button_and_not_by_a_look(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    browser = Browser(api).register("ada@example.com")
    api.run(sends.deliver)
    path = f"/verify/{mail_server.token()}"
    for _ in range(3):  # as mail servers look at links
        assert Browser(api).ask("GET", path).status_code == 200
    browser.open("/account")
    assert "It is not confirmed yet." in browser.text
    browser.send(browser.form("/account/verify"))
    assert "on its way to your address" in browser.text
    elsewhere = Browser(api)
    elsewhere.open(path)
    elsewhere.send(elsewhere.form(path))
    assert "Your address is confirmed." in elsewhere.text
    assert Browser(api).ask("GET", path).status_code == 404
    browser.open("/account")
    assert "Confirmed" in browser.text


def test_a_forgotten_password_is_replaced(api: Api, mail_server: MailServer, sends: Delivery) -> None:
    before = Browser(api).register("ada@example.com")
    api.run(sends.deliver)
    browser = Browser(api)
    for email in ("nobody@example.com", "ada@example.com"):
        browser.open("/login")
        browser.open("/forgot")
        browser.send(browser.form("/forgot"), email=email)
        assert "If there is an account with this address, a link is on its way to it." in browser.text
    assert api.run(sends.deliver) == 1
    path = f"/reset/{mail_server.token()}"
    browser.open(path)
    browser.send(browser.form(path), password="short")
    assert browser.answer.status_code == 422
    browser.send(browser.form(path), password=NEW)
    assert "Your password is set. Log in with it." in browser.text
    before.open("/account")
    assert before.path.startswith("/login")
    assert "Log out" in browser.log_in("ada@example.com", NEW).text
    assert Browser(api).ask("GET", path).status_code == 404


def test_where_no_mail_can_be_sent_the_page_says_so(api: Api) -> None:
    browser = Browser(api)
    browser.open("/forgot")
    browser.send(browser.form("/forgot"), email="ada@example.com")
    assert browser.answer.status_code == 409
    assert "Ask whoever runs it" in browser.text
    browser.send(browser.form("/forgot"), email="no address")
    assert browser.answer.status_code == 422


def test_a_post_is_reported_removed_and_restored(api: Api) -> None:
    admin = reeve(api)
    eve, ada = written(api, "eve@example.com"), Browser(api).register("ada@example.com")
    ada.open("/p/1")
    ada.open("/p/1/report")
    ada.send(ada.form("/p/1/report"), reason=" ")
    assert ada.answer.status_code == 422
    ada.send(ada.form("/p/1/report"), reason="It <b>sells</b>.")
    assert "An administrator will look at it." in ada.text
    admin.open("/account")
    admin.open("/moderation")
    assert "It <b>sells</b>." in admin.text
    admin.open("/moderation/posts/1")
    admin.send(admin.form("/moderation/posts/1", do="remove"), reason="Advertising")
    assert "Nothing is reported" in admin.text
    eve.open("/p/1")
    assert "An administrator removed this post, and nobody else sees it: Advertising" in eve.text
    eve.open("/drafts")
    assert "Removed" in eve.text
    ada.open("/p/1")
    assert (ada.answer.status_code, "Advertising" in ada.text) == (410, False)
    ada.open("/")
    assert "Buy this" not in ada.text
    admin.open("/moderation/log")
    assert "Removed post 1 of person 2" in admin.text
    admin.open("/moderation/posts/1")
    admin.send(admin.form("/moderation/posts/1", do="restore"), reason="A mistake")
    ada.open("/")
    assert "Buy this" in ada.text


def test_a_comment_is_reported_removed_and_restored(api: Api) -> None:
    admin = reeve(api)
    eve, ada = written(api, "eve@example.com"), Browser(api).register("ada@example.com")
    eve.send(eve.form("/p/1/comments"), content="Buy **that**")
    page = "/p/1/comments/1"
    ada.open("/p/1")
    assert f"{page}/report" in [link.get("href") for link in ada.page.all("a")]
    ada.open(f"{page}/report")
    assert "Buy that" in ada.text
    ada.send(ada.form(f"{page}/report"), reason=" ")
    assert ada.answer.status_code == 422
    ada.send(ada.form(f"{page}/report"), reason="It <b>sells</b>.")
    assert "An administrator will look at it." in ada.text
    admin.open("/moderation")
    assert "It <b>sells</b>." in admin.text
    decision = "/moderation/posts/1/comments/1"
    admin.open(decision)
    admin.send(admin.form(decision, do="remove"), reason="")
    assert admin.answer.status_code == 422
    admin.send(admin.form(decision, do="remove"), reason="Advertising")
    assert "Nothing is reported" in admin.text
    eve.open("/p/1")
    assert "An administrator removed this comment, and nobody else sees it: Advertising" in eve.text
    assert [path for path in (link.get("href") for link in eve.page.all("a")) if page in path] == [
        page,
        f"{page}/delete",
    ]
    eve.open(page)
    assert "Advertising" in eve.text
    ada.open("/p/1")
    assert "Buy that" not in ada.text
    assert "0 comments" in ada.text
    ada.open(f"{page}/report")
    assert ada.answer.status_code == 404
    admin.open("/moderation/log")
    assert "Removed comment 1 of person 2 on post 1" in admin.text
    admin.open(decision)
    admin.send(admin.form(decision, do="restore"), reason="A mistake")
    ada.open("/p/1")
    assert "Buy that" in ada.text


def test_the_place_of_a_removed_comment_is_shown_above_its_answers(api: Api) -> None:
    admin = reeve(api)
    eve = written(api, "eve@example.com")
    for parent in ({}, {"parent": "1"}):
        eve.open("/p/1")
        eve.send(eve.form("/p/1/comments"), content=f"Said {parent}", **parent)
    admin.open("/moderation/posts/1/comments/1")
    admin.send(admin.form("/moderation/posts/1/comments/1", do="remove"), reason="Advertising")
    admin.open("/p/1")
    assert "Deleted or removed" in admin.text
    assert "Advertising" not in admin.text


def test_an_account_is_blocked_and_unblocked(api: Api) -> None:
    admin, eve = reeve(api), written(api, "eve@example.com")
    admin.open("/moderation/people/2")
    admin.send(admin.form("/moderation/people/2", do="block"), reason="Advertising")
    eve.open("/account")
    assert eve.path.startswith("/login")
    eve.log_in("eve@example.com")
    assert "An administrator has blocked this account: Advertising" in eve.text
    admin.open("/")
    assert "Buy this" not in admin.text
    admin.open("/moderation/people/2")
    assert "Blocked: Advertising" in admin.text
    admin.send(admin.form("/moderation/people/2", do="unblock"), reason="Promised")
    assert "Log out" in eve.log_in("eve@example.com").text
    admin.open("/")
    assert "Buy this" in admin.text


@pytest.mark.parametrize(
    "path",
    [
        "/moderation",
        "/moderation/log",
        "/moderation/posts/1",
        "/moderation/posts/1/comments/1",
        "/moderation/people/1",
    ],
)
def test_administrators_alone_see_these_pages(api: Api, path: str) -> None:
    member = written(api, "ada@example.com")
    assert member.ask("GET", path).status_code == 403
    assert Browser(api).ask("GET", path).status_code == 303
