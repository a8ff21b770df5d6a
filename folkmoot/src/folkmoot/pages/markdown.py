"""What people write, as HTML: the one place where text becomes markup.

markdown-it-py reads CommonMark with raw HTML off, linkify-it-py finds addresses that stand by themselves, and
nh3 leaves of what they wrote what is listed here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import nh3
from linkify_it import LinkifyIt
from markdown_it import MarkdownIt
from markdown_it.rules_block import blockquote, table
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Iterable

    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_core import StateCore

_TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
    "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
#: What may be wider than the page scrolls, with the keyboard, too.
_SCROLLED = {"pre": {"tabindex": "0"}, "table": {"tabindex": "0"}}
_SCHEMES = {"http", "https", "mailto"}
#: What a link to elsewhere says of itself: nobody vouches for it.
_REL = "nofollow ugc noopener"
#: What takes longer than a moment is read in a thread: more characters than this.
_LONG = 2_000
#: How many lines are read for the quotes of a text. For each quote the library reads on to the next empty
#: line, since what follows may belong to it: without a bound, half a minute for 40,000 characters.
_QUOTED_LINES = 10_000
#: How many cells the tables of a text have, with those that the library fills in where a row is shorter than
#: the first one: as many as can be written down in 40,000 characters.
_CELLS = 20_000
#: How many characters are kept, of texts and their HTML.
_KEPT = 8_000_000


def _below_the_title(state: StateCore) -> None:
    """The page's own title is h1, so the headings of a text begin at h2."""
    for token in state.tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1]) + 1, 6)}"


def _quote(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001 (as the rule's)
    """A quote, until too many lines were read for quotes; from there on `>` is an ordinary character."""
    read = state.env.get("quoted", 0)
    if read > _QUOTED_LINES:
        return False
    if not silent and state.src.startswith(">", state.bMarks[start] + state.tShift[start]):
        state.env["quoted"] = read + _lines(state, start, end)
    return blockquote(state, start, end, silent)


def _table(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001 (as the rule's)
    """A table, unless it and those before it would have too many cells; then it stays text."""
    if start + 2 > end:
        return False
    head, below = (state.src[state.bMarks[line] : state.eMarks[line]] for line in (start, start + 1))
    if "|" not in head or below.strip(" \t>|:-"):
        return False
    cells = state.env.get("cells", 0)
    if cells <= _CELLS and not silent:
        cells += (below.count("|") + 1) * _lines(state, start, end)
        state.env["cells"] = cells
    return cells <= _CELLS and table(state, start, end, silent)


def _lines(state: StateBlock, start: int, end: int) -> int:
    """How many lines there are up to the next empty one."""
    last = start
    while last < end and not state.isEmpty(last):
        last += 1
    return last - start


# Pictures would be fetched from elsewhere, which the policy of the pages forbids.
_READER = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")
_READER.block.ruler.at("blockquote", _quote, {"alt": ["paragraph", "reference", "blockquote", "list"]})
_READER.block.ruler.at("table", _table, {"alt": ["paragraph", "reference"]})
_READER.core.ruler.push("below_the_title", _below_the_title)


def _bare_links() -> LinkifyIt:
    """What finds addresses in a text: those that begin with http: or https: as a link says where it leads."""
    found = LinkifyIt(options={"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})
    for scheme in ("ftp:", "mailto:", "//"):
        found.add(scheme, None)
    return found


_READER.linkify = _bare_links()
_READER.options["linkify"] = True
_READER.enable("linkify")


class _Kept:
    """The HTML of texts, by the texts; what has been kept for longest goes first."""

    def __init__(self) -> None:
        self._html: dict[str, Markup] = {}
        self._size = 0

    def missing(self, texts: Iterable[str]) -> list[str]:
        return [text for text in dict.fromkeys(texts) if text not in self._html]

    def get(self, text: str) -> Markup | None:
        return self._html.get(text)

    def keep(self, text: str, html: Markup) -> None:
        if text not in self._html:
            self._html[text] = html
            self._size += len(text) + len(html)
        while self._size > _KEPT:
            oldest = next(iter(self._html))
            self._size -= len(oldest) + len(self._html.pop(oldest))


_kept = _Kept()
#: One at a time, so that many of them leave the others their processor.
_turn = asyncio.Lock()


def markdown(text: str) -> Markup:
    """A text in Markdown as HTML that is safe to show."""
    html = _kept.get(text)
    if html is None:
        html = _rendered(text)
        _kept.keep(text, html)
    return html


async def prepare(*texts: str) -> None:
    """Have the texts' HTML at hand before the page is made, so that long or many ones hold up nobody else.

    A route awaits it before it makes what shows texts, and nothing in between.
    """
    if sum(map(len, _kept.missing(texts))) > _LONG:
        async with _turn:
            for text in _kept.missing(texts):
                _kept.keep(text, await asyncio.to_thread(_rendered, text))


def _rendered(text: str) -> Markup:
    clean = nh3.clean(
        _READER.render(text), tags=_TAGS, attributes=_ATTRIBUTES, url_schemes=_SCHEMES, link_rel=_REL,
        set_tag_attribute_values=_SCROLLED,
    )  # fmt: skip
    return Markup(clean)  # noqa: S704 - what nh3 has cleaned
