"""Comments are removed, restored and reported while people write, vote and delete: all stays exact."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from folkmoot.commands.recount import recount
from test_comments import say
from test_moderated_comments import remove, report, restore
from test_moderation import administrator, block, unblock, write

if TYPE_CHECKING:
    import psycopg

    from api import Api, Person


@pytest.fixture
def admin(api: Api) -> Person:
    return administrator(api)


def _unplaced(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Deleted comments that have neither answers nor anything withheld, and withheld ones that are shown."""
    return connection.execute("""
        SELECT c.id, c.owner_id FROM comments AS c
          LEFT JOIN withheld_comments AS w ON w.post_id = c.post_id AND w.comment_id = c.id
         WHERE (c.owner_id IS NOT NULL AND w.comment_id IS NOT NULL)
            OR (c.owner_id IS NULL AND w.comment_id IS NULL AND NOT EXISTS (
                SELECT FROM comments AS a WHERE a.post_id = c.post_id AND a.parent_id = c.id))
    """).fetchall()


@pytest.mark.parametrize("gone", ["post", "account"])
def test_numbers_and_places_are_exact_after_all_of_it_at_once(api: Api, admin: Person, gone: str) -> None:
    people = [api.person() for _ in range(6)]
    posts = [write(api, people[0]) for _ in range(3)]
    comments = [(post, say(api, person, post)) for post in posts for person in people]
    random = Random(1)
    requests = []
    for post, comment in comments * 2:
        person = random.choice(people)
        body = {"content": "x", "parent_id": comment}
        path = f"/posts/{post}/comments/{comment}"
        requests += [
            partial(api.post, f"/posts/{post}/comments", json=body, headers=person.auth),
            partial(api.put, f"{path}/vote", headers=person.auth),
            partial(api.delete, path, headers=person.auth),
            partial(remove, api, admin, post, comment),
            partial(restore, api, admin, post, comment),
            partial(report, api, person, post, comment),
        ]
    for act in (block, unblock, block):
        requests.append(partial(act, api, admin, people[1]))
    if gone == "post":
        requests.append(partial(api.delete, f"/posts/{posts[0]}", headers=people[0].auth))
    else:
        requests.append(partial(api.delete_with_password, "/users/me", people[2].auth))
    random.shuffle(requests)
    statuses = {answer.status_code for answer in api.at_once(*requests)}
    # With an account its votes on many comments go at once: who is in their way is told to come again.
    assert statuses <= {201, 204, 401, 403, 404, *([503] if gone == "account" else [])}
    with api.connect() as connection:
        assert recount(connection, repair=False) == []
        assert _unplaced(connection) == []
