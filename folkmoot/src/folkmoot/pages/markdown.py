"""What people write, as HTML: the one place where text becomes markup.

markdown-it-py reads CommonMark with raw HTML off, and nh3 leaves of what it wrote what is listed here.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

if TYPE_CHECKING:
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
#: How many texts' HTML is kept, of ordinary and of long ones.
_KEPT, _KEPT_LONG = 4_000, 64


def _below_the_title(state: StateCore) -> None:
    """The page's own title is h1, so the headings of a text begin at h2."""
    for token in state.tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1]) + 1, 6)}"


# Pictures would be fetched from elsewhere, which the policy of the pages forbids.
_READER = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")
_READER.core.ruler.push("below_the_title", _below_the_title)


def markdown(text: str) -> Markup:
    """A text in Markdown as HTML that is safe to show."""
    return _kept(text) if len(text) <= _LONG else _kept_long(text)


async def prepare(*texts: str) -> None:
    """Have the texts' HTML at hand before the page is made, so that long or many ones hold up nobody else."""
    if sum(map(len, texts)) > _LONG:
        async with _turn:
            await asyncio.to_thread(lambda: [markdown(text) for text in texts])


def _rendered(text: str) -> Markup:
    clean = nh3.clean(
        _READER.render(text), tags=_TAGS, attributes=_ATTRIBUTES, url_schemes=_SCHEMES, link_rel=_REL,
        set_tag_attribute_values=_SCROLLED,
    )  # fmt: skip
    return Markup(clean)  # noqa: S704 - what nh3 has cleaned


_kept, _kept_long = lru_cache(_KEPT)(_rendered), lru_cache(_KEPT_LONG)(_rendered)
#: One at a time, so that many of them leave the others their processor.
_turn = asyncio.Lock()
