"""A post, and votes for it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response

from folkmoot.http.parameters import Id  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.pages import discussion, site
from folkmoot.pages.forms import Sent  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.pages.routes import PageRoute
from folkmoot.pages.visitor import Member, Reader  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.posts import comments, votes

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/p/{post_id}")
async def show(
    request: Request,
    reader: Reader,
    post_id: Id,
    cursor: Annotated[str | None, comments.CURSOR] = None,
) -> Response:
    """Show a post and what is said on it; a draft to its owner only."""
    return await discussion.show_post(request, reader, post_id, cursor)


@router.post("/p/{post_id}/vote")
async def vote(request: Request, voter: Member, post_id: Id, form: Sent) -> Response:
    """Vote for a post, or take the vote back; then go on where the button was."""
    await votes.vote(voter, votes.ON_POSTS, cast=form["vote"] == "1", post=post_id)
    return site.redirect(request, f"{site.own_path(form['back'], f'/p/{post_id}')}#vote-{post_id}")
