"""Administrators remove comments, people report them, a block withholds them; every number stays exact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from folkmoot.commands.recount import recount
from test_comments import say, thread
from test_moderation import WHY, administrator, block, unblock, write

if TYPE_CHECKING:
    import httpx

    from api import Api, Person


@pytest.fixture
def admin(api: Api) -> Person:
    return administrator(api)


def remove(api: Api, by: Person, post: int, comment: int, **why: str) -> httpx.Response:
    return api.put(f"/posts/{post}/comments/{comment}/removal", json={**WHY, **why}, headers=by.auth)


def restore(api: Api, by: Person, post: int, comment: int) -> httpx.Response:
    return api.delete(f"/posts/{post}/comments/{comment}/removal", headers=by.auth)


def report(api: Api, by: Person, post: int, comment: int) -> httpx.Response:
    return api.put(f"/posts/{post}/comments/{comment}/report", json=WHY, headers=by.auth)


def log(api: Api, by: Person) -> list[tuple[Any, ...]]:
    found = api.get("/moderation-log", headers=by.auth).json()["items"]
    keys = "administrator_id", "action", "person_id", "post_id", "comment_id", "reason"
    return [tuple(entry[key] for key in keys) for entry in found]


def number(api: Api, post: int) -> int:
    """How many comments a post says that it has; it is so."""
    with api.connect() as connection:
        assert recount(connection, repair=False) == []
    found: int = api.get(f"/posts/{post}").json()["comments"]
    return found


def test_a_removed_comment_is_seen_by_its_author_with_the_reason_and_by_nobody_else(
    api: Api, admin: Person
) -> None:
    ada, eve = api.person(), api.person()
    post = write(api, ada)
    comment = say(api, eve, post, "Buy this")
    path = f"/posts/{post}/comments/{comment}"
    before = api.get(path, headers=eve.auth)
    assert remove(api, admin, post, comment).status_code == 204
    assert thread(api, post) == []
    assert number(api, post) == 0
    for headers in ({}, ada.auth, admin.auth):
        assert api.get(path, headers=headers).status_code == 404
        assert api.get(f"/posts/{post}/comments", headers=headers).json()["items"] == []
    mine = api.get(path, headers=eve.auth)
    assert mine.json() == {**before.json(), "removed": WHY["reason"]}
    assert mine.headers["etag"] != before.headers["etag"]
    assert api.get(f"/posts/{post}/comments", headers=eve.auth).json()["items"] == [mine.json()]
    assert log(api, admin) == [(admin.id, "remove-comment", eve.id, post, comment, WHY["reason"])]


def test_a_removed_comment_takes_no_answer_no_vote_no_report_and_no_change(api: Api, admin: Person) -> None:
    ada, eve = api.person(), api.person()
    post = write(api, ada)
    comment = say(api, eve, post, "Buy this")
    path = f"/posts/{post}/comments/{comment}"
    remove(api, admin, post, comment)
    for person in (ada, eve):
        answer = {"content": "x", "parent_id": comment}
        assert api.post(f"/posts/{post}/comments", json=answer, headers=person.auth).status_code == 404
        assert api.put(f"{path}/vote", headers=person.auth).status_code == 404
        assert report(api, person, post, comment).status_code == 404
    changed = api.patch(path, json={"content": "Sold"}, headers=eve.auth)
    assert (changed.status_code, changed.json()["type"]) == (403, "/errors/removed-by-administrator")
    stale = api.delete(path, headers={**eve.auth, "If-Match": '"1."'})
    assert stale.status_code == 412
    assert api.delete(path, headers=ada.auth).status_code == 404
    assert api.delete(path, headers=eve.auth).status_code == 204
    assert api.get(path, headers=eve.auth).status_code == 404
    assert restore(api, admin, post, comment).status_code == 404
    with api.connect() as connection:
        left = connection.execute(
            "SELECT id FROM comments UNION ALL SELECT comment_id FROM withheld_comments"
        )
        assert left.fetchall() == []


def test_the_place_of_a_removed_comment_stays_as_long_as_somebody_answers_it(api: Api, admin: Person) -> None:
    ada, eve = api.person(), api.person()
    post = write(api, ada)
    first = say(api, eve, post, "first")
    second = say(api, eve, post, "second", first)
    third = say(api, ada, post, "third", second)
    say(api, ada, post, "last")
    remove(api, admin, post, second)
    assert thread(api, post) == ["first", "  -", "    third", "last"]
    place = api.get(f"/posts/{post}/comments/{second}").json()
    assert (place["deleted"], place["removed"], place["owner"], place["content"]) == (True, None, None, "")
    assert thread(api, post, limit=2) == ["first", "  -"]
    remove(api, admin, post, first)
    assert thread(api, post) == ["-", "  -", "    third", "last"]
    remove(api, admin, post, third)
    assert thread(api, post) == ["last"], "what has nothing living below it is in no list"
    assert thread(api, post, limit=1) == ["last"]
    assert number(api, post) == 1
    items = api.get(f"/posts/{post}/comments", headers=ada.auth).json()["items"]
    assert [item["id"] for item in items] == [first, second, third, third + 1], "its author sees it in place"
    assert [item["removed"] for item in items] == [None, None, WHY["reason"], None]
    restore(api, admin, post, third)
    assert thread(api, post) == ["-", "  -", "    third", "last"]
    api.delete(f"/posts/{post}/comments/{third}", headers=ada.auth)
    assert thread(api, post) == ["last"]
    for comment in (second, first):
        assert restore(api, admin, post, comment).status_code == 204
    assert thread(api, post) == ["first", "  second", "last"]
    assert number(api, post) == 3


def test_a_restored_comment_is_what_it_was_with_its_votes(api: Api, admin: Person) -> None:
    ada, eve = api.person(), api.person()
    post = write(api, ada)
    comment = say(api, eve, post, "Said")
    path = f"/posts/{post}/comments/{comment}"
    api.put(f"{path}/vote", headers=ada.auth)
    before = api.get(path, headers=ada.auth).json()
    assert restore(api, admin, post, comment).status_code == 404
    for reason in ("It sells.", "It lies."):
        assert remove(api, admin, post, comment, reason=reason).status_code == 204
        assert api.get(path, headers=eve.auth).json()["removed"] == reason
    assert restore(api, admin, post, comment).status_code == 204
    assert api.get(path, headers=ada.auth).json() == before
    assert number(api, post) == 1
    assert [entry[1] for entry in log(api, admin)] == ["restore-comment", *["remove-comment"] * 2]


def test_people_report_a_comment_once_and_the_queue_has_it_among_posts(api: Api, admin: Person) -> None:
    ada, ben, eve = api.person(), api.person(), api.person()
    post = write(api, eve, "A bench")
    comment = say(api, eve, post, "Buy this")
    for person in (ada, ben, ada):
        assert report(api, person, post, comment).status_code == 204
        assert api.put(f"/posts/{post}/report", json=WHY, headers=person.auth).status_code == 204
    found: list[tuple[Any, ...]] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        page = api.get("/reports", params=query, headers=admin.auth).json()
        found += [
            (each["user_id"], each["comment_id"], each["title"], each["owner_id"]) for each in page["items"]
        ]
        cursor = page["next_cursor"]
    assert found == [
        (person.id, what, "A bench", eve.id) for person in (ada, ben) for what in (comment, None)
    ]
    settled = api.delete(f"/posts/{post}/comments/{comment}/reports", headers=admin.auth)
    assert settled.status_code == 204
    left = api.get("/reports", headers=admin.auth).json()["items"]
    assert [each["comment_id"] for each in left] == [None, None]
    assert log(api, admin) == [(admin.id, "keep-comment", eve.id, post, comment, None)]
    exported = api.get("/users/me/export", headers=ada.auth).json()["reports"]
    assert [(each["post_id"], each["comment_id"]) for each in exported] == [(post, comment), (post, None)]
    other = say(api, eve, post, "Buy that")
    report(api, ada, post, other)
    remove(api, admin, post, other)
    assert len(api.get("/reports", headers=admin.auth).json()["items"]) == 2, "removed, so looked at"


def test_what_is_removed_is_in_its_authors_export(api: Api, admin: Person) -> None:
    eve = api.person()
    post = write(api, eve)
    comments = [say(api, eve, post, str(number)) for number in range(90)]
    for comment in comments[::2]:
        remove(api, admin, post, comment)
    exported = api.get("/users/me/export", headers=eve.auth).json()["comments"]
    assert [(each["id"], each["content"]) for each in exported] == [
        (comment, str(number)) for number, comment in enumerate(comments)
    ]


def test_comments_of_a_blocked_person_leave_the_lists_until_they_are_unblocked(
    api: Api, admin: Person
) -> None:
    ada, eve = api.person(), api.person()
    post = write(api, ada)
    answered = say(api, eve, post, "answered")
    say(api, ada, post, "answer", answered)
    say(api, eve, post, "unanswered")
    removed = say(api, eve, post, "removed")
    remove(api, admin, post, removed)
    block(api, admin, eve)
    assert thread(api, post) == ["-", "  answer"]
    assert number(api, post) == 1
    assert "unanswered" not in api.get(f"/p/{post}/feed.atom").text
    unblock(api, admin, eve)
    assert thread(api, post) == ["answered", "  answer", "unanswered"]
    assert number(api, post) == 3


def test_a_comment_that_is_restored_while_its_author_is_blocked_comes_with_its_author(
    api: Api, admin: Person
) -> None:
    ada, eve = api.person(), api.person()
    post = write(api, ada)
    comment = say(api, eve, post)
    remove(api, admin, post, comment)
    block(api, admin, eve)
    assert restore(api, admin, post, comment).status_code == 204
    assert thread(api, post) == []
    assert remove(api, admin, post, comment).status_code == 204
    assert restore(api, admin, post, comment).status_code == 204
    unblock(api, admin, eve)
    assert thread(api, post) == ["Said"]


def test_more_comments_than_a_batch_are_withheld_and_let_go(api: Api, admin: Person) -> None:
    ada, eve = api.person(), api.person()
    posts = [write(api, ada) for _ in range(3)]
    with api.connect() as connection:
        connection.execute(
            "INSERT INTO comments (post_id, owner_id, content) SELECT post, %s, n::text "
            "FROM generate_series(1, 200) AS n, unnest(%s::bigint[]) AS post",
            [eve.id, posts],
        )
        every = b"SELECT post_id, id, owner_id, content, path, votes FROM comments ORDER BY id"
        before = connection.execute(every).fetchall()
        block(api, admin, eve)
        assert [number(api, post) for post in posts] == [0] * 3
        unblock(api, admin, eve)
        assert connection.execute(every).fetchall() == before
        assert [number(api, post) for post in posts] == [200] * 3


def test_a_comment_that_is_being_written_while_its_author_is_blocked_is_in_no_list(
    api: Api, admin: Person
) -> None:
    eve = api.person()
    post = write(api, admin)
    insert = b"INSERT INTO comments (post_id, owner_id, content) VALUES (%s, %s, 'late')"
    with api.connect() as before, api.connect() as after:
        before.autocommit = False
        before.execute(insert, [post, eve.id])

        def commit_when_somebody_waits() -> Any:
            waiting = b"SELECT count(*) FROM pg_locks WHERE NOT granted"
            while after.execute(waiting).fetchone() == (0,):
                pass
            before.commit()

        _, blocked = api.at_once(commit_when_somebody_waits, lambda: block(api, admin, eve))
        assert blocked.status_code == 204
        with pytest.raises(Exception, match="is blocked"):
            after.execute(insert, [post, eve.id])
    assert thread(api, post) == []
    assert number(api, post) == 0


def test_with_an_account_or_a_post_what_is_removed_of_it_goes_and_leaves_no_empty_place(
    api: Api, admin: Person
) -> None:
    ada, eve = api.person(), api.person()
    post, other = write(api, ada), write(api, ada)
    parent = say(api, ada, post, "parent")
    removed = say(api, eve, post, "removed", parent)
    answered = say(api, eve, post, "answered")
    say(api, ada, post, "answer", answered)
    elsewhere = say(api, eve, other)
    for where, comment in ((post, removed), (post, answered), (other, elsewhere)):
        remove(api, admin, where, comment)
    api.delete(f"/posts/{other}", headers=ada.auth)
    api.delete(f"/posts/{post}/comments/{parent}", headers=ada.auth)
    api.delete_with_password("/users/me", eve.auth)
    assert thread(api, post) == ["-", "  answer"]
    assert number(api, post) == 1
    with api.connect() as connection:
        left = connection.execute(
            "SELECT (SELECT count(*) FROM comments), (SELECT count(*) FROM withheld_comments)"
        )
        assert left.fetchone() == (2, 0)


def test_plain_sql_keeps_places_and_numbers_as_the_api_does(api: Api, admin: Person) -> None:
    ada, eve = api.person(), api.person()
    post = write(api, ada)
    comments = [say(api, eve, post, str(n)) for n in range(4)]
    for comment in comments:
        remove(api, admin, post, comment)
    with api.connect() as connection:
        connection.execute("DELETE FROM withheld_comments WHERE comment_id = %s", [comments[0]])
        connection.execute("UPDATE comments SET owner_id = NULL WHERE id = %s", [comments[1]])
        connection.execute("DELETE FROM comments WHERE id = %s", [comments[2]])
        left = connection.execute("SELECT comment_id FROM withheld_comments ORDER BY 1").fetchall()
        assert left == connection.execute("SELECT id FROM comments ORDER BY 1").fetchall()
        assert left == [(comments[1],), (comments[3],)]
    assert number(api, post) == 0


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("PUT", "removal", WHY), ("DELETE", "removal", None), ("DELETE", "reports", None)],
)
def test_administrators_alone_moderate_comments(
    api: Api, method: str, path: str, body: dict[str, str] | None
) -> None:
    ada = api.person()
    post = write(api, ada)
    path = f"/posts/{post}/comments/{say(api, ada, post)}/{path}"
    options: dict[str, Any] = {"json": body} if body else {}
    assert api.request(method, path, **options).status_code == 401
    assert api.request(method, path, headers=ada.auth, **options).status_code == 403


def test_a_comment_on_a_draft_is_nobodys_business(api: Api, admin: Person) -> None:
    ada = api.person()
    draft = write(api, ada, published=False)
    comment = say(api, ada, draft)
    assert remove(api, admin, draft, comment).status_code == 404
    assert report(api, ada, draft, comment).status_code == 404
    missing = write(api, ada)
    assert remove(api, admin, missing, comment).status_code == 404
    assert report(api, ada, missing, comment).status_code == 404
