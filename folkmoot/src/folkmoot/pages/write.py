"""Writing: a new post or a change of one, previewed, kept as a draft or published, and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from folkmoot.http.etags import PreconditionFailed
from folkmoot.http.parameters import Id  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.problems import Forbidden
from folkmoot.pages import site
from folkmoot.pages.forms import Form, NotAcceptable, Sent
from folkmoot.pages.markdown import prepare
from folkmoot.pages.routes import LongPageRoute
from folkmoot.pages.visitor import Member  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.posts import posts
from folkmoot.posts.posts import NewPost

if TYPE_CHECKING:
    import asyncpg

    from folkmoot.people.caller import Bearer, Caller

router = APIRouter(include_in_schema=False, route_class=LongPageRoute)


@router.get("/write")
async def write_page(request: Request, writer: Member) -> Response:
    """Show the form for a new post."""
    await writer.check()
    return await _form_page(request, Form({}))


@router.post("/write")
async def write(request: Request, writer: Member, form: Sent) -> Response:
    """Publish a post or keep it as a draft, or show what it will look like."""
    post = _checked(form)
    if post is None or form["do"] == "preview":
        return await _form_page(request, form, preview=post)
    async with writer.transaction() as caller:
        made = await posts.insert(caller, post)
    return site.redirect(request, f"/p/{made}", "published" if post.published else "draft_kept")


@router.get("/p/{post_id}/edit")
async def edit_page(request: Request, writer: Member, post_id: Id) -> Response:
    """Show the form with a post of yours."""
    row = await _mine(writer, post_id)
    form = Form({"title": row["title"], "content": row["content"], "version": str(row["version"])})
    return await _form_page(request, form, row)


@router.post("/p/{post_id}/edit")
async def edit(request: Request, writer: Member, post_id: Id, form: Sent) -> Response:
    """Change a post of yours, unless it was changed since the form was opened."""
    row = await _mine(writer, post_id)
    post = _checked(form)
    if post is None or form["do"] == "preview":
        return await _form_page(request, form, row, preview=post)
    try:
        async with writer.transaction() as caller:
            await _update(caller, post_id, form["version"], post)
    except PreconditionFailed as problem:
        form.refuse(problem)
        row = await _mine(writer, post_id)
        # Whoever has read what it says now may go on from there.
        form.fields = {**form.fields, "version": str(row["version"])}
        return await _form_page(request, form, row)
    return site.redirect(request, f"/p/{post_id}", "published" if post.published else "draft_kept")


@router.get("/p/{post_id}/delete")
async def delete_page(request: Request, writer: Member, post_id: Id) -> Response:
    """Ask whether a post of yours is to be deleted."""
    return site.page(request, "delete_post.html", post=await _mine(writer, post_id))


@router.post("/p/{post_id}/delete")
async def delete(request: Request, writer: Member, post_id: Id, form: Sent) -> Response:
    """Delete a post of yours."""
    del form  # it has a token and nothing else
    async with writer.transaction() as caller:
        await posts.delete(caller, post_id, None)
    return site.redirect(request, "/", "post_deleted")


def _checked(form: Form) -> NewPost | None:
    """The post as it was typed; None where it is not acceptable."""
    try:
        return form.checked(
            NewPost, title=form["title"].strip(), content=form["content"], published=form["do"] != "draft"
        )
    except NotAcceptable:
        return None


async def _update(caller: Caller, post_id: int, version: str, post: NewPost) -> None:
    await posts.update(caller, post_id, f'"{version}."', post.model_dump())


async def _mine(writer: Bearer, post_id: int) -> asyncpg.Record:
    """The row of a post that its owner may change; raises NotFound and Forbidden."""
    row = await posts.find(writer, post_id)
    async with writer.transaction() as caller:
        if row["owner_id"] != caller.user_id:
            raise Forbidden("Only its owner can change a post.")
    return row


async def _form_page(
    request: Request, form: Form, row: asyncpg.Record | None = None, preview: NewPost | None = None
) -> Response:
    await prepare(preview.content if preview else row["content"] if row else "")
    return site.form_page(request, "write.html", form, post=row, preview=preview)
