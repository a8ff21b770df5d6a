"""Logins, changes of passwords and deletions that meet: what was verified is true when it is acted on."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from api import PASSWORD, Api
from folkmoot.people import events
from folkmoot.people.hashing import hash_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from folkmoot.people.passwords import Passwords

NEW = "another battery staple"


@pytest.fixture
def other(api: Api) -> Iterator[Api]:
    """A second worker on the same database."""
    with Api(api.cluster, api.database) as made:
        yield made


class Held:
    """The first request whose password has been verified waits, until the test lets it go on."""

    def __init__(self, passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
        self._verify = passwords.verify
        self._verified, self._go_on = threading.Event(), threading.Event()
        monkeypatch.setattr(passwords, "verify", self)

    async def __call__(self, *arguments: Any) -> tuple[bool, str | None]:
        answer = await self._verify(*arguments)
        if not self._verified.is_set():
            self._verified.set()
            self._go_on.wait(20)  # the whole worker waits; the other one does not
        return answer

    def while_held(
        self, request: Callable[[], httpx.Response], meanwhile: Callable[[], httpx.Response]
    ) -> tuple[int, int]:
        """Make a request and, when its password has been verified, another: the statuses of both."""
        with ThreadPoolExecutor(1) as thread:
            first = thread.submit(request)
            assert self._verified.wait(20)
            second = meanwhile()
            self._go_on.set()
            return first.result().status_code, second.status_code


@pytest.fixture
def held(api: Api, monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(api.application.state.passwords, monkeypatch)


def change_password(api: Api, auth: dict[str, str], old: str = PASSWORD, new: str = NEW) -> httpx.Response:
    return api.patch("/users/me", json={"password": new, "current_password": old}, headers=auth)


def living(api: Api) -> int:
    with api.connect() as connection:
        (count,) = connection.execute("SELECT count(*) FROM sessions").fetchone() or (0,)
    return int(count)


def test_a_login_with_the_password_before_begins_no_session(api: Api, other: Api, held: Held) -> None:
    ada = other.person()
    statuses = held.while_held(partial(api.login, ada.email), partial(change_password, other, ada.auth))
    assert statuses == (400, 200)
    assert living(api) == 1
    assert api.login(ada.email, NEW).status_code == 200


def test_a_login_that_is_not_committed_is_ended_by_a_change_of_the_password(
    api: Api, other: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = api.person()
    note = events.note
    began = threading.Event()

    def note_when_somebody_waits(what: str, *arguments: Any, **values: Any) -> None:
        """The session has begun, and its transaction is open still."""
        if what == "login":
            began.set()
            with api.connect() as connection:
                while not connection.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall():
                    pass
        note(what, *arguments, **values)

    monkeypatch.setattr(events, "note", note_when_somebody_waits)
    with ThreadPoolExecutor(1) as thread:
        login = thread.submit(api.login, ada.email)
        assert began.wait(20)
        assert change_password(other, ada.auth).status_code == 200
        tokens = login.result().json()
    stolen = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert api.get("/users/me", headers=stolen).status_code == 401
    assert living(api) == 1


def test_of_two_changes_of_a_password_at_once_one_succeeds(api: Api, other: Api, held: Held) -> None:
    ada = other.person()
    statuses = held.while_held(
        partial(change_password, api, ada.auth, new="the third password"),
        partial(change_password, other, ada.auth),
    )
    assert statuses == (403, 200)
    assert api.login(ada.email, NEW).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/users/me", {"email": "new@example.com"}),
        ("DELETE", "/users/me", {}),
        ("DELETE", "/sessions", {}),
    ],
)
def test_a_password_that_was_changed_meanwhile_confirms_nothing(
    api: Api, other: Api, held: Held, method: str, path: str, body: dict[str, str]
) -> None:
    ada = other.person()
    sent = {**body, "current_password": PASSWORD}
    first, second = held.while_held(
        partial(api.request, method, path, json=sent, headers=ada.auth),
        partial(change_password, other, ada.auth),
    )
    assert (first, second) == (403, 200)
    assert other.get("/users/me", headers=ada.auth).json()["email"] == ada.email


def test_a_login_to_an_account_that_is_deleted_meanwhile_begins_no_session(
    api: Api, other: Api, held: Held
) -> None:
    ada = other.person()
    statuses = held.while_held(
        partial(api.login, ada.email), partial(other.delete_with_password, "/users/me", ada.auth)
    )
    assert statuses == (400, 204)
    assert living(api) == 0


def test_a_login_whose_hash_another_login_replaces_meanwhile_succeeds(
    api: Api, other: Api, held: Held
) -> None:
    ada = other.person()
    with api.connect() as connection:
        connection.execute("UPDATE users SET password = %s", [hash_password((1, 16, 1), PASSWORD)])
    assert held.while_held(partial(api.login, ada.email), partial(other.login, ada.email)) == (200, 200)


def test_a_refresh_and_a_change_of_the_password_at_once_leave_one_session(api: Api, other: Api) -> None:
    ada = api.person()
    for number in range(5):
        before, after = (PASSWORD, NEW) if number % 2 == 0 else (NEW, PASSWORD)
        elsewhere = api.login(ada.email, before).json()["refresh_token"]
        api.at_once(
            partial(api.post, "/login/refresh", data={"refresh_token": elsewhere}),
            partial(change_password, other, ada.auth, before, after),
        )
        assert living(api) == 1
