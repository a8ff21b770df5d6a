"""How often each client and each person may do what costs much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from api import PASSWORD, Api

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

LIMITS: dict[str, Any] = {
    "registrations_per_hour": 3, "refreshes_per_minute": 3, "searches_per_minute": 3, "writes_per_minute": 3,
    "exports_per_hour": 3,
}  # fmt: skip


@pytest.fixture
def limited(api: Api) -> Iterator[Api]:
    """A worker with low limits, on the same database as `api`, which has none."""
    with Api(api.cluster, api.database, **LIMITS) as made:
        yield made


def from_(client: str) -> dict[str, str]:
    return {"X-Forwarded-For": client}


def register(api: Api, number: int, client: str = "192.0.2.1") -> httpx.Response:
    body = {"email": f"new{number}@example.com", "password": PASSWORD}
    return api.post("/users", json=body, headers=from_(client))


def is_refused(answer: httpx.Response, within: int) -> bool:
    return (
        answer.status_code == 429
        and answer.json()["type"] == "/errors/too-many-requests"
        and 0 < int(answer.headers["retry-after"]) <= within
    )


def test_a_client_registers_so_many_people_in_an_hour(limited: Api) -> None:
    assert [register(limited, n).status_code for n in range(3)] == [201] * 3
    assert is_refused(register(limited, 3), 3600)
    assert register(limited, 3, "192.0.2.2").status_code == 201
    assert limited.login("new1@example.com", client="192.0.2.1").status_code == 200


def test_the_addresses_of_one_ipv6_subscriber_are_one_client(limited: Api) -> None:
    statuses = [register(limited, n, f"2001:db8:1:2::{n + 1:x}").status_code for n in range(4)]
    assert statuses == [201] * 3 + [429]
    assert register(limited, 9, "2001:db8:1:3::1").status_code == 201


def test_all_workers_count_together_and_no_request_slips_past(limited: Api) -> None:
    with Api(limited.cluster, limited.database, **LIMITS) as second:
        answers = limited.at_once(
            *[lambda n=n, api=api: register(api, n) for n in range(10) for api in (limited, second)]
        )
    assert sum(answer.status_code != 429 for answer in answers) == 3


def test_a_person_searches_so_often_in_a_minute_and_so_does_a_client(api: Api, limited: Api) -> None:
    ada, ben = api.person(), api.person()
    for headers, others in ((ada.auth, ben.auth), (from_("192.0.2.1"), from_("192.0.2.2"))):
        statuses = [limited.get("/posts?q=word", headers=headers).status_code for _ in range(3)]
        assert statuses == [200] * 3
        assert is_refused(limited.get("/posts?q=word", headers=headers), 60)
        assert limited.get("/posts?q=word", headers=others).status_code == 200
        assert limited.get("/posts", headers=headers).status_code == 200


def test_a_person_exports_so_often_in_an_hour(api: Api, limited: Api) -> None:
    ada = api.person()
    statuses = [limited.get("/users/me/export", headers=ada.auth).status_code for _ in range(3)]
    assert statuses == [200] * 3
    assert is_refused(limited.get("/users/me/export", headers=ada.auth), 3600)


def test_a_client_refreshes_so_often_in_a_minute_and_keeps_its_session(api: Api, limited: Api) -> None:
    token = api.person().tokens["refresh_token"]
    for _ in range(3):
        token = limited.post("/login/refresh", data={"refresh_token": token}).json()["refresh_token"]
    assert is_refused(limited.post("/login/refresh", data={"refresh_token": token}), 60)
    assert api.post("/login/refresh", data={"refresh_token": token}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/posts", {"title": "t", "content": "c"}),
        ("PUT", "/posts/1/vote", None),
        ("POST", "/vote", {"post_id": 1, "dir": 1}),
        ("DELETE", "/posts/1", None),
        ("PATCH", "/users/me", {"display_name": "Ada"}),
        ("DELETE", "/users/me", None),
        ("DELETE", "/sessions", None),
        ("DELETE", "/sessions/1", None),
        ("POST", "/logout", None),
    ],
)
def test_a_person_changes_something_so_often_in_a_minute(
    api: Api, limited: Api, method: str, path: str, body: dict[str, Any] | None
) -> None:
    ada, ben = api.person(), api.person()
    for _ in range(3):
        limited.patch("/users/me", json={"display_name": "Ada"}, headers=ada.auth)
    sent = {} if body is None else {"json": body}
    assert is_refused(limited.request(method, path, headers=ada.auth, **sent), 60)
    assert limited.request(method, path, headers=ben.auth, **sent).status_code != 429
    assert limited.get("/users/me", headers=ada.auth).status_code == 200


def test_counts_are_forgotten_when_their_time_is_over_and_cleared_away(limited: Api) -> None:
    for n in range(4):
        register(limited, n)
    with limited.connect() as connection:
        connection.execute("UPDATE request_counts SET until = now() - interval '1 second'")
        assert register(limited, 5).status_code == 201
        assert register(limited, 6, "192.0.2.2").status_code == 201
        assert connection.execute("SELECT count(*) FROM request_counts").fetchone() == (2,)
        names = connection.execute("SELECT encode(key, 'escape') FROM request_counts").fetchall()
    assert "192.0.2" not in str(names)
