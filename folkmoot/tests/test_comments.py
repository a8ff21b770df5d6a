"""Comments over the API: threads, who may do what, what is valid, conditional requests, pages."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from folkmoot.posts.comments import Comment, CommentPage, CommentRow
from test_posts import write

if TYPE_CHECKING:
    from api import Api, Person


def say(api: Api, person: Person, post: int, content: str = "Said", parent: int | None = None) -> int:
    body = {"content": content} | ({} if parent is None else {"parent_id": parent})
    answer = api.post(f"/posts/{post}/comments", json=body, headers=person.auth)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/posts/{post}/comments/{answer.json()['id']}"
    return int(answer.json()["id"])


def thread(api: Api, post: int, **parameters: Any) -> list[str]:
    """Each comment of a post, below what it answers; a deleted one as -."""
    items = api.get(f"/posts/{post}/comments", params=parameters).json()["items"]
    return ["  " * item["depth"] + (item["content"] or "-") for item in items]


def test_a_comment_is_written_read_changed_and_deleted(api: Api) -> None:
    ada = api.person(display_name="Ada")
    post = write(api, ada)
    path = f"/posts/{post}/comments/{say(api, ada, post)}"
    read = api.get(path)
    assert read.json() == {
        "id": 1, "post_id": post, "parent_id": None, "depth": 0, "content": "Said", "votes": 0, "voted": None,
        "created_at": read.json()["created_at"], "deleted": False,
        "removed": None, "owner": {"id": ada.id, "display_name": "Ada"},
    }  # fmt: skip
    assert api.get(f"/posts/{post}").json()["comments"] == 1
    changed = api.patch(path, json={"content": "Meant"}, headers=ada.auth)
    assert (changed.status_code, changed.json()["content"]) == (200, "Meant")
    assert changed.headers["etag"] == api.get(path, headers=ada.auth).headers["etag"] != read.headers["etag"]
    assert api.delete(path, headers=ada.auth).status_code == 204
    assert api.get(path).status_code == api.delete(path, headers=ada.auth).status_code == 404
    assert api.get(f"/posts/{post}").json()["comments"] == 0


def test_answers_come_after_what_they_answer_and_pages_meet_without_a_gap(api: Api) -> None:
    ada, bob = api.person(), api.person()
    post = write(api, ada)
    first, second = say(api, ada, post, "a"), say(api, bob, post, "b")
    answer = say(api, bob, post, "a.a", first)
    say(api, ada, post, "b.a", second)
    say(api, bob, post, "a.b", first)
    say(api, ada, post, "a.a.a", answer)
    whole = ["a", "  a.a", "    a.a.a", "  a.b", "b", "  b.a"]
    assert thread(api, post) == whole
    for limit in range(1, 7):
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = api.get(f"/posts/{post}/comments", params={"limit": str(limit), **cursor}).json()
            found += ["  " * item["depth"] + item["content"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            assert len(page["items"]) == limit
            cursor = {"cursor": page["next_cursor"]}
        assert found == whole
    other = write(api, ada)
    cursor = {"limit": "1", "cursor": api.get(f"/posts/{post}/comments?limit=1").json()["next_cursor"]}
    assert api.get(f"/posts/{post}/comments", params=cursor).json()["items"][0]["content"] == "a.a"
    assert api.get(f"/posts/{other}/comments", params=cursor).status_code == 422
    assert api.get(f"/posts/{other}/comments").json() == {"items": [], "next_cursor": None}


def test_a_page_of_long_comments_is_shorter(api: Api) -> None:
    ada = api.person()
    post = write(api, ada)
    for _ in range(23):
        say(api, ada, post, "x" * 10_000)
    page = api.get(f"/posts/{post}/comments", params={"limit": 100}).json()
    assert len(page["items"]) == 20
    assert len(thread(api, post, limit=100, cursor=page["next_cursor"])) == 3


def test_a_deleted_comment_keeps_its_place_as_long_as_it_has_answers(api: Api) -> None:
    ada, bob = api.person(), api.person()
    post = write(api, ada)
    top = say(api, ada, post, "top")
    middle = say(api, ada, post, "middle", top)
    leaf = say(api, bob, post, "leaf", middle)
    for comment in (middle, top):
        assert api.delete(f"/posts/{post}/comments/{comment}", headers=ada.auth).status_code == 204
    assert thread(api, post) == ["-", "  -", "    leaf"]
    gone = api.get(f"/posts/{post}/comments/{top}").json()
    assert (gone["deleted"], gone["owner"], gone["content"]) == (True, None, "")
    assert api.get(f"/posts/{post}").json()["comments"] == 1
    body = {"content": "late", "parent_id": top}
    assert api.post(f"/posts/{post}/comments", json=body, headers=bob.auth).status_code == 404
    for method in ("PUT", "DELETE"):
        vote = api.request(method, f"/posts/{post}/comments/{top}/vote", headers=bob.auth)
        assert vote.status_code == 404
    assert api.patch(f"/posts/{post}/comments/{top}", json={"content": "x"}, headers=ada.auth).is_error
    assert api.delete(f"/posts/{post}/comments/{leaf}", headers=bob.auth).status_code == 204
    assert thread(api, post) == []


def test_somebody_who_leaves_takes_what_they_said_along_and_leaves_the_answers(api: Api) -> None:
    ada, bob = api.person(), api.person()
    post = write(api, ada)
    answered = say(api, bob, post, "answered")
    say(api, ada, post, "answer", answered)
    say(api, bob, post, "alone")
    say(api, bob, post, "answer of his own", say(api, bob, post, "alone, too"))
    assert api.delete_with_password("/users/me", bob.auth).status_code == 204
    assert thread(api, post) == ["-", "  answer"]
    assert api.get(f"/posts/{post}").json()["comments"] == 1
    assert api.delete_with_password("/users/me", ada.auth).status_code == 204
    with api.connect() as connection:
        assert connection.execute("SELECT count(*) FROM comments").fetchone() == (0,)


def test_a_thread_has_32_levels(api: Api) -> None:
    ada = api.person()
    post = write(api, ada)
    comment = None
    for _ in range(32):
        comment = say(api, ada, post, parent=comment)
    deepest = api.get(f"/posts/{post}/comments/{comment}").json()
    assert deepest["depth"] == 31
    refused = api.post(
        f"/posts/{post}/comments", json={"content": "x", "parent_id": comment}, headers=ada.auth
    )
    assert (refused.status_code, refused.json()["type"]) == (409, "/errors/thread-too-deep")
    page = api.get(f"/posts/{post}/comments", params={"limit": 31}).json()
    assert len(thread(api, post, cursor=page["next_cursor"])) == 1


def test_only_whoever_wrote_a_comment_changes_it(api: Api) -> None:
    ada, bob = api.person(), api.person()
    post = write(api, ada)
    path = f"/posts/{post}/comments/{say(api, bob, post)}"
    assert api.patch(path, json={"content": "x"}, headers=ada.auth).status_code == 403
    assert api.delete(path, headers=ada.auth).status_code == 403
    assert api.patch(path, json={"content": "x"}).status_code == api.delete(path).status_code == 401
    assert api.post(f"/posts/{post}/comments", json={"content": "x"}).status_code == 401
    assert thread(api, post) == ["Said"]


@pytest.mark.parametrize("method", ["list", "post", "get", "patch", "delete", "vote", "unvote"])
def test_the_comments_of_a_draft_are_there_for_its_owner_alone(api: Api, method: str) -> None:
    ada, bob = api.person(), api.person()
    post = write(api, ada)
    whole = f"/posts/{post}/comments"
    ones = {person.id: f"{whole}/{say(api, person, post)}" for person in (ada, bob)}
    api.patch(f"/posts/{post}", json={"published": False}, headers=ada.auth)

    def attempt(person: Person | None) -> int:
        headers, one = (person.auth, ones[person.id]) if person else ({}, ones[ada.id])
        body = {"content": "x"}
        match method:
            case "list":
                return api.get(whole, headers=headers).status_code
            case "post":
                return api.post(whole, json=body, headers=headers).status_code
            case "patch":
                return api.patch(one, json=body, headers=headers).status_code
            case "vote" | "unvote":
                verb = "PUT" if method == "vote" else "DELETE"
                return api.request(verb, f"{one}/vote", headers=headers).status_code
            case _:
                return api.request(method.upper(), one, headers=headers).status_code

    assert attempt(bob) == 404
    assert attempt(None) == (404 if method in {"list", "get"} else 401)
    assert attempt(ada) in {200, 201, 204}


@pytest.mark.parametrize(
    "fields",
    [
        {"content": ""}, {"content": " \n"}, {"content": "\u200b"}, {"content": "x" * 10_001},
        {"content": "a\x00b"}, {"content": None}, {"content": 7}, {"content": "\ud800"},
        {"parent_id": 0}, {"parent_id": -1}, {"parent_id": 2**63}, {"parent_id": "1"}, {"parent_id": True},
        {"parent_id": 0.5}, {"id": 5}, {"owner_id": 1}, {"path": []},
    ],
    ids=str,
)  # fmt: skip
def test_what_a_comment_cannot_hold_is_refused_by_every_write(api: Api, fields: dict[str, object]) -> None:
    ada = api.person()
    post = write(api, ada)
    path = f"/posts/{post}/comments/{say(api, ada, post)}"
    headers = {**ada.auth, "Content-Type": "application/json"}
    for method, target in (("POST", f"/posts/{post}/comments"), ("PATCH", path)):
        body = json.dumps({"content": "x", **fields})
        assert api.request(method, target, content=body, headers=headers).status_code == 422, method


def test_the_longest_comment_is_kept_as_it_is(api: Api) -> None:
    ada = api.person()
    post, content = write(api, ada), "🙂\n" * 5000
    path = f"/posts/{post}/comments/{say(api, ada, post, content)}"
    assert api.get(path).json()["content"] == content


@pytest.mark.parametrize("path", ["/posts/{}/comments", "/posts/{}/comments/7", "/posts/{}/comments/7/vote"])
def test_what_is_not_there_is_not_found(api: Api, path: str) -> None:
    ada = api.person()
    posts = (write(api, ada), 999)
    if path.endswith("/comments"):
        body = {"content": "x", "parent_id": 7}
        for post in posts:
            assert api.post(path.format(post), json=body, headers=ada.auth).status_code == 404
        assert api.get(path.format(999)).status_code == 404
    elif path.endswith("vote"):
        assert {api.put(path.format(post), headers=ada.auth).status_code for post in posts} == {404}
    else:
        for post in posts:
            assert api.get(path.format(post)).status_code == 404
            assert api.patch(path.format(post), json={"content": "x"}, headers=ada.auth).status_code == 404


def test_a_comment_is_not_found_under_another_post(api: Api) -> None:
    ada = api.person()
    comment, other = say(api, ada, write(api, ada)), write(api, ada)
    path = f"/posts/{other}/comments/{comment}"
    assert api.get(path).status_code == api.delete(path, headers=ada.auth).status_code == 404
    assert api.put(f"{path}/vote", headers=ada.auth).status_code == 404
    body = {"content": "x", "parent_id": comment}
    assert api.post(f"/posts/{other}/comments", json=body, headers=ada.auth).status_code == 404


def test_a_write_is_refused_when_somebody_edited_first_but_not_for_a_vote(api: Api) -> None:
    ada, bob = api.person(), api.person()
    post = write(api, ada)
    path = f"/posts/{post}/comments/{say(api, ada, post)}"
    read = api.get(path).headers["etag"]
    assert api.get(path, headers={"If-None-Match": read}).status_code == 304
    api.put(f"{path}/vote", headers=bob.auth)
    assert api.get(path, headers={"If-None-Match": read}).json()["votes"] == 1
    answers = api.at_once(
        *(
            partial(api.patch, path, json={"content": str(n)}, headers={**ada.auth, "If-Match": read})
            for n in range(8)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    assert api.delete(path, headers={**ada.auth, "If-Match": read}).status_code == 412
    tag = api.get(path).headers["etag"]
    assert api.delete(path, headers={**ada.auth, "If-Match": tag}).status_code == 204


def test_a_vote_counts_once_and_is_seen_by_whoever_cast_it(api: Api) -> None:
    ada, bob = api.person(), api.person()
    post = write(api, ada)
    comment = say(api, ada, post)
    path = f"/posts/{post}/comments/{comment}"
    for method, votes in (("PUT", 1), ("PUT", 1), ("DELETE", 0), ("DELETE", 0), ("PUT", 1)):
        answer = api.request(method, f"{path}/vote", headers=bob.auth)
        assert (answer.status_code, answer.content) == (204, b"")
        assert api.get(path).json()["votes"] == votes
    for url in (path, f"/posts/{post}/comments"):
        for headers, voted in ((bob.auth, True), (ada.auth, False), ({}, None)):
            answer = api.get(url, headers=headers).json()
            item = answer if url == path else answer["items"][0]
            assert (item["votes"], item["voted"]) == (1, voted)
    assert api.get(f"/posts/{post}").json()["votes"] == 0


def test_the_export_has_what_one_said_and_voted_for(api: Api) -> None:
    ada = api.person()
    post = write(api, ada)
    comments = [say(api, ada, post, f"number {n}") for n in range(45)]
    for comment in comments[:3]:
        api.put(f"/posts/{post}/comments/{comment}/vote", headers=ada.auth)
    exported = api.get("/users/me/export", headers=ada.auth).json()
    assert [comment["content"] for comment in exported["comments"]] == [f"number {n}" for n in range(45)]
    assert exported["comment_votes"] == [{"post_id": post, "comment_id": n} for n in comments[:3]]


def test_a_session_that_ended_says_and_reads_nothing(api: Api) -> None:
    ada = api.person()
    post = write(api, ada)
    with api.connect() as connection:
        connection.execute("DELETE FROM sessions")
    path = f"/posts/{post}/comments"
    assert api.post(path, json={"content": "x"}, headers=ada.auth).status_code == 401
    assert api.get(path, headers=ada.auth).status_code == 401


def test_the_encoder_writes_what_openapi_declares() -> None:
    assert list(CommentRow.__struct_fields__) == list(Comment.model_fields)
    assert list(CommentPage.model_fields) == ["items", "next_cursor"]
