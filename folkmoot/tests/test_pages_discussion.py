"""Pages of what is said on a post, without script: read, answered, changed, deleted, voted on, and paged."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from jinja2.runtime import Macro

from browser import Browser
from folkmoot.people.tokens import Tokens
from test_comments import say
from test_posts import write

if TYPE_CHECKING:
    from types import FrameType

    from api import Api
    from browser import Element


def _thread(page: Element) -> list[str]:
    """The texts of the comments, each below as many lists as it is deep."""

    def below(element: Element, depth: int) -> list[str]:
        found: list[str] = []
        for child in element.children:
            if isinstance(child, str):
                continue
            if child.tag == "div" and child.get("class") == "text":
                found.append("  " * depth + child.text.strip())
            found += below(child, depth + (child.tag == "ol"))
        return found

    (section,) = (each for each in page.all("section") if each.get("id") == "discussion")
    return below(section, -1)


def test_somebody_comments_answers_changes_deletes_and_votes(api: Api) -> None:
    post = write(api, api.person())
    browser = Browser(api).register("bob@example.com")
    browser.open(f"/p/{post}")
    browser.send(browser.form(f"/p/{post}/comments"), content="I have *planks*.")
    assert browser.path == f"/p/{post}#c-1"
    assert _thread(browser.page) == ["I have planks."]
    assert "1 comment" in browser.text
    browser.open(f"/p/{post}/comments/1")
    browser.send(browser.form(f"/p/{post}/comments"), content="And a saw.")
    assert browser.path == f"/p/{post}/comments/1#c-2"
    assert _thread(browser.page) == ["I have planks.", "  And a saw."]
    browser.open(f"/p/{post}/comments/2/edit")
    browser.send(browser.form(f"/p/{post}/comments/2/edit"), content="And two saws.")
    assert _thread(browser.open(f"/p/{post}")) == ["I have planks.", "  And two saws."]
    browser.send(browser.form(f"/p/{post}/comments/2/vote", vote="1"))
    assert browser.path == f"/p/{post}#vote-c2"
    assert api.get(f"/posts/{post}/comments/2").json()["votes"] == 1
    browser.open(f"/p/{post}/comments/1/delete")
    browser.send(browser.form(f"/p/{post}/comments/1/delete"))
    assert _thread(browser.page) == ["  And two saws."]
    assert "Deleted" in browser.text
    browser.open(f"/p/{post}/comments/2/delete")
    browser.send(browser.form(f"/p/{post}/comments/2/delete"))
    assert _thread(browser.page) == []
    assert "1 comment" not in Browser(api).open("/").text


def test_a_discussion_is_paged_and_every_page_nests(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("folkmoot.pages.discussion.COMMENTS", 3)
    ada = api.person()
    post = write(api, ada)
    top = say(api, ada, post, "a")
    answer = say(api, ada, post, "a.a", top)
    for parent, content in ((answer, "a.a.a"), (answer, "a.a.b"), (top, "a.b"), (None, "b"), (None, "c")):
        say(api, ada, post, content, parent)
    pages, page = [], Browser(api).open(f"/p/{post}")
    while True:
        pages.append([text.strip() for text in _thread(page)])
        more = [each["href"] for each in page.all("a") if each.get("rel") == "next"]
        if not more:
            break
        page = Browser(api).open(more[0].partition("#")[0])
    assert pages == [["a", "a.a", "a.a.a"], ["a.a.b", "a.b", "b"], ["c"]]
    alone = Browser(api).open(f"/p/{post}/comments/{top}")
    assert _thread(alone) == ["a", "  a.a", "    a.a.a", "    a.a.b"]
    browser = Browser(api).register("bob@example.com")
    browser.open(f"/p/{post}")
    browser.send(browser.form(f"/p/{post}/comments"), content="d")
    assert browser.path == f"/p/{post}/comments/8#c-8"


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "A comment needs a word"), (" \n ", "A comment needs a word"), ("x" * 10_001, "10000 characters")],
)
def test_what_is_no_comment_is_shown_again_with_what_is_wrong(api: Api, content: str, says: str) -> None:
    ada = api.person()
    post = write(api, ada)
    comment = say(api, ada, post)
    browser = Browser(api).register("bob@example.com")
    for path in (f"/p/{post}", f"/p/{post}/comments/{comment}"):
        browser.open(path)
        browser.send(browser.form(f"/p/{post}/comments"), content=content)
        assert browser.answer.status_code == 422
        assert says in browser.text
        assert browser.form(f"/p/{post}/comments").fields["content"].strip() == content.strip()


def test_an_edit_that_somebody_else_was_before_is_shown_with_what_it_says_now(api: Api) -> None:
    browser = Browser(api).register("ada@example.com")
    ada = {"Authorization": f"Bearer {api.login('ada@example.com').json()['access_token']}"}
    post = write(api, api.person())
    made = api.post(f"/posts/{post}/comments", json={"content": "one"}, headers=ada).json()["id"]
    browser.open(f"/p/{post}/comments/{made}/edit")
    form = browser.form(f"/p/{post}/comments/{made}/edit")
    api.patch(f"/posts/{post}/comments/{made}", json={"content": "two"}, headers=ada)
    browser.send(form, content="three")
    assert browser.answer.status_code == 412
    assert "two" in browser.text
    browser.send(browser.form(f"/p/{post}/comments/{made}/edit"))
    assert api.get(f"/posts/{post}/comments/{made}").json()["content"] == "three"


def test_what_is_not_ones_own_cannot_be_changed_and_a_drafts_discussion_is_not_shown(api: Api) -> None:
    ada = api.person()
    post = write(api, ada)
    comment = say(api, ada, post)
    browser = Browser(api).register("bob@example.com")
    for action in ("edit", "delete"):
        browser.open(f"/p/{post}/comments/{comment}/{action}")
        assert browser.answer.status_code == 403
    api.patch(f"/posts/{post}", json={"published": False}, headers=ada.auth)
    for somebody in (browser, Browser(api)):
        somebody.open(f"/p/{post}/comments/{comment}")
        assert somebody.answer.status_code == 404


def test_whoever_is_not_logged_in_reads_and_is_led_to_the_login(api: Api) -> None:
    ada = api.person()
    post = write(api, ada)
    say(api, ada, post, "<script>alert(1)</script> [x](javascript:alert(1))")
    page = Browser(api).open(f"/p/{post}")
    assert _thread(page) == ["<script>alert(1)</script> [x](javascript:alert(1))"]
    assert not [form for form in page.all("form") if form.get("method") == "post"]
    assert [each.text for each in page.all("a") if each["href"] == f"/login?next=/p/{post}"]


def test_a_comment_on_a_page_costs_no_macro_and_a_page_reads_its_cookie_once(api: Api) -> None:
    """A macro takes longer than what it writes; the cookie's signature as long as a dozen comments."""
    ada = api.person()
    post = write(api, ada)
    browser = Browser(api).register("bob@example.com")

    def counted() -> tuple[int, int]:
        number = {Macro._invoke.__code__: 0, Tokens.read.__code__: 0}  # noqa: SLF001 - what runs a macro

        def count(frame: FrameType, event: str, _argument: object) -> None:
            if event == "call" and frame.f_code in number:
                number[frame.f_code] += 1

        api.call(sys.setprofile, count)
        browser.open(f"/p/{post}")
        api.call(sys.setprofile, None)
        macros, cookies = number.values()
        return macros, cookies

    say(api, ada, post)
    few, cookies = counted()
    for _ in range(3):
        say(api, ada, post)
    assert counted() == (few, cookies)
    assert cookies == 1
