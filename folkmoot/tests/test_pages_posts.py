"""Pages of posts: what is shown of them, to whom, and votes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from browser import Browser

if TYPE_CHECKING:
    from api import Api, Person


def write(api: Api, by: Person, **fields: object) -> int:
    post = {"title": "A bench by the river", "content": "Who would help to build one?", **fields}
    number: int = api.post("/posts", json=post, headers=by.auth).json()["id"]
    return number


def test_the_front_page_is_paged_searched_and_ordered(api: Api) -> None:
    ada = api.person("ada@example.com", display_name="Ada")
    for number in range(45):
        write(api, ada, title=f"Post {number}", content="river" if number % 2 else "")
    browser = Browser(api)
    seen = []
    browser.open("/?order=new")
    while True:
        seen += [heading.text for heading in browser.page.all("h2")]
        more = [link["href"] for link in browser.page.all("a") if link.get("rel") == "next"]
        if not more:
            break
        browser.open(more[0])
    assert seen == [f"Post {number}" for number in reversed(range(45))]
    browser.open("/?order=new")
    browser.send(browser.form("/"), q="river")
    assert next(heading.text for heading in browser.page.all("h2")) == "Post 43"
    assert "Posts with “river”" in browser.text
    assert "No post has these words" in browser.open("/?q=nothing-like-it").text


def test_a_post_is_shown_with_its_markdown_and_its_writer(api: Api) -> None:
    ada = api.person(display_name="Ada")
    post = write(api, ada, content="# Why\n\nIt is *good*: [see](https://example.org)\n\n<b>no</b>")
    page = Browser(api).open(f"/p/{post}")
    assert [each.text for each in page.all("h1")] == ["A bench by the river"]
    assert next(each.text for each in page.all("h2")) == "Why"
    assert [each.text for each in page.all("em")] == ["good"]
    (link,) = (each for each in page.all("a") if each.get("href") == "https://example.org")
    assert link["rel"] == "nofollow ugc noopener"
    assert not list(page.all("b"))
    (time,) = page.all("time")
    assert time.text == "just now"
    assert time["datetime"].endswith("Z")


@pytest.mark.parametrize("path", ["/p/{post}", "/"])
def test_a_vote_goes_back_to_where_the_button_was(api: Api, path: str) -> None:
    post = write(api, api.person())
    browser = Browser(api).register("bob@example.com")
    browser.open(path.format(post=post))
    browser.send(browser.form(f"/p/{post}/vote", vote="1"))
    assert browser.path == f"{path.format(post=post)}#vote-{post}"
    assert api.get(f"/posts/{post}").json()["votes"] == 1
    browser.send(browser.form(f"/p/{post}/vote", vote="0"))
    assert api.get(f"/posts/{post}").json()["votes"] == 0


def test_a_draft_is_shown_to_its_owner_and_to_nobody_else(api: Api) -> None:
    browser = Browser(api).register("ada@example.com")
    ada = api.login("ada@example.com").json()["access_token"]
    body = {"title": "Not yet", "content": "", "published": False}
    draft = api.post("/posts", json=body, headers={"Authorization": f"Bearer {ada}"}).json()["id"]
    assert "Draft" in browser.open(f"/p/{draft}").text
    for other in (Browser(api), Browser(api).register("bob@example.com")):
        assert "There is no such post" in other.open(f"/p/{draft}").text
        assert other.answer.status_code == 404
        assert "Not yet" not in other.open("/").text + other.open("/?order=new").text


def test_what_is_public_may_be_kept_and_asked_for_again_and_what_is_not_is_kept_nowhere(api: Api) -> None:
    post = write(api, api.person())
    for path in ("/", f"/p/{post}"):
        answer = Browser(api).ask("GET", path)
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["vary"] == "Cookie"
        again = Browser(api).ask("GET", path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        known = Browser(api).register(f"reader{len(path)}@example.com").ask("GET", path)
        assert known.headers["cache-control"] == "private, no-store"
    for path in ("/login", "/register", "/p/99"):
        assert Browser(api).ask("GET", path).headers["cache-control"] == "private, no-store"


def test_static_files_are_kept_for_good_under_the_address_of_what_is_in_them(api: Api) -> None:
    page = Browser(api).open("/")
    addresses = [each["href"] for each in page.all("link") if each["rel"] != "alternate"] + [
        each["src"] for each in page.all("script")
    ]
    assert len(addresses) == 3
    for address in addresses:
        answer = api.get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        again = api.get(address, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
    assert api.get("/static/folkmoot.css").status_code == 404
    assert api.get("/static/..%2fsite.py").status_code == 404


@pytest.mark.parametrize("host", ["[", "a/b", "a:b", "a?b", "\\"])
def test_a_host_that_is_none_changes_no_link_of_a_page(api: Api, host: str) -> None:
    browser = Browser(api, Host=host, Referer="http://[")
    page = browser.open("/?order=new")
    assert browser.answer.status_code == 200
    (link,) = (each["href"] for each in page.all("a") if each.text == "Log in")
    assert link == "/login?next=/%3Forder%3Dnew"
    assert browser.ask("GET", "/write").headers["location"] == "/login?next=%2Fwrite"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/p/99", 404), ("/p/x", 404), ("/nowhere", 404), ("/?order=odd", 422), ("/?cursor=x", 422)],
)
def test_a_problem_is_a_page_of_the_same_status_title_and_detail(api: Api, path: str, status: int) -> None:
    browser = Browser(api)
    page = browser.open(path)
    assert browser.answer.status_code == status
    assert browser.answer.headers["content-type"] == "text/html; charset=utf-8"
    (heading,) = page.all("h1")
    assert heading.text in {
        "Nothing is found here",
        "The values are not acceptable",
        "The cursor is not one of ours",
    }
    assert api.get("/nowhere").headers["content-type"] == "application/problem+json"
    assert browser.ask("GET", "/posts/99").headers["content-type"] == "application/problem+json"


def test_a_post_is_previewed_kept_as_a_draft_published_edited_and_deleted(api: Api) -> None:
    browser = Browser(api).register("ada@example.com", name="Ada")
    browser.open("/write")
    browser.send(browser.form("/write", do="publish"), title="", content="*a*\r\nb")
    assert browser.answer.status_code == 422
    assert "A post needs a title." in browser.text
    page = browser.send(browser.form("/write", do="preview"), title="A bench")
    assert "a" in [each.text for each in page.all("em")]
    browser.send(browser.form("/write", do="draft"))
    assert browser.path == "/p/1"
    assert "Draft" in browser.text
    assert api.get("/posts/1").status_code == 404
    browser.open("/p/1/edit")
    browser.send(browser.form("/p/1/edit", do="publish"))
    assert api.get("/posts/1").json()["content"] == "*a*\nb"
    browser.open("/p/1/edit")
    old = browser.form("/p/1/edit", do="publish")
    browser.send(old, title="Another bench")
    browser.send(old, title="A third bench")
    assert browser.answer.status_code == 412
    assert "Another bench" in browser.text
    browser.send(browser.form("/p/1/edit", do="publish"))
    assert api.get("/posts/1").json()["title"] == "A third bench"
    bob = Browser(api).register("bob@example.com")
    for path in ("/p/1/edit", "/p/1/delete"):
        bob.open(path)
        assert bob.answer.status_code == 403
    browser.open("/p/1/delete")
    browser.send(browser.form("/p/1/delete"))
    assert "Your post is deleted" in browser.text
    assert api.get("/posts/1").status_code == 404
