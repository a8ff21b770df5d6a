"""Every form of every page, found by following links: what it refuses, and that what is typed stays text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from api import PASSWORD, Api
from browser import Browser, Form, forms
from folkmoot.mail import links
from folkmoot.pages.routes import PageRoute
from folkmoot.pages.site import POLICY
from folkmoot.postgres.pool import transaction
from injections import STRINGS, dangerous, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Response

    from browser import Element
    from folkmoot.mail.links import Purpose
    from testing.cluster import Cluster

#: What links lead to and is no page, or another's.
_ELSEWHERE = ("/docs", "/static", "/account/export", "http:", "https:", "#")
#: What no page leads to, but mail.
_FROM_MAIL = ("/reset/a-reset-link", "/verify/a-verify-link")
#: The most pages that are opened for one person.
_PAGES = 80


@dataclass(frozen=True)
class Found:
    """A form, the page that it is on, and who sees it there."""

    who: str
    page: str
    form: Form

    def __str__(self) -> str:
        button = self.form.fields.get("do", "")
        return f"{self.who} {self.form.action} {button}".strip()


class Site:
    """A service in which there is something of everything, and browsers of the people who see it."""

    def __init__(self, api: Api) -> None:
        self.api = api
        api.empty()
        self.browsers = {"a stranger": Browser(api), "a member": self.fill()}
        self.browsers["an administrator"] = self.administrator()
        self.pages: dict[tuple[str, str], tuple[Response, Element]] = {}
        self.found = [
            each
            for who in self.browsers
            for each in self.crawled(who)
            # The others are those of every member.
            if who != "an administrator" or each.form.action.startswith("/moderation")
        ]

    def fill(self) -> Browser:
        """Something of everything; a new kind of thing that has a form is to be added here."""
        bob = self.api.person("bob@example.com")
        self.api.post("/posts", json={"title": "Bob's", "content": "x"}, headers=bob.auth)
        member = Browser(self.api).register("ada@example.com", name="Ada")
        for do in ("publish", "draft"):
            member.open("/write")
            member.send(member.form("/write", do=do), title=f"A {do}", content="*Text*")
        member.open("/p/1")
        member.send(member.form("/p/1/comments"), content="Said")
        self.api.post("/posts/1/comments", json={"content": "Said, too"}, headers=bob.auth)
        return member

    def administrator(self) -> Browser:
        """Somebody who moderates, something to do for them, and links from mail."""
        made = Browser(self.api).register("reeve@example.com", name="Reeve")
        eve = self.api.person("eve@example.com")
        post = self.api.post("/posts", json={"title": "Eve's", "content": "x"}, headers=eve.auth).json()["id"]
        self.api.post(f"/posts/{post}/comments", json={"content": "Eve's"}, headers=eve.auth)
        with self.api.connect() as connection:
            connection.execute("UPDATE users SET administrator = TRUE WHERE email = 'reeve@example.com'")
            connection.execute(
                "INSERT INTO reports (user_id, post_id, reason) SELECT owner_id, id, 'why' FROM posts "
                "WHERE title = 'Eve''s'"
            )
            connection.execute(
                "INSERT INTO comment_reports (user_id, post_id, comment_id, reason) "
                "SELECT owner_id, post_id, id, 'why' FROM comments WHERE content = 'Eve''s'"
            )
            connection.execute(
                "INSERT INTO moderation_log (action, person_id) VALUES ('unblock', %s)", [eve.id]
            )

        async def link(purpose: Purpose) -> None:
            async with transaction(self.api.application.state.pool) as connection:
                await links.add(connection, purpose, 1, links.digest(f"a-{purpose.name}-link"))

        for purpose in links.PURPOSES.values():
            self.api.run(link, purpose)
        return made

    def crawled(self, who: str) -> Iterator[Found]:
        """The forms of all pages that links and forms lead to, each once."""
        browser = self.browsers[who]
        todo, seen, known = ["/", "/login", "/register", *_FROM_MAIL], set[str](), set[tuple[str, str]]()
        while todo:
            path = todo.pop(0)
            if path in seen or path.startswith(_ELSEWHERE):
                continue
            seen.add(path)
            assert len(seen) < _PAGES, seen
            page = browser.open(path)
            assert browser.answer.status_code == 200, path
            self.pages[who, path] = browser.answer, page
            todo += [link["href"].partition("?")[0] for link in page.all("a") if link.get("href")]
            for form in forms(page, path):
                key = form.action, form.fields.get("do", "")
                if key not in known:
                    known.add(key)
                    yield Found(who, path, form)

    def state(self) -> list[Any]:
        """Every row of every table, but for when a session was used and how often somebody asked."""
        with self.api.connect() as connection:
            tables = connection.execute("""
                SELECT c.oid::regclass::text FROM pg_class AS c
                 WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
                   AND c.relname NOT IN ('sessions', 'request_counts', 'login_failures') ORDER BY 1
            """).fetchall()
            assert ("users",) in tables
            rows = [f"SELECT array_agg(t::text ORDER BY t::text) FROM {name} AS t" for (name,) in tables]
            return [
                connection.execute(query).fetchone()
                for query in [*rows, "SELECT array_agg(id ORDER BY id) FROM sessions"]
            ]


@pytest.fixture(scope="module")
def site(cluster18: Cluster, migrated: str) -> Iterator[Site]:
    with Api(cluster18, cluster18.create_database(template=migrated), log_level="error") as api:
        yield Site(api)


def test_every_address_that_takes_a_form_has_one_on_some_page(site: Site) -> None:
    addresses = [
        route
        for route in site.api.application.routes
        if isinstance(route, PageRoute) and "POST" in (route.methods or ())
    ]
    assert len(addresses) > 10
    sent_to = {each.form.action.partition("?")[0] for each in site.found if each.form.method == "post"}
    without = [route.path for route in addresses if not any(route.path_regex.match(path) for path in sent_to)]
    assert without == []


def test_every_form_has_one_token_and_no_page_has_a_form_that_is_sent_elsewhere(site: Site) -> None:
    for each in site.found:
        assert each.form.action.startswith("/"), each
        assert ("csrf" in each.form.fields) == (each.form.method == "post"), each


def test_every_page_is_made_as_a_page_should_be(site: Site) -> None:
    """What can be seen in its HTML; the browser tests see more."""
    assert len(site.pages) > 15
    for where, (answer, page) in site.pages.items():
        if where[1].endswith(".atom"):
            continue
        assert answer.headers["content-security-policy"] == POLICY, where
        assert answer.headers["referrer-policy"] == "same-origin", where
        assert len(answer.content) < 30_000, where
        (html,) = page.all("html")
        assert html["lang"] == "en"
        (title,) = page.all("title")
        assert title.text.removesuffix(" · Folkmoot").strip(), where
        assert len(list(page.all("h1"))) == len(list(page.all("main"))) == 1, where
        skip = next(page.all("a"))
        assert (skip["href"], skip["class"]) == ("#main", "skip"), where
        ids = [each["id"] for each in page.all() if each.get("id")]
        assert len(ids) == len(set(ids)), where
        labels = {each["for"] for each in page.all("label")}
        for each in page.all("input", "textarea", "select"):
            assert each.get("type") == "hidden" or each["id"] in labels, (where, each.attributes)
            assert set(each.get("aria-describedby").split()) <= set(ids), where
        for each in page.all("button", "a"):
            assert each.text.strip() or each.get("aria-label"), (where, each.attributes)
        for time in page.all("time"):
            assert (time["datetime"][-1], time["title"][-3:]) == ("Z", "UTC"), where
        assert not [each for each in page.all("script") if each.text], where
        assert not [each for each in page.all() if "style" in each.attributes or each.tag == "style"], where


@pytest.mark.parametrize(
    ("how", "headers"),
    [
        ("without a token", {}),
        ("with an empty token", {}),
        ("with a wrong token", {}),
        ("with a token of another session", {}),
        ("with a token twice", {}),
        ("from another site", {"Sec-Fetch-Site": "cross-site"}),
        ("from another host of the site", {"Sec-Fetch-Site": "same-site"}),
        ("from another origin", {"Origin": "https://example.net"}),
        ("from an origin that is kept secret", {"Origin": "null"}),
        ("from an origin that is none", {"Origin": "http://["}),
    ],
)
def test_every_form_is_refused(site: Site, how: str, headers: dict[str, str]) -> None:
    other = Browser(site.api).log_in("bob@example.com")
    other.open("/write")
    token = other.form("/write", do="draft").fields["csrf"]
    before, tried = site.state(), 0
    for each in site.found:
        if each.form.method != "post":
            continue
        fields: dict[str, Any] = {**each.form.fields, "more": ""}
        if how == "without a token":
            del fields["csrf"]
        elif "token" in how:
            own = fields["csrf"]
            given = {"empty": "", "wrong": own[::-1], "another": token, "twice": [own, own]}
            fields["csrf"] = next(value for word, value in given.items() if word in how)
        answer = site.browsers[each.who].ask("POST", each.form.action, headers=headers, data=fields)
        assert answer.status_code == 403, (str(each), answer.status_code)
        assert "The form is not accepted" in answer.text, str(each)
        tried += 1
    assert tried > 20
    assert site.state() == before


def test_a_form_of_our_own_origin_is_taken_with_and_without_what_new_browsers_say(site: Site) -> None:
    own = {"Origin": "http://testserver"}
    for headers in (
        own,
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
    ):
        browser = site.browsers["a member"]
        browser.open("/write")
        form = browser.form("/write", do="preview")
        answer = browser.ask("POST", "/write", headers=headers, data={**form.fields, "title": "x"})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("text/plain", b"csrf=x", 415),
        ("application/x-www-form-urlencoded; charset=utf-16", b"csrf=x", 415),
        ("application/x-www-form-urlencoded", b"csrf=\xff", 400),
        ("application/x-www-form-urlencoded", b"csrf=%ff", 400),
        ("application/x-www-form-urlencoded", b"a=1&" * 51, 400),
        ("application/x-www-form-urlencoded", b"a" * (512 * 1024 + 1), 413),
    ],
)
def test_a_body_that_is_no_form_or_too_long_is_a_page_that_says_so(
    site: Site, kind: str, body: bytes, status: int
) -> None:
    browser = site.browsers["a member"]
    browser.answer = browser.ask("POST", "/write", headers={"Content-Type": kind}, content=body)
    assert browser.answer.status_code == status
    assert browser.answer.headers["content-type"] == "text/html; charset=utf-8"
    assert [each.text for each in browser.page.all("h1")]


def _sent(site: Site, each: Found, text: str, **others: str) -> None:
    """Send a form with a text in every field but the others; on the page that comes it is text."""
    browser = Browser(site.api)
    browser.cookies.update(site.browsers[each.who].cookies)
    form = each.form
    if "version" in form.fields:  # of the post that it changes
        browser.open(each.page)
        buttons = {"do": form.fields["do"]} if "do" in form.fields else {}
        form = browser.form(form.action, **buttons)
    page = browser.send(form, **{name: others.get(name, text) for name in form.typed})
    assert browser.answer.headers["content-type"] == "text/html; charset=utf-8"
    # A link from mail is good once, and these are passwords; 410: the post was removed by another form.
    expected = {200, 400, 403, 409, 410, 422, 429, *([404] if each.page in _FROM_MAIL else [])}
    assert browser.answer.status_code in expected, (str(each), text)
    (main,) = page.all("main")
    assert dangerous(main) == [], (str(each), text)
    for people in main.all("div"):
        if people.get("class") == "text":
            assert written(people) == [], (str(each), text)
    if "<" in text:
        assert text not in browser.answer.text, (str(each), text)
    # The rest of the page is as it always is.
    assert len(list(page.all("script"))) == 1
    assert len(list(page.all("title"))) == 1
    assert "Set-Cookie: a=b" not in str(browser.answer.headers)


def test_what_is_typed_into_every_field_of_every_form_comes_back_as_text(site: Site) -> None:
    assert len(STRINGS) >= 60
    fields = 0
    for each in [each for each in site.found if each.form.typed]:
        # Some together: what is let in so are comments; the next test writes posts and names one by one.
        for first in range(0, len(STRINGS), 24):
            _sent(site, each, "\n".join(STRINGS[first : first + 24]))
        fields += len(each.form.typed)
    assert fields > 20


@pytest.mark.one_in(3)
@pytest.mark.parametrize("part", range(6))
def test_what_is_let_in_comes_back_as_text(site: Site, part: int) -> None:
    let_in = [
        each
        for each in site.found
        if {"title", "content", "display_name", "q"} & set(each.form.typed)
        and "version" not in each.form.fields
        and each.form.fields.get("do") != "draft"
    ]
    assert len(let_in) > 4
    for number, text in enumerate(STRINGS[part::6]):
        for each in let_in:
            _sent(site, each, text, email=f"p{part}-{number}@example.org", password=PASSWORD, phone_number="")
