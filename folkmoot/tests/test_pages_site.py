"""What every page stands on: Markdown, texts, times in words, limits, paths."""

from __future__ import annotations

import re
import string
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import folkmoot
from api import PASSWORD, UNLIMITED, Api
from browser import Browser, parsed
from folkmoot.pages import site
from folkmoot.pages.markdown import markdown
from injections import STRINGS, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.cluster import Cluster

PAGES = Path(folkmoot.__path__[0]) / "pages"


@pytest.mark.parametrize(
    "around", ["{}", "> {}", "- {}", "# {}", "*{}*", "| {} |\n|---|\n| {} |", "[{}]({})", "a\n{}\nb"]
)
def test_no_markdown_becomes_markup_that_it_should_not(around: str) -> None:
    for text in STRINGS:
        html = markdown(around.replace("{}", text))
        assert written(parsed(html)) == [], (text, html)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# A\n\n###### B", "<h2>A</h2>\n<h6>B</h6>\n"),
        ("~~a~~ **b** `c`", "<p><s>a</s> <strong>b</strong> <code>c</code></p>\n"),
        ("<https://example.org>", '<p><a href="https://example.org" rel="nofollow ugc noopener">https://example.org</a></p>\n'),
        ("[a](/p/1)", '<p><a href="/p/1" rel="nofollow ugc noopener">a</a></p>\n'),
        ("3. a", '<ol start="3">\n<li>a</li>\n</ol>\n'),
        ("![a](/a.png)", '<p>!<a href="/a.png" rel="nofollow ugc noopener">a</a></p>\n'),
        ("a\nb\n\n\nc", "<p>a\nb</p>\n<p>c</p>\n"),
    ],
)  # fmt: skip
def test_markdown_is_read_as_commonmark_with_tables_and_without_pictures(text: str, html: str) -> None:
    assert markdown(text) == html


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("at https://example.org/a_b_c?d=1.", ["https://example.org/a_b_c?d=1"]),
        ("(http://a.example), HTTPS://b.example", ["http://a.example", "HTTPS://b.example"]),
        (
            "[https://a.example](https://b.example) <https://c.example>",
            ["https://b.example", "https://c.example"],
        ),
        ("`http://a.example` http://", []),
        ("www.example.org a@example.org mailto:a@example.org //example.org", []),
        ("ftp://example.org javascript://example.org data:text/html,x", []),
    ],
)
def test_an_address_that_stands_by_itself_is_a_link_where_it_says_where_it_leads(
    text: str, links: list[str]
) -> None:
    found = list(parsed(markdown(text)).all("a"))
    assert [link["href"] for link in found] == links
    assert {link["rel"] for link in found} <= {"nofollow ugc noopener"}


def keys(table: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, dict) and set(value) != {"one", "other"}:
            yield from keys(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def test_every_text_that_a_page_asks_for_is_there_and_none_is_left_over() -> None:
    there = set(keys(tomllib.loads((PAGES / "texts" / "en.toml").read_text())))
    source = "".join(path.read_text() for pattern in ("*.py", "templates/*") for path in PAGES.glob(pattern))
    asked = set(re.findall(r"""\b(?:t|text)\(\s*f?["']([a-z_.-]+)["']\s*[,)]""", source))
    assert asked <= there, asked - there
    # What is asked for by a part of its key.
    begins = tuple(re.findall(r"""\b(?:t|text|has)\(\s*f?["']([a-z_.]+\.)(?:["'] ~|\{)""", source))
    begins += ("wrong.", "done.", "ago.")
    assert {key for key in there - asked if not key.startswith(begins)} == set()
    done = set(re.findall(r'redirect\([^)]*?, "([a-z_]+)"\)', source, re.DOTALL))
    done |= set(re.findall(r'"([a-z_]+)" if post.published else "([a-z_]+)"', source)[0])
    assert {f"done.{each}" for each in done} <= there


def test_the_names_in_a_text_are_the_same_for_one_and_for_many() -> None:
    def check(table: dict[str, Any]) -> None:
        if set(table) == {"one", "other"}:
            one, other = (
                {name for _, name, _, _ in string.Formatter().parse(table[key]) if name} for key in table
            )
            assert one <= other
        else:
            for value in table.values():
                if isinstance(value, dict):
                    check(value)

    check(tomllib.loads((PAGES / "texts" / "en.toml").read_text()))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "just now"), (59, "just now"), (60, "1 minute ago"), (7200, "2 hours ago"), (86_400, "1 day ago"),
     (14 * 86_400, "2 weeks ago"), (400 * 86_400, "1 year ago")],
)  # fmt: skip
def test_a_time_is_said_in_words(seconds: int, words: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert site.in_words(now - timedelta(seconds=seconds), now) == words


@pytest.mark.parametrize("path", ["/", "/p/1", "/?q=a&order=new", "/#x", "/p/1?a=%2F%2Fb"])
def test_a_path_of_ours_is_one(path: str) -> None:
    assert site.own_path(path) == path


@pytest.fixture(scope="module")
def limited(cluster18: Cluster, migrated: str) -> Iterator[Api]:
    settings: dict[str, Any] = {
        **UNLIMITED,
        "registrations_per_hour": 3,
        "writes_per_minute": 4,
        "searches_per_minute": 2,
        "exports_per_hour": 1,
        "log_level": "error",
    }
    with Api(cluster18, cluster18.create_database(template=migrated), **settings) as api:
        yield api


def test_pages_and_the_api_count_together(limited: Api) -> None:
    browser = Browser(limited).register("ada@example.com")
    ada = limited.login("ada@example.com").json()["access_token"]
    auth = {"Authorization": f"Bearer {ada}"}
    for _ in range(2):
        assert limited.post("/posts", json={"title": "a", "content": ""}, headers=auth).status_code == 201
    browser.open("/write")
    form = browser.form("/write", do="preview")
    statuses = [browser.ask("POST", "/write", data={**form.fields, "title": "a"}) for _ in range(3)]
    assert [each.status_code for each in statuses] == [200, 200, 429]
    assert int(statuses[-1].headers["retry-after"]) > 0
    assert "Too many requests" in statuses[-1].text
    assert limited.post("/posts", json={"title": "a", "content": ""}, headers=auth).status_code == 429
    assert [browser.ask("GET", "/?q=a").status_code for _ in range(3)] == [200, 200, 429]
    assert [browser.ask("GET", "/account/export").status_code for _ in range(2)] == [200, 429]
    for number in range(2):
        assert limited.register(f"p{number}@example.com").status_code == 201
    late = Browser(limited)
    late.open("/register")
    late.send(late.form("/register"), email="late@example.com", password=PASSWORD)
    assert late.answer.status_code == 429


def test_where_reading_needs_a_login_every_page_but_the_ways_in_leads_to_it(
    cluster18: Cluster, migrated: str
) -> None:
    name = cluster18.create_database(template=migrated)
    with Api(cluster18, name, public_read=False) as closed:
        browser = Browser(closed)
        for path in ("/", "/p/1", "/u/1", "/drafts", "/account", "/write"):
            answer = browser.ask("GET", path)
            assert (answer.status_code, answer.headers["location"][:12]) == (303, "/login?next=")
        for path in ("/login", "/register"):
            assert browser.ask("GET", path).status_code == 200
        assert "Nobody has written" in browser.register("ada@example.com").open("/").text
