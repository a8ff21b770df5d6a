"""Reads go to a replica, and nobody is shown an older state than they have seen."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

import readers
from api import PASSWORD, Api
from replicated import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from folkmoot.postgres.replicas import Replica
    from replicated import Replicated

POST = {"title": "A bench", "content": "Who would help?"}


@pytest.fixture(scope="module")
def workers(servers: Replicated) -> Iterator[tuple[Api, Api]]:
    """Two workers, which share nothing but the servers."""
    url = servers.read_url
    with (
        Api(servers.primary, servers.database, database_read_url=url) as one,
        Api(servers.primary, servers.database, database_read_url=url) as other,
    ):
        yield one, other


@pytest.fixture
def served(workers: tuple[Api, Api], servers: Replicated) -> tuple[Api, Api]:
    """The workers on empty tables, which the replica has, too."""
    workers[0].empty()
    servers.catch_up()
    for worker in workers:
        until(lambda: replica(worker).usable)  # noqa: B023 - at once
        ready(worker)
    return workers


def replica(worker: Api) -> Replica:
    found: Replica = worker.application.state.replicas.each[0]
    return found


def ready(worker: Api) -> None:
    """Have every connection to the replica open, and see it caught up."""

    def answers() -> bool:
        before = replica(worker).answered
        worker.get("/posts", headers={"X-Forwarded-For": "203.0.113.99"})
        return replica(worker).answered > before

    until(answers)


_CLIENT = count(1)


def elsewhere() -> dict[str, str]:
    """A client that was not here before."""
    return {"X-Forwarded-For": f"2001:db8::{next(_CLIENT):x}"}


def titles(worker: Api, headers: dict[str, str]) -> list[str]:
    items: list[dict[str, Any]] = worker.get("/posts", headers=headers).json()["items"]
    return [item["title"] for item in items]


def test_reads_are_asked_of_the_replica(served: tuple[Api, Api], servers: Replicated) -> None:
    one, _ = served
    ada = one.person()
    post = one.post("/posts", json=POST, headers=ada.auth).json()["id"]
    servers.catch_up()
    paths = [
        "/posts", "/posts?sort=hot", "/posts?q=bench", f"/posts/{post}", f"/posts/{post}/comments", "/users",
        f"/users/{ada.id}", "/", f"/p/{post}", f"/u/{ada.id}", "/feed.atom", f"/u/{ada.id}/feed.atom",
        f"/p/{post}/feed.atom",
    ]  # fmt: skip
    for path in paths:
        for headers in (ada.auth, elsewhere()):
            answered, missed = replica(one).answered, replica(one).missed
            assert one.get(path, headers=headers).status_code == 200, path
            assert (replica(one).answered > answered, replica(one).missed) == (True, missed), path


def test_who_has_written_reads_it_from_any_worker_while_the_replica_is_behind(
    served: tuple[Api, Api], servers: Replicated
) -> None:
    one, other = served
    ada = one.person()
    with servers.held():
        assert one.post("/posts", json=POST, headers=ada.auth).status_code == 201
        for worker in (one, other):
            assert titles(worker, ada.auth) == ["A bench"]
            # The token says who it is, wherever it comes from.
            assert titles(worker, {**ada.auth, **elsewhere()}) == ["A bench"]
            assert titles(worker, elsewhere()) == []
    servers.catch_up()
    assert titles(one, elsewhere()) == ["A bench"]
    answered = replica(other).answered
    assert titles(other, ada.auth) == ["A bench"]
    assert replica(other).answered == answered + 1


def test_a_vote_that_is_a_statement_of_its_own_is_read_as_well(
    served: tuple[Api, Api], servers: Replicated
) -> None:
    one, other = served
    ada = one.person()
    post = one.post("/posts", json=POST, headers=ada.auth).json()["id"]
    with servers.held():
        assert one.put(f"/posts/{post}/vote", headers=ada.auth).status_code == 204
        assert other.get(f"/posts/{post}", headers=ada.auth).json()["voted"] is True
        assert other.get(f"/posts/{post}", headers=elsewhere()).json()["votes"] == 0


def test_who_registered_and_brings_nothing_along_sees_it_and_may_log_in_from_elsewhere(
    served: tuple[Api, Api], servers: Replicated
) -> None:
    one, other = served
    with servers.held():
        here = elsewhere()
        account = {"email": "ada@example.com", "password": PASSWORD}
        registered = one.post("/users", json=account, headers=here)
        assert registered.status_code == 201
        path = registered.headers["location"]
        assert other.get(path, headers=here).status_code == 200
        assert other.get(path, headers=elsewhere()).status_code == 404
        tokens = one.login("ada@example.com", client="198.51.100.3").json()
        token = {"Authorization": f"Bearer {tokens['access_token']}", **elsewhere()}
        assert other.get("/posts", headers=token).status_code == 200
        assert other.get(path, headers=token).status_code == 200


def test_a_new_login_sees_no_older_state_than_the_one_before(
    served: tuple[Api, Api], servers: Replicated
) -> None:
    one, other = served
    ada = one.person()
    with servers.held():
        one.post("/posts", json=POST, headers=ada.auth)
        tokens = other.login(ada.email, client="198.51.100.5").json()
        again = {"Authorization": f"Bearer {tokens['access_token']}", **elsewhere()}
        assert titles(other, again) == ["A bench"]


def test_what_the_primary_has_shown_does_not_go_back_in_time(
    served: tuple[Api, Api], servers: Replicated
) -> None:
    one, other = served
    ada, bob = one.person(), one.person()
    bob_reads = {**bob.auth, **elsewhere()}
    with servers.held():
        bob_writes = one.post("/posts", json={**POST, "title": "By Bob"}, headers=bob_reads)
        assert bob_writes.status_code == 201
        assert one.post("/posts", json={**POST, "title": "By Ada"}, headers=ada.auth).status_code == 201
        assert titles(one, bob_reads) == ["By Ada", "By Bob"]
        # Bob's own write is on the replica from here on, and Ada's, which he has read, must be, too.
        one.post("/posts", json={**POST, "title": "By Ada again"}, headers=ada.auth)
        assert titles(one, bob_reads) == ["By Ada again", "By Ada", "By Bob"]
    assert titles(other, bob_reads) == ["By Ada again", "By Ada", "By Bob"]


def test_a_refusal_tells_of_the_primary_and_is_not_contradicted(
    served: tuple[Api, Api], servers: Replicated
) -> None:
    one, other = served
    ada, bob = one.person(), one.person()
    with servers.held():
        post = one.post("/posts", json=POST, headers=ada.auth).json()["id"]
        assert one.put(f"/posts/{post}", json=POST, headers={**bob.auth, **elsewhere()}).status_code == 403
        assert other.get(f"/posts/{post}", headers={**bob.auth, **elsewhere()}).status_code == 200


def test_pages_and_their_cookie_show_what_was_written(served: tuple[Api, Api], servers: Replicated) -> None:
    one, other = served
    one.person("ada@example.com")
    with servers.held():
        _browse(one, "/log-in", email="ada@example.com", password=PASSWORD)
        location = _browse(one, "/write", title="From a page", content="Seen at once")
        other.borrow_cookies(one)
        assert "Seen at once" in other.get(location).text
        assert "From a page" in other.get("/?order=new").text
    one.forget_cookies()


def _browse(worker: Api, path: str, **fields: str) -> str:
    form = worker.get({"/log-in": "/login"}.get(path, path)).text
    token = form.partition('name="csrf" value="')[2].partition('"')[0]
    answer = worker.post(path, data={"csrf": token, **fields}, headers={"Origin": "http://testserver"})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def test_a_session_that_is_ended_ends_at_once_whatever_the_replica_has(
    served: tuple[Api, Api], servers: Replicated
) -> None:
    one, other = served
    ada, bob = one.person(), one.person()
    with one.connect() as connection:
        connection.execute("UPDATE users SET administrator = TRUE WHERE id = %s", (ada.id,))
    with servers.held():
        assert titles(other, {**bob.auth, **elsewhere()}) == []
        why = {"reason": "Spam"}
        blocked = one.put(f"/users/{bob.id}/block", json=why, headers={**ada.auth, **elsewhere()})
        assert blocked.status_code == 204
        assert other.get("/posts", headers={**bob.auth, **elsewhere()}).status_code == 401


def test_what_was_seen_is_forgotten_with_the_table_and_then_everybody_waits_for_the_replica(
    served: tuple[Api, Api], servers: Replicated
) -> None:
    one, other = served
    ada = one.person()
    with servers.held():
        one.post("/posts", json=POST, headers=ada.auth)
        with one.connect() as connection:  # as after a crash of the primary
            connection.execute("TRUNCATE seen_positions")
        for headers in (elsewhere(), ada.auth, elsewhere()):
            assert titles(other, headers) == ["A bench"]
    servers.catch_up()
    answered = replica(other).answered
    assert titles(other, elsewhere()) == ["A bench"]
    assert replica(other).answered == answered + 1


@pytest.mark.parametrize(
    ("people", "operations", "pause", "lag"),
    [(10, 500, 0.01, 0.3), pytest.param(50, 100_000, 0.2, 5.0, marks=pytest.mark.prove)],
)
def test_nobody_is_shown_what_is_old_while_the_replica_lags_at_random(
    servers: Replicated, people: int, operations: int, pause: float, lag: float, record_property: Any
) -> None:
    with servers.primary.connect(servers.database) as connection:
        connection.execute("TRUNCATE users CASCADE")
    servers.catch_up()
    told = asyncio.run(readers.run(servers, people=people, operations=operations, pause=pause, lag=lag))
    record_property(f"with a replica that lags 0 to {lag} s:", str(told))
    assert told.stale == []
    assert told.operations == operations
    # How many they are in a short run is up to the machine.
    assert told.share >= (0.8 if operations >= 100_000 else 0.2)
