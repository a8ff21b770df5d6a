"""Atom feeds: what RFC 4287 asks for, ids that stay, and text that stays text."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from api import Api
from browser import parsed

if TYPE_CHECKING:
    import httpx

    from api import Person
    from testing.cluster import Cluster

ATOM = "{http://www.w3.org/2005/Atom}"


def write(api: Api, owner: Person, **fields: object) -> int:
    body = {"title": "Title", "content": "Content", **fields}
    return int(api.post("/posts", json=body, headers=owner.auth).json()["id"])


def feed(answer: httpx.Response) -> ET.Element:
    """A feed that has what RFC 4287 asks for, in a form that a reader takes."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/atom+xml")
    found = ET.fromstring(answer.content)
    assert found.tag == f"{ATOM}feed"
    for one in (found, *found.findall(f"{ATOM}entry")):
        for name in ("id", "title", "updated"):
            assert len(one.findall(f"{ATOM}{name}")) == 1
        assert one.findtext(f"{ATOM}id", "").startswith(("urn:uuid:", "http://"))
        assert datetime.fromisoformat(one.findtext(f"{ATOM}updated", "")).tzinfo is not None
    for entry in found.findall(f"{ATOM}entry"):
        assert entry.findtext(f"{ATOM}author/{ATOM}name")
    (self_link,) = (link for link in found.findall(f"{ATOM}link") if link.get("rel") == "self")
    assert self_link.get("href") == str(answer.request.url)
    return found


def titles(found: ET.Element) -> list[str]:
    return [entry.findtext(f"{ATOM}title", "") for entry in found.findall(f"{ATOM}entry")]


def ids(found: ET.Element) -> list[str]:
    return [entry.findtext(f"{ATOM}id", "") for entry in found.findall(f"{ATOM}entry")]


def test_an_empty_feed_is_one(api: Api) -> None:
    assert titles(feed(api.get("/feed.atom"))) == []


def test_it_has_published_posts_the_newest_first_whoever_asks(api: Api) -> None:
    ada, bea = api.person(display_name="Ada"), api.person()
    first = write(api, ada, title="First")
    write(api, bea, title="Second")
    write(api, ada, title="Draft", published=False)
    for headers in ({}, ada.auth):
        found = feed(api.get("/feed.atom", headers=headers))
        assert titles(found) == ["Second", "First"]
    links = [entry.find(f"{ATOM}link") for entry in found.findall(f"{ATOM}entry")]
    assert [link.get("href") for link in links if link is not None][1] == f"http://testserver/p/{first}"
    names = [entry.findtext(f"{ATOM}author/{ATOM}name") for entry in found.findall(f"{ATOM}entry")]
    assert names == [f"Person {bea.id}", "Ada"]


def test_a_persons_feed_has_theirs_and_nobody_has_none(api: Api) -> None:
    ada, bea = api.person(display_name="Ada"), api.person()
    write(api, ada, title="Hers")
    write(api, ada, title="Draft", published=False)
    write(api, bea, title="Another's")
    found = feed(api.get(f"/u/{ada.id}/feed.atom"))
    assert (titles(found), found.findtext(f"{ATOM}title")) == (["Hers"], "Ada")
    assert api.get("/u/999/feed.atom").status_code == 404
    assert api.get("/u/x/feed.atom").status_code == 404


def test_an_entry_keeps_its_id_through_edits_and_wherever_the_site_is(api: Api) -> None:
    ada = api.person()
    post = write(api, ada)
    write(api, ada)
    before = ids(feed(api.get("/feed.atom")))
    assert len(set(before)) == 2
    api.patch(f"/posts/{post}", json={"title": "Another", "content": "Other"}, headers=ada.auth)
    elsewhere = api.get("/feed.atom", headers={"Host": "folkmoot.example"})
    assert ids(ET.fromstring(elsewhere.content)) == before
    assert b"http://folkmoot.example/p/" in elsewhere.content


