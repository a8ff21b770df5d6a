"""Atom feeds (RFC 4287): posts, a person's, and comments on a post, as who is not logged in sees them.

An entry's id is made of what never changes: a post keeps it wherever the site moves. Its text is the page's
HTML. A change of a text changes the ETag; no time of it is kept, so Last-Modified is that of the newest
entry, and If-Modified-Since alone is not enough for 304.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import NAMESPACE_OID, UUID, uuid5
from xml.etree import ElementTree as ET

from fastapi import APIRouter, Request, Response

from folkmoot.http import etags
from folkmoot.http.parameters import Id  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.problems import LoginRequired
from folkmoot.pages.markdown import markdown, prepare
from folkmoot.pages.routes import PageRoute
from folkmoot.pages.site import iso
from folkmoot.pages.texts import text
from folkmoot.people import accounts
from folkmoot.people.caller import Anonymous
from folkmoot.postgres import reading
from folkmoot.posts import comments, lists, posts
from folkmoot.posts.list_queries import Sort, Which

if TYPE_CHECKING:
    from collections.abc import Sequence

    from folkmoot.posts.posts import OwnerRow, PostRow

#: How many entries a feed has.
ENTRIES = 30
_ATOM = "http://www.w3.org/2005/Atom"
#: What XML 1.0 has no place for, escaped or not.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
ET.register_namespace("", _ATOM)

router = APIRouter(include_in_schema=False, route_class=PageRoute)


class Entry(NamedTuple):
    """An entry of a feed."""

    id: UUID
    title: str
    when: datetime
    address: str
    author: OwnerRow
    content: str
    """As it was written, in Markdown."""


@router.get("/feed.atom")
async def everybody(request: Request) -> Response:
    """The newest posts."""
    found = await lists.read(request, _nobody(request), Sort.new, limit=ENTRIES)
    return await _posts(request, text("site.name"), "/", found.items)


@router.get("/u/{user_id}/feed.atom")
async def person(request: Request, user_id: Id) -> Response:
    """A person's newest posts."""
    reader = _nobody(request)
    account = await accounts.profile(reader, user_id)
    found = await lists.read(request, reader, Sort.new, owner=user_id, which=Which.published, limit=ENTRIES)
    return await _posts(request, _name(account["display_name"], user_id), f"/u/{user_id}", found.items)


@router.get("/p/{post_id}/feed.atom")
async def discussion(request: Request, post_id: Id) -> Response:
    """The newest comments on a post."""
    reader = _nobody(request)
    post = posts.shaped(await posts.find(reader, post_id))
    entries = [
        Entry(
            uuid5(NAMESPACE_OID, f"folkmoot comment {post_id} {comment.id} {comment.created_at}"),
            text("feed.comment", name=_name(comment.owner.display_name, comment.owner.id), title=post.title),
            comment.created_at, f"/p/{post_id}/comments/{comment.id}", comment.owner, comment.content,
        )
        for comment in await comments.newest(reader, post_id, ENTRIES)
        if comment.owner is not None
    ]  # fmt: skip
    return await _feed(request, post.title, f"/p/{post_id}", entries)


def _nobody(request: Request) -> Anonymous:
    if not request.app.state.settings.public_read:
        raise LoginRequired
    return Anonymous(request.app.state.pool, reading.of(request))


def _name(display_name: str | None, user_id: int) -> str:
    return display_name or text("person.nameless", id=user_id)


async def _posts(request: Request, title: str, page: str, found: Sequence[PostRow]) -> Response:
    return await _feed(
        request, title, page,
        [
            Entry(
                uuid5(NAMESPACE_OID, f"folkmoot post {post.id} {post.created_at}"), post.title,
                post.created_at, f"/p/{post.id}", post.owner, post.content,
            )
            for post in found
        ],
    )  # fmt: skip


async def _feed(request: Request, title: str, page: str, entries: Sequence[Entry]) -> Response:
    await prepare(*(entry.content for entry in entries))
    base = request.app.state.settings.public_url or str(request.base_url).rstrip("/")
    here = f"{base}{request.url.path}"
    newest = max((entry.when for entry in entries), default=_BEGINNING)
    feed = _element(None, "feed")
    _element(feed, "id", here)
    _element(feed, "title", title)
    _element(feed, "updated", iso(newest))
    _element(feed, "link", rel="self", type="application/atom+xml", href=here)
    _element(feed, "link", rel="alternate", type="text/html", href=f"{base}{page}")
    for one in entries:
        entry = _element(feed, "entry")
        _element(entry, "id", one.id.urn)
        _element(entry, "title", one.title)
        _element(entry, "updated", iso(one.when))
        _element(entry, "link", rel="alternate", type="text/html", href=f"{base}{one.address}")
        author = _element(entry, "author")
        _element(author, "name", _name(one.author.display_name, one.author.id))
        _element(author, "uri", f"{base}/u/{one.author.id}")
        _element(entry, "content", str(markdown(one.content)), type="html")
    body: bytes = ET.tostring(feed, encoding="utf-8", xml_declaration=True)
    answer = etags.respond(request, body, media_type="application/atom+xml")
    answer.headers["Last-Modified"] = format_datetime(newest, usegmt=True)
    del answer.headers["Vary"]  # it is the same for everybody
    return answer


def _element(parent: ET.Element | None, tag: str, content: str = "", **attributes: str) -> ET.Element:
    name = f"{{{_ATOM}}}{tag}"
    made = ET.Element(name) if parent is None else ET.SubElement(parent, name)
    for key, value in attributes.items():
        made.set(key, _NOT_XML.sub("\ufffd", value))
    made.text = _NOT_XML.sub("\ufffd", content) or None
    return made
