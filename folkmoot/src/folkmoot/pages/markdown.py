"""What people write, as HTML: the one place where text becomes markup.

markdown-it-py reads CommonMark with raw HTML off, and nh3 leaves of what it wrote what is listed here.
"""

from __future__ import annotations

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
_SCHEMES = {"http", "https", "mailto"}
#: What a link to elsewhere says of itself: nobody vouches for it.
_REL = "nofollow ugc noopener"
#: The longest text whose HTML is kept, in characters, and how many of them are.
_KEPT_LENGTH, _KEPT = 4_000, 2_000


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
    return _kept(text) if len(text) <= _KEPT_LENGTH else _rendered(text)


def _rendered(text: str) -> Markup:
    clean = nh3.clean(
        _READER.render(text), tags=_TAGS, attributes=_ATTRIBUTES, url_schemes=_SCHEMES, link_rel=_REL
    )
    return Markup(clean)  # noqa: S704 - what nh3 has cleaned


_kept = lru_cache(_KEPT)(_rendered)
