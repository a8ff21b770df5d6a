"""Links in mail: an address is verified, a forgotten password replaced, once each, and nobody learns more."""

from __future__ import annotations

import json
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from api import PASSWORD, Api
from folkmoot.http import logs, middleware
from folkmoot.mail.delivery import PER_HOUR
from folkmoot.mail.links import RESET
from mail_server import MailServer, waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from folkmoot.mail.delivery import Delivery

NEW = "another battery staple"


def ask(api: Api, email: str, **headers: str) -> httpx.Response:
    return api.post("/password-resets", json={"email": email}, headers=headers)


def reset(api: Api, token: str, password: str = NEW) -> httpx.Response:
    return api.post("/password-resets/confirm", json={"token": token, "password": password})


def verify(api: Api, token: str) -> httpx.Response:
    return api.post("/email-verifications/confirm", json={"token": token})


def link(api: Api, mail_server: MailServer, sends: Delivery, email: str) -> str:
    """A link to a new password, as it was sent."""
    assert ask(api, email).status_code == 202
    assert api.run(sends.deliver) >= 1
    (token,) = {mail_server.token()}
    return token


def refused(answer: httpx.Response) -> bool:
    return answer.status_code == 404 and answer.json()["type"] == "/errors/no-such-link"


def test_an_address_is_verified_by_the_link_that_was_sent_to_it(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    ada = api.person("ada@example.com")
    assert api.get("/users/me", headers=ada.auth).json()["email_verified"] is False
    api.run(sends.deliver)
    token = mail_server.token()
    assert verify(api, token).status_code == 204
    assert api.get("/users/me", headers=ada.auth).json()["email_verified"] is True
    assert refused(verify(api, token)), "once"
    again = api.post("/email-verifications", headers=ada.auth)
    assert (again.status_code, again.json()["type"]) == (409, "/errors/already-verified")


def test_a_new_address_has_to_be_verified_and_links_to_the_old_one_are_dead(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    ada = api.person("ada@example.com")
    api.run(sends.deliver)
    old = mail_server.token()
    change = {"email": "ada@example.org", "current_password": PASSWORD}
    assert api.patch("/users/me", json=change, headers=ada.auth).json()["email_verified"] is False
    assert refused(verify(api, old))
    api.run(sends.deliver)
    assert mail_server.taken[-1][0] == ["ada@example.org"]
    assert verify(api, mail_server.token()).status_code == 204
    same = api.patch("/users/me", json=change, headers=ada.auth).json()
    assert (same["email_verified"], waiting(api)) == (True, []), "the same address stays verified"


def test_a_link_is_asked_for_once_more_and_so_often_in_an_hour(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    ada = api.person()
    for _ in range(PER_HOUR + 3):
        assert api.post("/email-verifications", headers=ada.auth).status_code == 202
    assert api.run(sends.deliver) == PER_HOUR
    assert len(mail_server.taken) == PER_HOUR
    assert waiting(api) == []


def test_a_forgotten_password_is_replaced_and_every_session_ends(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    ada = api.person("Ada@example.com")
    api.run(sends.deliver)
    token = link(api, mail_server, sends, "aDA@example.com")
    assert mail_server.taken[-1][0] == ["Ada@example.com"], "the account's own address, not what was typed"
    assert reset(api, token).status_code == 204
    assert api.get("/users/me", headers=ada.auth).status_code == 401
    assert api.login(ada.email).status_code == 400
    tokens = api.login(ada.email, NEW).json()
    me = api.get("/users/me", headers={"Authorization": f"Bearer {tokens['access_token']}"}).json()
    assert me["email_verified"] is True
    assert refused(reset(api, token, "yet another staple"))


def test_who_has_failed_to_log_in_too_often_logs_in_after_a_reset(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    api.register("ada@example.com")
    client = {"X-Forwarded-For": "192.0.2.1"}
    while api.login("ada@example.com", "wrong password").status_code != 429:
        pass
    token = link(api, mail_server, sends, "ada@example.com")
    new = {"token": token, "password": NEW}
    assert api.post("/password-resets/confirm", json=new, headers=client).status_code == 204
    assert api.login("ada@example.com", NEW).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET password = 'another'",
        "UPDATE users SET email = 'eve@example.com'",
        "UPDATE email_links SET expires_at = now()",
        "UPDATE email_links SET purpose = 'verify'",
        "DELETE FROM users",
    ],
)
def test_a_link_dies_with_the_password_or_the_address_that_it_was_made_for_and_with_time(
    api: Api, mail_server: MailServer, sends: Delivery, change: str
) -> None:
    api.register("ada@example.com")
    token = link(api, mail_server, sends, "ada@example.com")
    with api.connect() as connection:
        connection.execute(change.encode())
    assert refused(reset(api, token))


def test_of_several_links_to_a_new_password_one_is_good(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    api.register("ada@example.com")
    first, second = (link(api, mail_server, sends, "ada@example.com") for _ in range(2))
    assert reset(api, first).status_code == 204
    assert refused(reset(api, second, "yet another staple"))


def test_of_ten_who_use_one_link_at_once_one_succeeds(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    ada = api.person("ada@example.com")
    token = link(api, mail_server, sends, ada.email)
    passwords = [f"{NEW} {number}" for number in range(10)]
    answers = api.at_once(*[lambda each=each: reset(api, token, each) for each in passwords])
    (winner,) = [n for n, answer in enumerate(answers) if answer.status_code == 204]
    assert all(refused(answer) for n, answer in enumerate(answers) if n != winner)
    assert [n for n, each in enumerate(passwords) if api.login(ada.email, each).status_code == 200] == [
        winner
    ]


def test_of_ten_who_verify_by_one_link_at_once_one_succeeds(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    api.register()
    api.run(sends.deliver)
    token = mail_server.token()
    answers = api.at_once(*[lambda: verify(api, token)] * 10)
    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 9


def test_a_login_and_a_reset_at_once_leave_no_session_with_the_old_password(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    ada = api.person("ada@example.com")
    token = link(api, mail_server, sends, ada.email)
    answers = api.at_once(lambda: reset(api, token), *[lambda: api.login(ada.email)] * 6)
    assert answers[0].status_code == 204
    with api.connect() as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (0,)


def test_nothing_in_an_answer_or_in_the_outbox_says_whether_there_is_an_account(
    api: Api, sends: Delivery
) -> None:
    api.register("ada@example.com")
    api.run(sends.deliver)
    known, unknown = ask(api, "ada@example.com"), ask(api, "nobody@example.com")
    shown = [(answer.status_code, answer.content, sorted(answer.headers)) for answer in (known, unknown)]
    assert shown[0] == shown[1]
    with api.connect() as connection:
        rows = connection.execute("SELECT purpose, user_id, link, attempts FROM outbox").fetchall()
    assert rows == [("reset", None, None, 0)] * 2
    assert api.run(sends.deliver) == 1
    assert waiting(api) == []


@pytest.mark.prove
def test_asking_takes_as_long_for_an_account_as_for_none(
    api: Api, mail_server: MailServer, record_property: Callable[[str, object], None]
) -> None:
    """With a worker that sends what was asked for meanwhile: the answer waits for none of it."""
    settings: dict[str, Any] = {
        "smtp_url": mail_server.url, "mail_from": "folkmoot@example.org", "public_url": "https://moot.example.org",
    }  # fmt: skip
    taken: dict[str, list[float]] = {"known": [], "unknown": []}
    with Api(api.cluster, api.database, **settings) as sending:
        with api.connect() as connection:
            for number in range(600):
                sending.application.state.delivery.wake()
                connection.execute(
                    "INSERT INTO users (email, password) VALUES (%s, '!')", [f"known{number}@example.com"]
                )
                kinds = ("known", "unknown") if number % 2 else ("unknown", "known")
                for kind in kinds:
                    began = time.perf_counter()
                    assert ask(sending, f"{kind}{number}@example.com").status_code == 202
                    taken[kind].append(time.perf_counter() - began)
        mail_server.wait_for(600)
    medians = {kind: median(times) * 1000 for kind, times in taken.items()}
    record_property("medians", ", ".join(f"{kind} {each:.3f} ms" for kind, each in medians.items()))
    assert max(medians.values()) <= min(medians.values()) * 1.05, medians


def test_a_client_asks_so_often_in_an_hour(api: Api, sends: Delivery) -> None:
    with Api(api.cluster, api.database, password_resets_per_hour=3) as limited:
        limited.application.state.delivery = sends
        here, there = ({"X-Forwarded-For": f"192.0.2.{number}"} for number in (1, 2))
        assert [ask(limited, "ada@example.com", **here).status_code for _ in range(4)] == [202] * 3 + [429]
        assert ask(limited, "ada@example.com", **there).status_code == 202


def test_where_no_mail_can_be_sent_what_needs_it_says_so_and_registering_does_not_need_it(api: Api) -> None:
    ada = api.person("ada@example.com")
    for answer in (ask(api, ada.email), api.post("/email-verifications", headers=ada.auth)):
        assert (answer.status_code, answer.json()["type"]) == (409, "/errors/mail-not-set-up")
        assert "Ask whoever runs it" in answer.json()["detail"]
    assert waiting(api) == []


@pytest.mark.parametrize("token", ["x", "a" * 43, "..", "\u202e", "' OR 1=1 --", "%00", "\x00", "\ud800"])
def test_what_is_no_link_is_refused(api: Api, token: str) -> None:
    sent = json.dumps({"token": token})
    for path, body in (
        ("/email-verifications/confirm", sent),
        ("/password-resets/confirm", f'{sent[:-1]}, "password": "{NEW}"}}'),
    ):
        answer = api.post(path, content=body, headers={"Content-Type": "application/json"})
        assert refused(answer) or answer.status_code == 422, answer.text


def test_a_password_that_is_guessed_first_is_refused_and_the_link_stays_good(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    api.register("adalovelace@example.com", display_name="Ada King")
    token = link(api, mail_server, sends, "adalovelace@example.com")
    for password in ("password1", "adalovelace1", "Ada King 1", "short"):
        assert reset(api, token, password).status_code == 422
    assert reset(api, token).status_code == 204


def test_links_that_have_expired_are_cleared_away(api: Api, sends: Delivery) -> None:
    api.register()
    api.run(sends.deliver)
    with api.connect() as connection:
        connection.execute("UPDATE email_links SET expires_at = now() - interval '1 second'")
        api.run(sends.deliver)
        assert connection.execute("SELECT count(*) FROM email_links").fetchone() == (0,)


def test_a_link_that_was_used_is_not_made_anew_by_its_mail_that_comes_once_more(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    api.register("ada@example.com")
    api.run(sends.deliver)
    ask(api, "ada@example.com")
    mail_server.breaks = "before the answer"
    api.run(sends.deliver)
    mail_server.breaks = ""
    token = mail_server.token()
    assert reset(api, token).status_code == 204
    assert api.run(sends.deliver) == 0
    assert (waiting(api), refused(reset(api, token))) == ([], True)


def test_a_reset_mail_that_comes_too_late_is_not_sent(api: Api, sends: Delivery) -> None:
    api.register("ada@example.com")
    api.run(sends.deliver)
    ask(api, "ada@example.com")
    with api.connect() as connection:
        connection.execute("UPDATE outbox SET created_at = now() - %s", [RESET.tried])
    assert api.run(sends.deliver) == 0
    assert waiting(api) == []


def test_the_log_has_no_secret_of_a_link(
    api: Api, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Api(api.cluster, api.database, log_level="info") as told:
        # A logger keeps the level that was set when it was first used, by another test.
        monkeypatch.setattr(middleware, "_log", structlog.stdlib.get_logger("folkmoot"))
        for path in ("/reset/a-secret", "/verify/a-secret/", "/reset/a-secret/x"):
            told.get(path)
    logs.configure("warning")
    said = [line for line in capfd.readouterr().err.splitlines() if '"event":"request"' in line]
    assert [json.loads(line)["path"] for line in said] == ["/reset/…", "/verify/…", "/reset/…"]
