"""What a person has written: for everybody, and one's own drafts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from folkmoot.http.parameters import Id  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.pages import site
from folkmoot.pages.routes import PageRoute
from folkmoot.pages.visitor import Member, Reader  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.people import accounts
from folkmoot.posts import lists
from folkmoot.posts.list_queries import Sort, Which

if TYPE_CHECKING:
    from folkmoot.people.caller import Anonymous, Bearer
    from folkmoot.posts.lists import PageRow

#: How many posts a page shows.
POSTS = 20

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_Cursor = Annotated[str | None, lists.CURSOR]


@router.get("/u/{id}")
async def show(request: Request, reader: Reader, id: Id, cursor: _Cursor = None) -> Response:  # noqa: A002 (the path's own name)
    """Show a person's published posts, the newest first."""
    found = await _list(request, reader, Which.published, cursor, owner=id)
    person = await accounts.profile(reader, id)
    return site.page(
        request, "person.html", public=True, person=person, posts=found.items,
        more=_more(f"/u/{id}", found), later=cursor is not None,
    )  # fmt: skip


@router.get("/drafts")
async def drafts(request: Request, reader: Member, cursor: _Cursor = None) -> Response:
    """Show one's own drafts, the newest first."""
    found = await _list(request, reader, Which.drafts, cursor)
    return site.page(request, "drafts.html", posts=found.items, more=_more("/drafts", found))


async def _list(
    request: Request, reader: Bearer | Anonymous, which: Which, cursor: str | None, owner: int | None = None
) -> PageRow:
    return await lists.read(request, reader, Sort.new, owner=owner, which=which, cursor=cursor, limit=POSTS)


def _more(path: str, found: PageRow) -> str | None:
    return f"{path}?{urlencode({'cursor': found.next_cursor})}" if found.next_cursor else None