def test_a_posts_feed_has_its_comments_the_newest_first_and_no_deleted_one(api: Api) -> None:
    ada, bea = api.person(display_name="Ada"), api.person(display_name="Bea")
    post, draft = write(api, ada, title="A bench"), write(api, ada, published=False)
    write(api, ada)
    said: list[int] = []
    for who, content, parent in ((bea, "First", None), (ada, "An *answer*", 0), (bea, "Gone", None)):
        body = {"content": content, "parent_id": None if parent is None else said[parent]}
        said.append(api.post(f"/posts/{post}/comments", json=body, headers=who.auth).json()["id"])
    api.delete(f"/posts/{post}/comments/{said[2]}", headers=bea.auth)
    found = feed(api.get(f"/p/{post}/feed.atom"))
    assert (found.findtext(f"{ATOM}title"), titles(found)) == (
        "A bench", ["Ada on “A bench”", "Bea on “A bench”"],
    )  # fmt: skip
    assert found.findtext(f"{ATOM}entry/{ATOM}content") == "<p>An <em>answer</em></p>\n"
    assert len({*ids(found)}) == 2
    assert titles(feed(api.get(f"/p/{post + 2}/feed.atom"))) == []
    for missing in (draft, 999):
        assert api.get(f"/p/{missing}/feed.atom", headers=ada.auth).status_code == 404


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "]]>",
        "&lt;b&gt; &amp; <b>",
        "a\x01\x0b\x1fb\ufffe",
        "😀 \u2028",
        "'\"><x a='",
    ],
)
def test_any_text_comes_back_as_text(api: Api, text: str) -> None:
    ada = api.person(display_name="<Ada & Co>")
    write(api, ada, title=text, content=f"{text}\n\n**strong** [link](javascript:alert(1))")
    (entry,) = feed(api.get("/feed.atom")).findall(f"{ATOM}entry")
    seen = "".join("\ufffd" if each in "\x01\x0b\x1f\ufffe" else each for each in text)
    assert entry.findtext(f"{ATOM}title") == seen
    assert entry.findtext(f"{ATOM}author/{ATOM}name") == "<Ada & Co>"
    content = entry.find(f"{ATOM}content")
    assert content is not None
    assert content.get("type") == "html"
    html = parsed(content.text or "")
    assert [each.tag for each in html.all("script", "b", "x")] == []
    assert [each.text for each in html.all("strong")] == ["strong"]
    assert not any("javascript" in each.get("href") for each in html.all("a"))


def test_an_unchanged_feed_is_not_sent_again_and_an_edit_is(api: Api) -> None:
    ada = api.person()
    post = write(api, ada)
    first = api.get("/feed.atom")
    assert parsedate_to_datetime(first.headers["last-modified"]).tzinfo is not None
    known = {"If-None-Match": first.headers["etag"], "If-Modified-Since": first.headers["last-modified"]}
    again = api.get("/feed.atom", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    api.patch(f"/posts/{post}", json={"content": "Edited"}, headers=ada.auth)
    assert api.get("/feed.atom", headers=known).status_code == 200


def test_pages_say_where_their_feed_is(api: Api) -> None:
    ada = api.person()
    post = write(api, ada)
    for page in ("/", f"/u/{ada.id}", f"/p/{post}"):
        address = f"{page.rstrip('/')}/feed.atom"
        links = parsed(api.get(page, headers={"Accept": "text/html"}).text).all("link")
        found = [each["href"] for each in links if each.get("type") == "application/atom+xml"]
        assert found == [address]
        feed(api.get(address))


def test_there_is_no_feed_where_reading_needs_a_login(cluster18: Cluster, migrated: str) -> None:
    name = cluster18.create_database(template=migrated)
    with Api(cluster18, name, public_read=False) as api:
        assert api.get("/feed.atom").status_code == 303


def test_a_feed_has_the_address_that_the_settings_say(cluster18: Cluster, migrated: str) -> None:
    name = cluster18.create_database(template=migrated)
    with Api(cluster18, name, public_url="https://moot.example.org") as api:
        answer = api.get("/feed.atom", headers={"Host": "elsewhere.example.org"})
    assert "https://moot.example.org/feed.atom" in answer.text
    assert "elsewhere" not in answer.text
