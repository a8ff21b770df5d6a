"""The front page: what comes first, and search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from folkmoot.pages import site
from folkmoot.pages.routes import PageRoute
from folkmoot.pages.visitor import Reader  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.people import accounts
from folkmoot.posts import lists
from folkmoot.posts.list_queries import Sort, Which
from folkmoot.posts.search import SearchTooBroad

if TYPE_CHECKING:
    from folkmoot.http.problems import Problem

#: How many posts a page shows.
POSTS = 20

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/")
async def front(
    request: Request,
    reader: Reader,
    order: Sort = Sort.hot,
    q: Annotated[str, lists.WORDS] = "",
    cursor: Annotated[str | None, lists.CURSOR] = None,
) -> Response:
    """Show posts, the hottest first or as they were asked for."""
    words = q.strip() or None
    problem: Problem | None = None
    try:
        found = await lists.read(
            request, reader, order, words=words, which=Which.published, cursor=cursor, limit=POSTS
        )
    except SearchTooBroad as error:
        found, problem = lists.PageRow([], None), error
    first = not found.items and words is None and cursor is None
    return site.page(
        request,
        "front.html",
        problem.status if problem else 200,
        public=True,
        order=order.value,
        words=words,
        posts=found.items,
        more=_address(order, words, found.next_cursor) if found.next_cursor else None,
        tabs=[(each.value, _address(each, words)) for each in (Sort.hot, Sort.new, Sort.top)],
        later=cursor is not None,
        problem=problem,
        anybody=await accounts.anybody(reader) if first else True,
    )


def _address(order: Sort, words: str | None, cursor: str | None = None) -> str:
    asked = {"order": "" if order is Sort.hot else order.value, "q": words or "", "cursor": cursor or ""}
    query = urlencode({name: value for name, value in asked.items() if value})
    return f"/?{query}" if query else "/"
