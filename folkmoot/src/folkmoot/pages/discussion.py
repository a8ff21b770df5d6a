"""What is said on a post: threads, a comment with what answers it, writing, changing, deleting and votes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from folkmoot.http.etags import PreconditionFailed
from folkmoot.http.parameters import Id  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.problems import Forbidden, NotFound
from folkmoot.pages import site, visitor
from folkmoot.pages.forms import Form, NotAcceptable, Sent
from folkmoot.pages.markdown import prepare
from folkmoot.pages.routes import PageRoute
from folkmoot.pages.visitor import Member, Reader  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.posts import comments, posts, votes
from folkmoot.posts.comments import CommentChanges, NewComment

if TYPE_CHECKING:
    import asyncpg

    from folkmoot.people.caller import Anonymous, Bearer
    from folkmoot.posts.comments import CommentPageRow, CommentRow

#: How many comments a page shows.
COMMENTS = 200


class CommentPageRoute(PageRoute):
    """The route of a form with a comment: 10,000 characters, each of them escaped, are 120,000 bytes."""

    body_limit = 128 * 1024


router = APIRouter(include_in_schema=False, route_class=CommentPageRoute)
_ONE = "/p/{post_id}/comments/{comment_id}"


@dataclass
class Shown:
    """A comment on a page, below what it answers where that is on the page, too."""

    comment: CommentRow
    #: The comments that end before it, the innermost first.
    ended: list[Shown]
    #: Whether there are answers below it.
    answered: bool = False


@dataclass(frozen=True)
class Discussion:
    """A page of comments."""

    comments: list[Shown]
    #: The comments that end with it.
    ended: list[Shown]
    #: Where the next page is.
    more: str | None


def nested(found: CommentPageRow, address: str) -> Discussion:
    """Comments in the order of a thread, each told where it begins and others end."""
    shown: list[Shown] = []
    above: list[Shown] = []
    for comment in found.items:
        ended = []
        while above and above[-1].comment.depth >= comment.depth:
            ended.append(above.pop())
        if above:
            above[-1].answered = True
        shown.append(Shown(comment, ended))
        above.append(shown[-1])
    more = f"{address}?{urlencode({'cursor': found.next_cursor})}#discussion" if found.next_cursor else None
    return Discussion(shown, above[::-1], more)


async def show_post(
    request: Request,
    reader: Bearer | Anonymous,
    post_id: int,
    cursor: str | None = None,
    form: Form | None = None,
) -> Response:
    """Show a post with what is said on it, and what somebody could not say."""
    post = posts.shaped(await posts.find(reader, post_id))
    found = await comments.page(request.app.state.cursors, reader, post_id, cursor, COMMENTS)
    await prepare(post.content, *(comment.content for comment in found.items))
    return site.form_page(
        request,
        "post.html",
        form or Form({}),
        public=True,
        post=post,
        mine=visitor.user_id(request) == post.owner.id,
        me=visitor.user_id(request),
        discussion=nested(found, f"/p/{post_id}"),
    )


async def _show_comment(
    request: Request,
    reader: Bearer | Anonymous,
    row: asyncpg.Record,
    cursor: str | None = None,
    form: Form | None = None,
) -> Response:
    comment = comments.shaped(row)
    post = posts.shaped(await posts.find(reader, comment.post_id))
    found = await comments.page(
        request.app.state.cursors, reader, post.id, cursor, COMMENTS, above=row["path"]
    )
    found.items.insert(0, comment)
    await prepare(*(each.content for each in found.items))
    return site.form_page(
        request,
        "comment.html",
        form or Form({}),
        public=True,
        post=post,
        comment=comment,
        me=visitor.user_id(request),
        discussion=nested(found, f"/p/{post.id}/comments/{comment.id}"),
    )


@router.get(_ONE)
async def show(
    request: Request,
    reader: Reader,
    post_id: Id,
    comment_id: Id,
    cursor: Annotated[str | None, comments.CURSOR] = None,
) -> Response:
    """Show a comment, what answers it, and the form for an answer."""
    return await _show_comment(request, reader, await comments.find(reader, post_id, comment_id), cursor)


@router.post("/p/{post_id}/comments")
async def say(request: Request, writer: Member, post_id: Id, form: Sent) -> Response:
    """Comment on a post, or answer a comment where the form names one."""
    answered = form["parent"]
    parent = int(answered) if answered.isdecimal() and len(answered) < 16 else None
    try:
        said = form.checked(NewComment, content=form["content"].strip(), parent_id=parent)
        row = await comments.insert(writer, post_id, said)
    except NotAcceptable:
        pass
    except (NotFound, comments.ThreadTooDeep) as problem:
        form.refuse(problem)
    else:
        return site.redirect(request, await _where(writer, row), "said")
    if parent is None:
        return await show_post(request, writer, post_id, form=form)
    return await _show_comment(request, writer, await comments.find(writer, post_id, parent), form=form)


async def _where(reader: Bearer, row: asyncpg.Record) -> str:
    """The page that shows a comment: of what it answers, or of its post, if that has all in one page."""
    page = f"/p/{row['post_id']}"
    if row["parent_id"] is not None:
        page += f"/comments/{row['parent_id']}"
    elif (await posts.find(reader, row["post_id"]))["comments"] > COMMENTS:
        page += f"/comments/{row['id']}"
    return f"{page}#c-{row['id']}"


@router.get(f"{_ONE}/edit")
async def edit_page(request: Request, writer: Member, post_id: Id, comment_id: Id) -> Response:
    """Show the form with a comment of yours."""
    row = await _mine(request, writer, post_id, comment_id)
    form = Form({"content": row["content"], "version": str(row["version"])})
    return await _edit_form(request, form, row)


@router.post(f"{_ONE}/edit")
async def edit(request: Request, writer: Member, post_id: Id, comment_id: Id, form: Sent) -> Response:
    """Change a comment of yours, unless it was changed since the form was opened."""
    row = await _mine(request, writer, post_id, comment_id)
    try:
        said = form.checked(CommentChanges, content=form["content"].strip())
        async with writer.transaction() as caller:
            await comments.update(caller, post_id, comment_id, f'"{form["version"]}."', said.content)
    except NotAcceptable:
        pass
    except PreconditionFailed as problem:
        form.refuse(problem)
        row = await _mine(request, writer, post_id, comment_id)
        # Whoever has read what it says now may go on from there.
        form.fields = {**form.fields, "version": str(row["version"])}
    else:
        return site.redirect(request, await _where(writer, row), "comment_changed")
    return await _edit_form(request, form, row)


async def _edit_form(request: Request, form: Form, row: asyncpg.Record) -> Response:
    await prepare(row["content"])
    return site.form_page(request, "edit_comment.html", form, comment=row)


@router.get(f"{_ONE}/delete")
async def delete_page(request: Request, writer: Member, post_id: Id, comment_id: Id) -> Response:
    """Ask whether a comment of yours is to be deleted."""
    row = await _mine(request, writer, post_id, comment_id)
    await prepare(row["content"])
    return site.page(request, "delete_comment.html", comment=row)


@router.post(f"{_ONE}/delete")
async def delete(request: Request, writer: Member, post_id: Id, comment_id: Id, form: Sent) -> Response:
    """Delete a comment of yours."""
    del form  # it has a token and nothing else
    async with writer.transaction() as caller:
        await comments.delete(caller, post_id, comment_id, None)
    return site.redirect(request, f"/p/{post_id}#discussion", "comment_deleted")


@router.post(f"{_ONE}/vote")
async def vote(request: Request, voter: Member, post_id: Id, comment_id: Id, form: Sent) -> Response:
    """Vote for a comment, or take the vote back; then go on where the button was."""
    cast = form["vote"] == "1"
    await votes.vote(voter, votes.ON_COMMENTS, cast=cast, post=post_id, comment=comment_id)
    back = site.own_path(form["back"], f"/p/{post_id}")
    return site.redirect(request, f"{back}#vote-c{comment_id}")


async def _mine(request: Request, writer: Bearer, post_id: int, comment_id: int) -> asyncpg.Record:
    """The row of a comment that somebody may change; raises NotFound and Forbidden."""
    row = await comments.find(writer, post_id, comment_id)
    if row["owner_id"] is None:
        raise comments.missing_comment()
    if row["owner_id"] != visitor.user_id(request):
        raise Forbidden("Only whoever wrote a comment can change it.")
    return row
