"""Markdown that takes long to read takes nobody else's time: as long as it is, and beside the event loop."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from browser import Browser
from folkmoot.pages import markdown as pages_markdown
from folkmoot.pages.markdown import _rendered, markdown
from test_comments import say
from test_posts import write

if TYPE_CHECKING:
    from collections.abc import Callable

    from markupsafe import Markup

    from api import Api

#: What is repeated: brackets, emphasis, code, links, tables, lists and quotes that begin and do not end. Of
#: the first three, 40,000 characters took up to half a minute; what follows takes longest for its length.
HOSTILE = [
    "(---\n>---\nb ", "<a>>=\n> `````\n", "`<[[a]: b\n>[a]: b",
    "*[", "[*", "a|b\n-|-\n", "[", "![", "- a\n", "1. a\n", "*_", "~~*", "`[", '[a](b "', "[a]: <\n",
    "> - ", "- > a\n", "  - a\n", "<a ", "&", "\\", "***", "***\n", "a\n", "|a|\n|-|\n", "](", "a**b_c",
    "http://a.b ", "http://a.b\n", "http://", "http://a.b/(", "http://a.b[", "*http://a.b", "<http://a.b ",
    "mailto:", "a@b.c ",
]  # fmt: skip


def calls(function: Callable[..., object], *arguments: object) -> int:
    """How many functions are called meanwhile, which is the same however busy the machine is."""
    number = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal number
        number += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function(*arguments)
    finally:
        sys.setprofile(before)
    return number


@pytest.mark.one_in(4)
@pytest.mark.parametrize("unit", HOSTILE)
def test_four_times_the_text_takes_about_four_times_the_work(unit: str) -> None:
    short, long = (calls(_rendered, (unit * length)[:length]) for length in (700, 2800))
    assert long < 6 * short


def test_a_long_text_with_many_quotes_is_read_as_it_is_written() -> None:
    text = "\n\n".join(f"> What {number} said\ngoes on\n\nAn answer." for number in range(900))
    assert len(text) > 30_000
    assert markdown(text).count("<blockquote>") == 900


def test_a_table_that_is_written_down_is_one_and_rows_are_filled_in_within_a_bound() -> None:
    columns, rows = 20, 900
    written = "\n".join(["|a" * columns, "|-" * columns, *(["|b" * columns] * rows)])
    assert len(written) < 40_000
    assert markdown(written).count("<td>") == columns * rows
    short = "\n".join(["|a" * columns, "|-" * columns, *(["|b"] * rows)])
    assert markdown(short).count("<td>") == columns * rows
    wide = "\n".join(["|a" * 400, "|-" * 400, *(["|b"] * 9000)])
    assert markdown(wide).count("<td>") == 0
    several = "\n\n".join(["\n".join(["|a" * 100, "|-" * 100, *(["|b"] * 50)])] * 50)
    assert 0 < markdown(several).count("<td>") < 20_000


def test_no_page_reads_a_long_text_in_the_event_loop(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def rendered(text: str) -> Markup:
        threads.append(threading.get_ident())
        return _rendered(text)

    monkeypatch.setattr(pages_markdown, "_rendered", rendered)
    browser = Browser(api).register("ada@example.com")
    with api.connect() as connection:
        connection.execute("UPDATE users SET administrator = TRUE")
    auth = {"Authorization": f"Bearer {api.login('ada@example.com').json()['access_token']}"}
    post = api.post("/posts", json={"title": "a", "content": "[" * 5000}, headers=auth).json()["id"]
    page = f"/p/{post}"
    said = api.post(f"/posts/{post}/comments", json={"content": "*[" * 2500}, headers=auth).json()["id"]
    loop = api.call(_here)
    for address in (
        page, f"{page}/edit", f"{page}/comments/{said}", f"{page}/comments/{said}/edit", f"{page}/feed.atom",
        f"{page}/comments/{said}/delete", f"/moderation/posts/{post}", "/feed.atom", "/u/1/feed.atom",
    ):  # fmt: skip
        monkeypatch.setattr(pages_markdown, "_kept", pages_markdown._Kept())  # noqa: SLF001 - nothing is kept
        threads.clear()
        assert browser.ask("GET", address).status_code == 200, address
        assert threads, address
        assert loop not in threads, address
    threads.clear()
    browser.open("/write")
    form = browser.form("/write", do="preview")
    browser.send(form, title="a", content="![" * 2500)
    assert browser.answer.status_code == 200
    assert threads
    assert loop not in threads


async def _here() -> int:
    return threading.get_ident()


def test_a_text_is_read_once_however_often_it_is_shown(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def rendered(text: str) -> Markup:
        read.append(text)
        return _rendered(text)

    monkeypatch.setattr(pages_markdown, "_rendered", rendered)
    ada = api.person()
    post = write(api, ada, content="A long text, " * 300)
    for number in range(30):
        say(api, ada, post, content=f"And an answer, {number} " * 10)
    for _ in range(3):
        assert api.get(f"/p/{post}").status_code == 200
    assert len(read) == len(set(read)) == 31


def test_what_is_kept_of_texts_has_a_bound() -> None:
    kept = pages_markdown._Kept()  # noqa: SLF001 - what is tested
    html = markdown("a" * 1000)
    for number in range(10_000):
        kept.keep(f"{number:01000}", html)
    assert kept._size <= pages_markdown._KEPT  # noqa: SLF001 - as above
    assert kept.get("0" * 1000) is None
    assert kept.get(f"{9999:01000}") == html
