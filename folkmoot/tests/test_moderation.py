"""Administrators remove posts and block accounts, people report, lists leave it out, and a log has it all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from api import PASSWORD, Api, Person

if TYPE_CHECKING:
    import httpx

WHY = {"reason": "It is an advertisement."}


@pytest.fixture
def admin(api: Api) -> Person:
    return administrator(api)


def administrator(api: Api) -> Person:
    person = api.person(display_name="The reeve")
    with api.connect() as connection:
        connection.execute("UPDATE users SET administrator = TRUE WHERE id = %s", [person.id])
    return person


def write(api: Api, author: Person, title: str = "A bench", **fields: Any) -> int:
    made = api.post("/posts", json={"title": title, "content": "bench", **fields}, headers=author.auth)
    assert made.status_code == 201
    number: int = made.json()["id"]
    return number


def remove(api: Api, by: Person, post: int, **why: str) -> httpx.Response:
    return api.put(f"/posts/{post}/removal", json={**WHY, **why}, headers=by.auth)


def restore(api: Api, by: Person, post: int) -> httpx.Response:
    return api.delete(f"/posts/{post}/removal", headers=by.auth)


def block(api: Api, by: Person, person: Person) -> httpx.Response:
    return api.put(f"/users/{person.id}/block", json=WHY, headers=by.auth)


def unblock(api: Api, by: Person, person: Person) -> httpx.Response:
    return api.delete(f"/users/{person.id}/block", headers=by.auth)


def listed(api: Api, by: Person | None = None, **parameters: Any) -> list[list[int]]:
    """The posts of each list: new, top, hot, of an owner, and of a search."""
    headers = by.auth if by else {}
    found = []
    for more in ({"sort": "new"}, {"sort": "top"}, {"sort": "hot"}, {"owner": 1}, {"q": "bench"}):
        answer = api.get("/posts", params={**more, **parameters}, headers=headers)
        found.append([post["id"] for post in answer.json()["items"]])
    return found


def log(api: Api, by: Person) -> list[tuple[Any, ...]]:
    found = api.get("/moderation-log", headers=by.auth).json()["items"]
    keys = "administrator_id", "action", "person_id", "post_id", "reason"
    return [tuple(entry[key] for key in keys) for entry in found]


def test_a_removed_post_leaves_every_list_and_its_author_sees_why(api: Api) -> None:
    ada = api.person()
    reader, admin = api.person(), administrator(api)
    post = write(api, ada)
    before = api.get(f"/posts/{post}", headers=ada.auth)
    assert before.json()["removed"] is None
    assert listed(api) == listed(api, reader) == [[post]] * 5
    assert remove(api, admin, post).status_code == 204
    assert listed(api) == listed(api, reader) == [[]] * 5
    for headers in ({}, reader.auth):
        gone = api.get(f"/posts/{post}", headers=headers)
        assert (gone.status_code, gone.json()["type"]) == (410, "/errors/removed")
        assert WHY["reason"] not in gone.text
    mine = api.get(f"/posts/{post}", headers=ada.auth).json()
    assert (mine["removed"], mine["published"]) == (WHY["reason"], False)
    assert listed(api, ada) == [[post]] * 5
    assert api.put(f"/posts/{post}/vote", headers=reader.auth).status_code == 404
    assert log(api, admin) == [(admin.id, "remove-post", ada.id, post, WHY["reason"])]


def test_a_removed_post_is_changed_and_deleted_by_its_author_and_not_published(
    api: Api, admin: Person
) -> None:
    ada = api.person()
    post = write(api, ada)
    remove(api, admin, post)
    new = {"title": "Another", "content": "c", "published": True}
    for method, body in (("PATCH", {"published": True}), ("PUT", new)):
        answer = api.request(method, f"/posts/{post}", json=body, headers=ada.auth)
        assert (answer.status_code, answer.json()["type"]) == (403, "/errors/removed-by-administrator")
    changed = api.patch(f"/posts/{post}", json={"title": "Better"}, headers=ada.auth)
    assert (changed.status_code, changed.json()["title"]) == (200, "Better")
    assert restore(api, admin, post).status_code == 204
    seen = api.get(f"/posts/{post}").json()
    assert (seen["title"], seen["published"], seen["removed"]) == ("Better", True, None)
    assert restore(api, admin, post).status_code == 404
    remove(api, admin, post)
    assert api.delete(f"/posts/{post}", headers=ada.auth).status_code == 204
    assert [entry[1] for entry in log(api, admin)] == ["remove-post", "restore-post", "remove-post"]


def test_no_program_and_no_sql_publishes_what_is_withheld(api: Api, admin: Person) -> None:
    ada, eve = api.person(), api.person()
    removed, hidden = write(api, ada), write(api, eve)
    remove(api, admin, removed)
    block(api, admin, eve)
    with api.connect() as connection:
        connection.execute("UPDATE posts SET published = TRUE")
        connection.execute(
            "INSERT INTO posts (title, content, owner_id) VALUES ('late', 'bench', %s)", [eve.id]
        )
        shown = connection.execute("SELECT id FROM posts WHERE published").fetchall()
        ranked = connection.execute("SELECT post_id FROM post_ranks WHERE published").fetchall()
    assert (shown, ranked) == ([], [])
    assert api.get(f"/posts/{hidden}").status_code == 404


def test_a_draft_is_nobodys_business(api: Api, admin: Person) -> None:
    ada, ben = api.person(), api.person()
    draft = write(api, ada, published=False)
    assert remove(api, admin, draft).status_code == 404
    assert api.put(f"/posts/{draft}/report", json=WHY, headers=ada.auth).status_code == 404
    assert api.put(f"/posts/{draft}/report", json=WHY, headers=ben.auth).status_code == 404
    assert api.delete(f"/posts/{draft}/reports", headers=admin.auth).status_code == 404


def test_another_reason_replaces_the_one_before(api: Api, admin: Person) -> None:
    ada = api.person()
    post = write(api, ada)
    remove(api, admin, post)
    assert remove(api, admin, post, reason="It is a lie.").status_code == 204
    assert api.get(f"/posts/{post}", headers=ada.auth).json()["removed"] == "It is a lie."
    restore(api, admin, post)
    assert api.get(f"/posts/{post}").status_code == 200


def test_a_blocked_account_is_out_and_its_posts_leave_every_list_until_it_is_unblocked(
    api: Api,
) -> None:
    eve = api.person("eve@example.com")
    admin, reader = administrator(api), api.person()
    posts = [write(api, eve) for _ in range(3)]
    draft = write(api, eve, published=False)
    removed = write(api, eve)
    remove(api, admin, removed)
    before = listed(api)
    assert block(api, admin, eve).status_code == 204
    assert api.get("/users/me", headers=eve.auth).status_code == 401
    refresh = {"refresh_token": eve.tokens["refresh_token"]}
    assert api.post("/login/refresh", data=refresh).status_code == 400
    answer = api.login(eve.email)
    assert (answer.status_code, answer.json()["type"]) == (400, "/errors/account-blocked")
    assert answer.json()["error"] == "invalid_grant"
    assert WHY["reason"] in answer.json()["detail"]
    assert api.login(eve.email, "wrong password").json()["type"] == "/errors/invalid-grant", "a secret"
    assert listed(api) == listed(api, reader) == [[]] * 5
    assert api.get(f"/posts/{posts[0]}").status_code == 404
    assert unblock(api, admin, eve).status_code == 204
    assert listed(api) == before == [[*reversed(posts)]] * 5
    assert api.get(f"/posts/{removed}").status_code == 410, "it stays removed"
    assert api.get(f"/posts/{draft}").status_code == 404
    assert api.login(eve.email).status_code == 200


def test_a_post_that_is_restored_while_its_owner_is_blocked_comes_with_its_owner(
    api: Api, admin: Person
) -> None:
    eve = api.person()
    post = write(api, eve)
    remove(api, admin, post)
    block(api, admin, eve)
    assert restore(api, admin, post).status_code == 204
    assert api.get(f"/posts/{post}").status_code == 404
    unblock(api, admin, eve)
    assert api.get(f"/posts/{post}").status_code == 200


def test_a_login_that_is_not_committed_is_ended_by_a_block(api: Api, admin: Person) -> None:
    eve = api.person()
    answers = api.at_once(lambda: block(api, admin, eve), *[lambda: api.login(eve.email)] * 6)
    assert answers[0].status_code == 204
    with api.connect() as connection:
        left = connection.execute("SELECT count(*) FROM sessions WHERE user_id = %s", [eve.id]).fetchone()
    assert left == (0,)


def test_a_post_that_is_written_while_its_owner_is_blocked_is_in_no_list(api: Api, admin: Person) -> None:
    eve = api.person()
    insert = b"INSERT INTO posts (title, content, owner_id) VALUES ('t', 'bench', %s)"
    with api.connect() as before, api.connect() as after:
        before.autocommit = False
        before.execute(insert, [eve.id])

        def commit_when_somebody_waits() -> Any:
            waiting = b"SELECT count(*) FROM pg_locks WHERE NOT granted"
            while after.execute(waiting).fetchone() == (0,):
                pass
            before.commit()

        _, blocked = api.at_once(commit_when_somebody_waits, lambda: block(api, admin, eve))
        assert blocked.status_code == 204
        after.execute(insert, [eve.id])
        shown = after.execute("SELECT count(*) FILTER (WHERE published), count(*) FROM posts").fetchone()
    assert shown == (0, 2)


def test_more_posts_than_a_batch_are_withheld_and_let_go(api: Api, admin: Person) -> None:
    eve = api.person()
    with api.connect() as connection:
        connection.execute(
            "INSERT INTO posts (title, content, owner_id, published) "
            "SELECT 'Title ' || n, 'bench', %s, n %% 5 <> 0 FROM generate_series(1, 600) AS n",
            [eve.id],
        )
        documents = connection.execute("SELECT id, document FROM posts ORDER BY id").fetchall()
        count = b"SELECT count(*) FILTER (WHERE published), count(*) FROM posts"
        block(api, admin, eve)
        assert connection.execute(count).fetchone() == (0, 600)
        unblock(api, admin, eve)
        assert connection.execute(count).fetchone() == (480, 600)
        assert connection.execute("SELECT count(*) FROM withheld").fetchone() == (0,)
        assert connection.execute("SELECT id, document FROM posts ORDER BY id").fetchall() == documents


def test_an_administrator_is_not_blocked(api: Api, admin: Person) -> None:
    other = administrator(api)
    assert block(api, admin, other).status_code == 403
    assert block(api, admin, admin).status_code == 403
    assert api.put("/users/999/block", json=WHY, headers=admin.auth).status_code == 404
    assert api.delete("/users/999/block", headers=admin.auth).status_code == 404
    assert log(api, admin) == []


def test_people_report_a_post_once_and_administrators_see_the_queue(api: Api, admin: Person) -> None:
    ada, ben, eve = api.person(), api.person(), api.person()
    posts = [write(api, eve, title) for title in ("first", "second")]
    for person in (ada, ben, ada):
        for post in posts:
            answer = api.put(f"/posts/{post}/report", json=WHY, headers=person.auth)
            assert answer.status_code == 204
    pages = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        answer = api.get("/reports", params=query, headers=admin.auth).json()
        pages.append([(each["user_id"], each["post_id"], each["title"]) for each in answer["items"]])
        cursor = answer["next_cursor"]
    first, second = posts
    everything = [(ada.id, first, "first"), (ada.id, second, "second"), (ben.id, first, "first")]
    assert pages == [everything, [(ben.id, second, "second")]]
    assert api.delete(f"/posts/{first}/reports", headers=admin.auth).status_code == 204
    left = api.get("/reports", headers=admin.auth).json()["items"]
    assert [each["post_id"] for each in left] == [second] * 2
    remove(api, admin, second)
    assert api.get("/reports", headers=admin.auth).json()["items"] == []
    api.put(f"/posts/{first}/report", json=WHY, headers=ada.auth)
    assert api.get("/reports", headers=admin.auth).json()["items"] == [], "one a person and post"
    assert [entry[1] for entry in log(api, admin)] == ["remove-post", "keep-post"]
    export = api.get("/users/me/export", headers=ada.auth).json()
    assert [(each["post_id"], each["reason"]) for each in export["reports"]] == [
        (post, WHY["reason"]) for post in posts
    ]


def test_what_is_reported_at_once_by_one_person_is_one_report(api: Api) -> None:
    ada = api.person()
    post = write(api, ada)
    answers = api.at_once(*[lambda: api.put(f"/posts/{post}/report", json=WHY, headers=ada.auth)] * 8)
    assert {answer.status_code for answer in answers} == {204}
    with api.connect() as connection:
        assert connection.execute("SELECT count(*) FROM reports").fetchone() == (1,)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/posts/{post}/removal", WHY),
        ("DELETE", "/posts/{post}/removal", None),
        ("DELETE", "/posts/{post}/reports", None),
        ("PUT", "/users/{person}/block", WHY),
        ("DELETE", "/users/{person}/block", None),
        ("GET", "/reports", None),
        ("GET", "/moderation-log", None),
    ],
)
def test_administrators_alone_moderate(api: Api, method: str, path: str, body: dict[str, str] | None) -> None:
    ada = api.person()
    post = write(api, ada)
    options: dict[str, Any] = {"json": body} if body else {}
    path = path.format(post=post, person=ada.id)
    assert api.request(method, path, **options).status_code == 401
    answer = api.request(method, path, headers=ada.auth, **options)
    assert (answer.status_code, answer.json()["type"]) == (403, "/errors/forbidden")
    assert api.get(f"/posts/{post}").status_code == 200


@pytest.mark.parametrize(
    "reason", ["", " ", "\x00", "x\x00y", "\u202e\u200b", "x" * 1001, None, 7, ["x"], {"a": "b"}]
)
def test_a_reason_has_something_to_be_seen(api: Api, admin: Person, reason: Any) -> None:
    for path in ("/posts/1/removal", "/users/1/block", "/posts/1/report"):
        assert api.put(path, json={"reason": reason}, headers=admin.auth).status_code == 422


@pytest.mark.parametrize("reason", ["<script>alert(1)</script>", "\u202egnp.exe", "'; DROP TABLE users; --"])
def test_a_reason_of_any_characters_comes_back_as_it_is(api: Api, admin: Person, reason: str) -> None:
    ada = api.person()
    post = write(api, ada)
    remove(api, admin, post, reason=reason)
    assert api.get(f"/posts/{post}", headers=ada.auth).json()["removed"] == reason
    api.put(f"/users/{ada.id}/block", json={"reason": reason}, headers=admin.auth)
    assert api.login(ada.email, PASSWORD).json()["detail"].endswith(reason)


def test_revoking_takes_effect_at_once(api: Api, admin: Person) -> None:
    assert api.get("/users/me", headers=admin.auth).json()["administrator"] is True
    with api.connect() as connection:
        connection.execute("UPDATE users SET administrator = FALSE")
    assert api.get("/reports", headers=admin.auth).status_code == 403
    assert api.get("/users/me", headers=admin.auth).json()["administrator"] is False
