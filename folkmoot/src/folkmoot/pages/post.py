"""A post, and votes for it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from folkmoot.http.parameters import Id  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.pages import site, visitor
from folkmoot.pages.forms import Sent  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.pages.markdown import prepare
from folkmoot.pages.routes import PageRoute
from folkmoot.pages.visitor import Member, Reader  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.posts import posts, votes

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/p/{post_id}")
async def show(request: Request, reader: Reader, post_id: Id) -> Response:
    """Show a post; a draft to its owner only."""
    post = posts.shaped(await posts.find(reader, post_id))
    await prepare(post.content)
    mine = visitor.user_id(request) == post.owner.id
    return site.page(request, "post.html", public=True, post=post, mine=mine)


@router.post("/p/{post_id}/vote")
async def vote(request: Request, voter: Member, post_id: Id, form: Sent) -> Response:
    """Vote for a post, or take the vote back; then go on where the button was."""
    await votes.vote(voter, votes.ON_POSTS, cast=form["vote"] == "1", post=post_id)
    return site.redirect(request, f"{site.own_path(form['back'], f'/p/{post_id}')}#vote-{post_id}")
