"""The pages of one's own account, and of a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api import PASSWORD
from browser import Browser

if TYPE_CHECKING:
    from api import Api


def test_a_name_and_a_number_are_changed_and_taken_away(api: Api) -> None:
    browser = Browser(api).register("ada@example.com")
    browser.open("/account")
    browser.send(browser.form("/account/name"), display_name="Ada", phone_number="+49 30 123456")
    assert browser.answer.status_code == 422
    assert "Not a phone number" in browser.text
    browser.send(browser.form("/account/name"), phone_number="+4930123456")
    assert "It is saved." in browser.text
    assert api.get("/users/1").json()["display_name"] == "Ada"
    browser.send(browser.form("/account/name"), display_name="")
    assert api.get("/users/1").json()["display_name"] is None
    assert browser.form("/account/name").fields["phone_number"] == "+4930123456"


def test_another_password_asks_for_the_old_one_and_ends_every_other_session(api: Api) -> None:
    browser = Browser(api).register("ada@example.com")
    elsewhere = Browser(api).log_in("ada@example.com")
    browser.open("/account/password")
    other = "another long password"
    browser.send(browser.form("/account/password"), current_password="wrong", password=other)
    assert browser.answer.status_code == 403
    assert "This is not your password." in browser.text
    browser.send(browser.form("/account/password"), current_password=PASSWORD, password="short")
    assert browser.answer.status_code == 422
    browser.send(browser.form("/account/password"), current_password=PASSWORD, password=other)
    assert "every other session has ended" in browser.text
    elsewhere.open("/account")
    assert elsewhere.path == "/login?next=%2Faccount"
    assert api.login("ada@example.com", other).status_code == 200


def test_another_address_asks_for_the_password(api: Api) -> None:
    api.register("bob@example.com")
    browser = Browser(api).register("ada@example.com")
    browser.open("/account/email")
    form = browser.form("/account/email")
    browser.send(form, current_password=PASSWORD, email="bob@example.com")
    assert browser.answer.status_code == 409
    browser.send(form, current_password=PASSWORD, email="ada@example.org")
    assert "You log in with ada@example.org." in browser.text


def test_sessions_are_listed_and_ended_one_by_one_and_all(api: Api) -> None:
    browser = Browser(api, **{"User-Agent": "Here"}).register("ada@example.com")
    elsewhere = Browser(api, **{"User-Agent": "Elsewhere"}).log_in("ada@example.com")
    browser.open("/account")
    assert "Elsewhere" in browser.text
    browser.send(browser.form("/account/sessions/2/end"))
    assert "Elsewhere" not in browser.text
    elsewhere.open("/account")
    assert elsewhere.path.startswith("/login")
    elsewhere.log_in("ada@example.com")
    browser.open("/account/log-out-everywhere")
    browser.send(browser.form("/account/log-out-everywhere"), current_password="wrong")
    assert browser.answer.status_code == 403
    browser.send(browser.form("/account/log-out-everywhere"), current_password=PASSWORD)
    assert "You are logged out." in browser.text
    with api.connect() as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (0,)


def test_the_export_is_a_file_and_the_account_goes_with_what_was_written(api: Api) -> None:
    browser = Browser(api).register("ada@example.com")
    browser.open("/write")
    browser.send(browser.form("/write", do="publish"), title="A bench", content="")
    answer = browser.ask("GET", "/account/export")
    assert answer.headers["content-disposition"] == 'attachment; filename="folkmoot.json"'
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["posts"][0]["title"] == "A bench"
    browser.open("/account/delete")
    browser.send(browser.form("/account/delete"), current_password=PASSWORD)
    assert "Your account is deleted" in browser.text
    assert "folkmoot_session" not in browser.cookies
    assert api.get("/posts/1").status_code == 404


def test_a_person_shows_what_is_published_and_drafts_are_ones_own(api: Api) -> None:
    browser = Browser(api).register("ada@example.com", name="Ada")
    for title, do in (("Published", "publish"), ("Kept", "draft")):
        browser.open("/write")
        browser.send(browser.form("/write", do=do), title=title, content="")
    page = browser.open("/u/1")
    assert [each.text for each in page.all("h2")] == ["Published"]
    assert [each.text for each in page.all("h1")] == ["Ada"]
    assert "Kept" in browser.open("/drafts").text
    assert "Published" not in browser.text
    assert "Kept" not in browser.open("/").text
    other = Browser(api)
    assert "Kept" not in other.open("/u/1").text
    other.open("/u/99")
    assert other.answer.status_code == 404


def test_a_list_of_drafts_is_paged(api: Api) -> None:
    browser = Browser(api).register("ada@example.com")
    with api.connect() as connection:
        connection.execute("""
            INSERT INTO posts (title, content, owner_id, published)
            SELECT 'Draft ' || n, '', 1, n % 2 = 0 FROM generate_series(1, 60) AS n
        """)
    seen = [each.text for each in browser.open("/drafts").all("h2")]
    (more,) = (each["href"] for each in browser.page.all("a") if each.get("rel") == "next")
    seen += [each.text for each in browser.open(more).all("h2")]
    assert [each.removesuffix(" Draft") for each in seen] == [f"Draft {n}" for n in range(59, 0, -2)]
    assert not [each for each in browser.page.all("a") if each.get("rel") == "next"]
    assert Browser(api).ask("GET", more.replace("/drafts", "/")).status_code == 422
