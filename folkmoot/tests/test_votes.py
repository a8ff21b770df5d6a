"""Votes over the API: once a person and post, however often and however many at once."""

from __future__ import annotations

from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

import pytest

from folkmoot.commands.recount import recount

if TYPE_CHECKING:
    from api import Api, Person


def post(api: Api, person: Person) -> int:
    body = {"title": "Title", "content": "Content"}
    return int(api.post("/posts", json=body, headers=person.auth).json()["id"])


def test_put_and_delete_can_be_repeated(api: Api) -> None:
    ada, bob = api.person(), api.person()
    path = f"/posts/{post(api, ada)}"
    for method, votes in (("PUT", 1), ("PUT", 1), ("DELETE", 0), ("DELETE", 0)):
        answer = api.request(method, f"{path}/vote", headers=bob.auth)
        assert (answer.status_code, answer.content) == (204, b"")
        assert api.get(path).json()["votes"] == votes


def test_the_old_route_refuses_a_second_vote_and_taking_back_none(api: Api) -> None:
    ada = api.person()
    post_id = post(api, ada)
    for direction, status in ((0, 404), (1, 201), (1, 409), (0, 201), (0, 404)):
        answer = api.post("/vote", json={"post_id": post_id, "dir": direction}, headers=ada.auth)
        assert answer.status_code == status
    assert api.post("/vote", json={"post_id": 999, "dir": 1}, headers=ada.auth).status_code == 404


@pytest.mark.parametrize(
    "ballot",
    [{"dir": n} for n in (2, -5, 0.9, 1.5, True, "1", None)]
    + [{"post_id": n} for n in (0, -1, 2**63, 1.5, "1", True, None)]
    + [{"also": 1}],
    ids=str,
)
def test_what_is_no_ballot_is_refused(api: Api, ballot: dict[str, object]) -> None:
    ada = api.person()
    body = {"post_id": post(api, ada), "dir": 1, **ballot}
    assert api.post("/vote", json=body, headers=ada.auth).status_code == 422


def test_of_200_votes_of_one_person_at_once_one_counts(api: Api) -> None:
    ada = api.person()
    body = {"post_id": post(api, ada), "dir": 1}
    answers = api.at_once(*[lambda: api.post("/vote", json=body, headers=ada.auth)] * 200)
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 199
    assert api.get("/posts/1").json()["votes"] == 1


def test_people_vote_and_leave_and_posts_go_at_once_and_every_number_is_exact(api: Api) -> None:
    people = [api.person() for _ in range(12)]
    posts = [post(api, people[n]) for n in range(6)]
    requests = []
    for person in people[6:]:
        for n, method in zip(posts * 3, cycle(("PUT", "PUT", "DELETE")), strict=False):
            requests.append((method, f"/posts/{n}/vote", person.auth))
    requests.append(("DELETE", f"/posts/{posts[5]}", people[5].auth))
    answers = api.at_once(
        *(partial(api.request, method, path, headers=auth) for method, path, auth in requests),
        *(
            partial(api.delete_with_password, "/users/me", person.auth)
            for person in (*people[:2], *people[9:])
        ),
    )
    assert {answer.status_code for answer in answers} <= {204, 404, 401}
    with api.connect() as connection:
        assert recount(connection, repair=False) == []
