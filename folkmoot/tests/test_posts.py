"""Posts one at a time: who may do what, what is valid, conditional requests."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest

from folkmoot.posts.lists import PostPage
from folkmoot.posts.posts import Post, PostRow

if TYPE_CHECKING:
    from api import Api, Person


def write(api: Api, owner: Person, **fields: object) -> int:
    answer = api.post("/posts", json={"title": "Title", "content": "Content", **fields}, headers=owner.auth)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/posts/{answer.json()['id']}"
    return int(answer.json()["id"])


def test_a_post_is_written_read_replaced_changed_and_deleted(api: Api) -> None:
    ada = api.person(display_name="Ada")
    path = f"/posts/{write(api, ada)}"
    read = api.get(path)
    assert read.json() == {
        "id": 1, "title": "Title", "content": "Content", "published": True, "votes": 0,
        "comments": 0, "voted": None, "removed": None, "created_at": read.json()["created_at"],
        "owner": {"id": ada.id, "display_name": "Ada"},
    }  # fmt: skip
    replaced = api.put(path, json={"title": "Second", "content": ""}, headers=ada.auth)
    assert (replaced.status_code, replaced.json()["title"], replaced.json()["content"]) == (200, "Second", "")
    changed = api.patch(path, json={"content": "Third"}, headers=ada.auth)
    assert (changed.json()["title"], changed.json()["content"]) == ("Second", "Third")
    assert api.patch(path, json={}, headers=ada.auth).json() == changed.json()
    assert api.delete(path, headers=ada.auth).status_code == 204
    assert api.get(path).status_code == api.delete(path, headers=ada.auth).status_code == 404


def test_only_the_owner_changes_a_post(api: Api) -> None:
    ada, bob = api.person(), api.person()
    path = f"/posts/{write(api, ada)}"
    body = {"title": "Mine", "content": "now"}
    for answer in (
        api.put(path, json=body, headers=bob.auth),
        api.patch(path, json=body, headers=bob.auth),
        api.delete(path, headers=bob.auth),
    ):
        assert answer.status_code == 403
    assert api.put(path, json=body).status_code == api.delete(path).status_code == 401
    assert api.get(path).json()["title"] == "Title"


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "vote", "unvote", "old vote"])
def test_a_draft_is_not_there_for_anybody_but_its_owner(api: Api, method: str) -> None:
    ada, bob = api.person(), api.person()
    post_id = write(api, ada, published=False)
    path, body = f"/posts/{post_id}", {"title": "Title", "content": "Content", "published": False}

    def attempt(headers: dict[str, str]) -> int:
        match method:
            case "vote":
                return api.put(f"{path}/vote", headers=headers).status_code
            case "unvote":
                return api.delete(f"{path}/vote", headers=headers).status_code
            case "old vote":
                ballot = {"post_id": post_id, "dir": 1}
                return api.post("/vote", json=ballot, headers=headers).status_code
            case "get" | "delete":
                return api.request(method, path, headers=headers).status_code
            case _:
                return api.request(method, path, json=body, headers=headers).status_code

    assert attempt(bob.auth) == 404
    assert attempt({}) == (404 if method == "get" else 401)
    assert attempt(ada.auth) in {200, 201, 204}


@pytest.mark.parametrize(
    "fields",
    [
        {"title": ""}, {"title": " \n\t"}, {"title": "x" * 301}, {"title": 7}, {"title": None},
        {"title": "a\x00b"}, {"title": "\u200b\ufeff"}, {"title": "\u3164 \u2800"}, {"title": "\x85\u2028"},
        {"content": "x" * 40_001}, {"content": "\x00"}, {"content": None}, {"content": "\ud800"},
        {"published": "yes"}, {"published": 1}, {"id": 5}, {"owner_id": 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_a_post_cannot_hold_is_refused_by_every_write(api: Api, fields: dict[str, object]) -> None:
    ada = api.person()
    path = f"/posts/{write(api, ada)}"
    whole = {"title": "Title", "content": "Content", **fields}
    for method, target, sent in (("POST", "/posts", whole), ("PUT", path, whole), ("PATCH", path, fields)):
        body = json.dumps(sent)
        headers = {**ada.auth, "Content-Type": "application/json"}
        assert api.request(method, target, content=body, headers=headers).status_code == 422, method


def test_the_longest_post_is_kept_as_it_is(api: Api) -> None:
    ada = api.person()
    title, content = "ä" * 300, "🙂\n" * 20_000
    path = f"/posts/{write(api, ada, title=title, content=content)}"
    assert (api.get(path).json()["title"], api.get(path).json()["content"]) == (title, content)


def test_a_read_that_is_still_good_is_a_304_and_a_vote_makes_it_stale(api: Api) -> None:
    ada, bob = api.person(), api.person()
    path = f"/posts/{write(api, ada)}"
    for url in (path, "/posts"):
        tag = api.get(url).headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = api.get(url, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert api.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
    single, page = api.get(path).headers["etag"], api.get("/posts").headers["etag"]
    api.put(f"{path}/vote", headers=bob.auth)
    assert api.get(path, headers={"If-None-Match": single}).json()["votes"] == 1
    assert api.get("/posts", headers={"If-None-Match": page}).status_code == 200


def test_a_write_is_refused_when_somebody_edited_first_but_not_for_a_vote(api: Api) -> None:
    ada, bob = api.person(), api.person()
    path, body = f"/posts/{write(api, ada)}", {"title": "New", "content": "text"}
    tag = api.get(path).headers["etag"]
    api.put(f"{path}/vote", headers=bob.auth)
    edited = api.put(path, json=body, headers={**ada.auth, "If-Match": tag})
    assert edited.status_code == 200
    assert edited.headers["etag"] == api.get(path, headers=ada.auth).headers["etag"]
    for stale in (tag, f"W/{edited.headers['etag']}", '"nonsense"', "nonsense", '"99999999999.x"'):
        headers = {**ada.auth, "If-Match": stale}
        assert api.put(path, json=body, headers=headers).status_code == 412
        assert api.patch(path, json=body, headers=headers).status_code == 412
        assert api.delete(path, headers=headers).status_code == 412
    assert api.patch(path, json=body, headers={**ada.auth, "If-Match": "*"}).status_code == 200
    current = api.get(path).headers["etag"]
    either = {**ada.auth, "If-Match": f'"1.gone", {current}'}
    assert api.delete(path, headers=either).status_code == 204


def test_of_two_edits_of_one_version_one_is_first(api: Api) -> None:
    ada = api.person()
    path = f"/posts/{write(api, ada)}"
    headers = {**ada.auth, "If-Match": api.get(path).headers["etag"]}
    answers = api.at_once(
        *(partial(api.patch, path, json={"title": f"by {n}"}, headers=headers) for n in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7


def test_the_encoder_writes_what_openapi_declares() -> None:
    assert list(PostRow.__struct_fields__) == list(Post.model_fields)
    assert list(PostPage.model_fields) == ["items", "next_cursor"]
