"""Register, log in, log out, and the cookie that comes of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import structlog

from api import PASSWORD, Api
from browser import Browser
from folkmoot.people import events

if TYPE_CHECKING:
    from httpx import Response

TLS = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}


def cookies(answer: Response) -> dict[str, str]:
    """What is set: the attributes of each cookie, by its name."""
    found = {}
    for header in answer.headers.get_list("set-cookie"):
        pair, _, attributes = header.partition("; ")
        found[pair.partition("=")[0]] = attributes
    return found


def test_an_empty_database_says_what_to_do_next(api: Api) -> None:
    browser = Browser(api)
    assert "This folkmoot is new" in browser.open("/").text
    browser.register("ada@example.com")
    assert "Nobody has written anything yet" in browser.open("/").text


def test_who_registers_is_logged_in_and_logs_out_and_in_again(api: Api) -> None:
    browser = Browser(api)
    browser.open("/register?next=/p/1")
    browser.send(browser.form("/register"), email="ada@example.com", password=PASSWORD, display_name="Ada")
    assert browser.path == "/p/1"
    assert "You are registered" in browser.text
    browser.open("/")
    assert "You are registered" not in browser.text
    browser.send(browser.form("/log-out"))
    assert "You are logged out" in browser.text
    assert "Log out" not in browser.text
    browser.log_in("ADA@example.com")
    assert "Log out" in browser.text
    with api.connect() as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (1,)


def test_what_is_wrong_with_a_registration_is_said_beside_the_field_and_the_rest_stays(api: Api) -> None:
    browser = Browser(api)
    browser.open("/register")
    page = browser.send(browser.form("/register"), email="nobody", password="short", display_name="Ada")
    assert browser.answer.status_code == 422
    wrong = {each["id"]: each.text for each in page.all("p") if each.get("id").endswith("-wrong")}
    assert set(wrong) == {"email-wrong", "password-wrong"}
    fields = {each["name"]: each for each in page.all("input")}
    assert fields["email"]["value"] == "nobody"
    assert fields["email"]["aria-invalid"] == "true"
    assert fields["password"]["aria-describedby"] == "password-hint password-wrong"
    assert fields["display_name"]["value"] == "Ada"
    assert "value" not in fields["password"].attributes


def test_an_address_that_is_taken_and_a_password_of_ones_own_words_are_said(api: Api) -> None:
    api.register("ada@example.com")
    browser = Browser(api)
    browser.open("/register")
    browser.send(browser.form("/register"), email="Ada@example.com", password=PASSWORD)
    assert browser.answer.status_code == 409
    assert "There is an account with this e-mail address already." in browser.text
    browser.send(browser.form("/register"), email="bob@example.com", password="bob@example.com1")
    assert browser.answer.status_code == 422
    assert "so it is guessed first" in browser.text


@pytest.mark.parametrize("typed", [("ada@example.com", "wrong"), ("nobody@example.com", PASSWORD), ("", "")])
def test_a_login_that_fails_says_the_same_whatever_is_wrong(api: Api, typed: tuple[str, str]) -> None:
    api.register("ada@example.com")
    browser = Browser(api).log_in(*typed)
    assert browser.answer.status_code == 400
    assert "The e-mail address or the password is wrong." in browser.text
    assert "set-cookie" not in browser.answer.headers


def test_failed_logins_count_together_with_those_of_the_api(api: Api) -> None:
    api.register("ada@example.com")
    for _ in range(9):
        assert api.login("ada@example.com", "wrong", "127.0.0.1").status_code == 400
    browser = Browser(api).log_in("ada@example.com", "wrong")
    assert browser.answer.status_code == 400
    browser.log_in("ada@example.com")
    assert browser.answer.status_code == 429
    assert int(browser.answer.headers["retry-after"]) > 0
    assert api.login("ada@example.com", client="127.0.0.1").status_code == 429


@pytest.mark.parametrize(
    "elsewhere",
    ["https://example.net/", "//example.net", "/\\example.net", "\\\\example.net", "javascript:alert(1)",
     "/\t/example.net", " //example.net", "///example.net", "/%0d%0aSet-Cookie: a=b", "example.net"],
)  # fmt: skip
def test_a_login_leads_to_a_page_of_ours_or_to_the_front_page(api: Api, elsewhere: str) -> None:
    api.register("ada@example.com")
    browser = Browser(api)
    browser.open("/login")
    form = browser.form("/log-in")
    answer = browser.ask(
        "POST", "/log-in",
        data={**form.fields, "next": elsewhere, "email": "ada@example.com", "password": PASSWORD},
    )  # fmt: skip
    assert answer.status_code == 303
    location = answer.headers["location"]
    assert location == "/" or (location.startswith("/%0d%0a") and "a" not in answer.cookies)


def test_the_cookie_is_kept_from_scripts_and_other_sites_and_has_a_prefix_under_tls(api: Api) -> None:
    api.register("ada@example.com")
    form = {"email": "ada@example.com", "password": PASSWORD}
    plain, tls = Browser(api), Browser(api, **TLS)
    for browser in (plain, tls):
        browser.open("/login")
        made = browser.form("/log-in")
        browser.answer = browser.ask("POST", "/log-in", data={**made.fields, **form})
    expected = "HttpOnly; Max-Age=7776000; Path=/; SameSite=lax"
    assert cookies(plain.answer) == {"folkmoot_session": expected}
    assert cookies(tls.answer) == {"__Host-folkmoot_session": f"{expected}; Secure"}
    assert cookies(tls.ask("GET", "/login")) == {}
    assert cookies(Browser(api, **TLS).ask("GET", "/login")) == {
        "__Host-folkmoot_visitor": "HttpOnly; Path=/; SameSite=lax; Secure"
    }
    tls.cookies.set("folkmoot_session", tls.cookies["__Host-folkmoot_session"])
    del tls.cookies["__Host-folkmoot_session"]
    assert tls.ask("GET", "/write").status_code == 303, "without the prefix it is nobody's under TLS"


def test_what_the_cookie_holds_opens_no_route_of_the_api_and_a_token_of_the_api_no_page(api: Api) -> None:
    browser = Browser(api).register("ada@example.com")
    cookie = browser.cookies["folkmoot_session"]
    answer = api.get("/users/me", headers={"Authorization": f"Bearer {cookie}"})
    assert answer.json()["type"] == "/errors/token-refused"
    assert api.get("/users/me", headers={"Cookie": f"folkmoot_session={cookie}"}).status_code == 401
    bob = api.person()
    other = Browser(api)
    other.cookies.set("folkmoot_session", bob.tokens["access_token"])
    assert other.ask("GET", "/write").headers["location"] == "/login?next=%2Fwrite"
    assert Browser(api, **bob.auth).ask("GET", "/write").headers["location"] == "/login?next=%2Fwrite"


def test_a_session_that_was_ended_elsewhere_is_nobodys_and_its_cookie_goes(api: Api) -> None:
    browser = Browser(api).register("ada@example.com")
    browser.open("/")
    form = browser.form("/log-out")
    with api.connect() as connection:
        connection.execute("DELETE FROM sessions")
    answer = browser.ask("POST", "/log-out", data=form.fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2F")
    assert "Max-Age=0" in cookies(answer)["folkmoot_session"]
    again = Browser(api).log_in("ada@example.com")
    with api.connect() as connection:
        connection.execute("DELETE FROM sessions")
    assert "Log in" in again.open("/").text
    assert "folkmoot_session" not in again.cookies


def test_the_use_of_pages_renews_a_session_until_its_last_day(api: Api) -> None:
    browser = Browser(api).register("ada@example.com")
    with api.connect() as connection:
        connection.execute(
            "UPDATE sessions SET last_used_at = last_used_at - '1 day'::interval, expires_at = now()+'1 day'"
        )
    browser.open("/")
    with api.connect() as connection:
        left = "SELECT round(extract(epoch FROM expires_at - now()) / 86400) FROM sessions"
        assert connection.execute(left).fetchone() == (30,)
        connection.execute(
            "UPDATE sessions SET last_used_at = now() - '1 day'::interval,"
            " created_at = now() - '80 days'::interval"
        )
    browser.open("/")
    with api.connect() as connection:
        assert connection.execute(left).fetchone() == (10,)


def test_pages_tell_the_log_what_the_api_tells_it_and_no_secret(
    api: Api, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Api(api.cluster, api.database, log_level="info") as told:
        # A logger keeps the level that was set when it was first used, by another test.
        monkeypatch.setattr(events, "_log", structlog.stdlib.get_logger("folkmoot"))
        capfd.readouterr()
        browser = Browser(told).register("ada@example.com")
        secrets = {PASSWORD, "ada@example.com", browser.cookies["folkmoot_session"]}
        browser.open("/account/password")
        form = browser.form("/account/password")
        secrets.add(form.fields["csrf"])
        browser.send(form, current_password=PASSWORD, password="another long password")
        browser.open("/")
        browser.send(browser.form("/log-out"))
        browser.log_in("ada@example.com", "wrong password")
        log = capfd.readouterr().err
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines if "account_id" in line] == [
        "registered",
        "login",
        "password_changed",
        "session_ended",
        "login_failed",
    ]
    assert not [secret for secret in secrets if secret in log or secret.replace(" ", "+") in log]
