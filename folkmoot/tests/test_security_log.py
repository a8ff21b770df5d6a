"""What the log tells about accounts and sessions: one line an event, by ids, and never a secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from api import PASSWORD, Api
from folkmoot.http import logs
from folkmoot.people import events
from folkmoot.people.login_failures import PAIR_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

NEW = "another battery staple"


@pytest.fixture
def said(
    api: Api, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[dict[str, Any]]]:
    """The log of a whole scenario, which has an event of each kind; its secrets are in none of its lines."""
    secrets = {PASSWORD, NEW, "wrong password", "0123456789abcdef0123456789abcdef"}
    with Api(api.cluster, api.database, log_level="info", registrations_per_hour=1) as told:
        # A logger keeps the level that was set when it was first used, by another test.
        monkeypatch.setattr(events, "_log", structlog.stdlib.get_logger("folkmoot"))
        capfd.readouterr()
        ada = told.person("ada@example.com")
        told.register("ben@example.com")
        told.login("ada@example.com", "wrong password")
        told.login("nobody@example.com", "wrong password")
        refreshed = told.post("/login/refresh", data={"refresh_token": ada.tokens["refresh_token"]}).json()
        told.post("/login/refresh", data={"refresh_token": ada.tokens["refresh_token"]})
        again = told.login("ada@example.com").json()
        auth = {"Authorization": f"Bearer {again['access_token']}"}
        elsewhere = told.login("ada@example.com").json()
        change = {"password": NEW, "current_password": PASSWORD, "email": "ada2@example.com"}
        told.patch("/users/me", json=change, headers=auth)
        told.post("/logout", headers=auth)
        last = told.login("ada2@example.com", NEW).json()
        for _ in range(PAIR_LIMIT + 1):
            told.login("ada2@example.com", "wrong password", client="198.51.100.1")
        auth = {"Authorization": f"Bearer {last['access_token']}"}
        told.delete_with_password("/users/me", auth, NEW)
        for tokens in (ada.tokens, refreshed, again, elsewhere, last):
            secrets |= {
                tokens["access_token"],
                tokens["refresh_token"],
                tokens["refresh_token"].split(".")[2],
            }
        log = capfd.readouterr().err
        with told.connect() as connection:
            secrets |= {row[0] for row in connection.execute("SELECT password FROM users")}
    for secret in secrets:
        assert secret not in log
        assert secret.replace(" ", "+") not in log
    yield [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    logs.configure("warning")


def test_every_event_is_one_line_with_account_session_client_and_request(said: list[dict[str, Any]]) -> None:
    told = [line for line in said if "account_id" in line]
    kinds = [line["event"] for line in told]
    assert kinds == [
        "registered", "login", "limited", "login_failed", "login_failed", "refresh_reused", "login", "login",
        "session_ended", "password_changed", "email_changed", "session_ended", "login",
        *["login_failed"] * PAIR_LIMIT, "login_limited", "account_deleted",
    ]  # fmt: skip
    for line in told:
        assert {"session_id", "client", "request_id", "timestamp", "level"} <= line.keys()
    by_kind = {line["event"]: line for line in reversed(told)}
    ada = by_kind["registered"]["account_id"]
    assert ada is not None
    assert by_kind["login"]["account_id"] == ada
    assert by_kind["refresh_reused"]["session_id"] == by_kind["login"]["session_id"]
    assert by_kind["refresh_reused"]["level"] == "warning"
    assert by_kind["password_changed"]["account_id"] == by_kind["account_deleted"]["account_id"] == ada
    known, unknown = [line["account_id"] for line in told if line["event"] == "login_failed"][:2]
    assert (known, unknown) == (ada, None)
    assert {line["reason"] for line in told if line["event"] == "session_ended"} == {
        "another password", "logout",
    }  # fmt: skip


def test_addresses_of_people_are_in_no_line(said: list[dict[str, Any]]) -> None:
    assert "@" not in json.dumps(said)
