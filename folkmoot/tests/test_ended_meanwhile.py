"""An account that is deleted, or a session that ends, while it is answered: 401, and nothing done."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from api import PASSWORD, Api, Person

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import httpx

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database "
WAITING += "WHERE datname = current_database()) OR NOT granted AND locktype = 'transactionid'"
POST = {"title": "Who speaks first?", "content": "Ada"}
CONFIRMED = {"current_password": PASSWORD}


def while_deleted(api: Api, person: Person, request: Callable[[], httpx.Response]) -> httpx.Response:
    """Make a request that waits for a deletion of the person, which then is committed."""
    with api.connect() as watching, api.cluster.connect(api.database, autocommit=False) as deleting:
        deleting.execute("DELETE FROM users WHERE id = %s", [person.id])
        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(request)
            deadline = time.monotonic() + 20
            while watching.execute(WAITING.encode()).fetchone() == (0,):
                assert time.monotonic() < deadline
                assert not asked.done(), asked.result().text
            deleting.commit()
            return asked.result()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/posts", POST),
        ("PUT", "/posts/{mine}", POST),
        ("PATCH", "/posts/{mine}", {"title": "Another"}),
        ("DELETE", "/posts/{mine}", None),
        ("PUT", "/posts/{theirs}/vote", None),
        ("POST", "/vote", {"post_id": "theirs", "dir": 1}),
        ("PATCH", "/users/me", {"display_name": "Ada"}),
        ("PATCH", "/users/me", {"email": "new@example.com", **CONFIRMED}),
        ("DELETE", "/users/me", CONFIRMED),
        ("DELETE", "/sessions", CONFIRMED),
        ("DELETE", "/sessions/{session}", None),
    ],
)
def test_whose_account_is_deleted_meanwhile_is_logged_out(
    api: Api, method: str, path: str, body: dict[str, Any] | None
) -> None:
    ada, bob = api.person(), api.person()
    mine = api.post("/posts", json=POST, headers=ada.auth).json()["id"]
    theirs = api.post("/posts", json=POST, headers=bob.auth).json()["id"]
    session = api.get("/sessions", headers=ada.auth).json()["items"][0]["id"]
    path = path.format(mine=mine, theirs=theirs, session=session)
    if body and "post_id" in body:
        body = {**body, "post_id": theirs}
    answer = while_deleted(api, ada, partial(api.request, method, path, json=body, headers=ada.auth))
    assert (answer.status_code, answer.json()["type"]) == (401, "/errors/token-refused")
    assert api.get(f"/posts/{theirs}").json()["votes"] == 0
    assert len(api.get("/posts").json()["items"]) == 1


@pytest.fixture
def ended_by_writing(api: Api) -> Iterator[None]:
    """Whoever writes a post loses all sessions in the middle of it."""
    with api.connect() as connection:
        connection.execute(
            "CREATE FUNCTION end_sessions() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN DELETE FROM sessions WHERE user_id = NEW.owner_id; RETURN NULL; END'"
        )
        connection.execute(
            "CREATE TRIGGER end_sessions AFTER INSERT OR UPDATE ON posts "
            "FOR EACH ROW WHEN (NEW.title = 'ends') EXECUTE FUNCTION end_sessions()"
        )
        yield
        connection.execute("DROP FUNCTION end_sessions CASCADE")


@pytest.mark.usefixtures("ended_by_writing")
@pytest.mark.parametrize(("method", "path"), [("POST", "/posts"), ("PUT", "/posts/1"), ("PATCH", "/posts/1")])
def test_whose_session_ends_while_a_post_is_written_is_told_so(api: Api, method: str, path: str) -> None:
    ada = api.person()
    api.post("/posts", json=POST, headers=ada.auth)
    answer = api.request(method, path, json={**POST, "title": "ends"}, headers=ada.auth)
    assert (answer.status_code, answer.json()["type"]) == (401, "/errors/token-refused")
    assert [post["title"] for post in api.get("/posts").json()["items"]] == [POST["title"]]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/users/me", {"email": "new@example.com"}),
        ("DELETE", "/users/me", {}),
        ("DELETE", "/sessions", {}),
    ],
)
def test_whose_account_is_deleted_while_a_turn_is_waited_for_fails_no_login(
    api: Api, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: dict[str, str]
) -> None:
    ada = api.person()
    passwords = api.application.state.passwords
    turn = passwords.turn

    @asynccontextmanager
    async def turn_after_the_deletion() -> AsyncIterator[None]:
        with api.connect() as connection:
            connection.execute("DELETE FROM users WHERE id = %s", [ada.id])
        async with turn():
            yield

    monkeypatch.setattr(passwords, "turn", turn_after_the_deletion)
    answer = api.request(method, path, json={**body, **CONFIRMED}, headers=ada.auth)
    assert (answer.status_code, answer.json()["type"]) == (401, "/errors/token-refused")
    with api.connect() as connection:
        assert connection.execute("SELECT count(*) FROM login_failures").fetchone() == (0,)
