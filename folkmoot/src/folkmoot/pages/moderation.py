"""Reports, and what administrators do about them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from folkmoot.http.cursors import Cursor  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.parameters import MAX_ID, Id
from folkmoot.http.problems import NotFound
from folkmoot.moderation import blocks, log, removals, reports, withholding
from folkmoot.moderation.log import Why
from folkmoot.moderation.withholding import COMMENTS
from folkmoot.pages import site
from folkmoot.pages.forms import Form, NotAcceptable, Sent
from folkmoot.pages.markdown import prepare
from folkmoot.pages.routes import PageRoute
from folkmoot.pages.visitor import Member  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.people import administrators
from folkmoot.posts import comments, posts

if TYPE_CHECKING:
    from folkmoot.http.cursors import Cursors
    from folkmoot.moderation.withholding import Target
    from folkmoot.people.caller import Bearer

#: How many reports, or entries of the log, a page shows.
_ROWS = 50
_PERSON = "SELECT id::bigint, display_name, blocked_at, blocked_reason FROM users WHERE id = $1::bigint"

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/p/{post_id}/report")
async def report_page(request: Request, bearer: Member, post_id: Id) -> Response:
    """Show the form to report a post."""
    return await _report_page(request, bearer, withholding.post(post_id), Form({}))


@router.post("/p/{post_id}/report")
async def report(request: Request, bearer: Member, post_id: Id, form: Sent) -> Response:
    """Report a post."""
    return await _report(request, bearer, withholding.post(post_id), form)


@router.get("/p/{post_id}/comments/{comment_id}/report")
async def report_comment_page(request: Request, bearer: Member, post_id: Id, comment_id: Id) -> Response:
    """Show the form to report a comment."""
    return await _report_page(request, bearer, withholding.comment(post_id, comment_id), Form({}))


@router.post("/p/{post_id}/comments/{comment_id}/report")
async def report_comment(
    request: Request, bearer: Member, post_id: Id, comment_id: Id, form: Sent
) -> Response:
    """Report a comment."""
    return await _report(request, bearer, withholding.comment(post_id, comment_id), form)


async def _report(request: Request, bearer: Bearer, target: Target, form: Form) -> Response:
    why = _why(form)
    if why is None:
        return await _report_page(request, bearer, target, form)
    await reports.report(request, bearer, target, why)
    return site.redirect(request, f"/p/{target.key[0]}", "reported")


async def _report_page(request: Request, bearer: Bearer, target: Target, form: Form) -> Response:
    post = posts.shaped(await posts.find(bearer, target.key[0]))
    comment = None
    if target.kind is COMMENTS:
        comment = comments.shaped(await comments.find(bearer, *target.key))
        if comment.deleted:
            raise comments.missing_comment()
        await prepare(comment.content)
    return site.form_page(request, "report.html", form, post=post, comment=comment)


@router.get("/moderation")
async def queue_page(request: Request, bearer: Member, cursor: Cursor = None) -> Response:
    """Show what was reported; for administrators."""
    cursors: Cursors = request.app.state.cursors
    async with administrators.acting(bearer) as caller:
        after = cursors.read("reports", cursor) if cursor else 0
        rows = await reports.queue(caller, after, _ROWS + 1)
    more = _more("/moderation", cursors.write("reports", rows[_ROWS - 1]["id"])) if rows[_ROWS:] else None
    return site.page(request, "moderation.html", reports=rows[:_ROWS], more=more)


@router.get("/moderation/log")
async def log_page(request: Request, bearer: Member, cursor: Cursor = None) -> Response:
    """Show who did what, the latest first; for administrators."""
    cursors: Cursors = request.app.state.cursors
    async with administrators.acting(bearer) as caller:
        before = cursors.read("moderation log", cursor) if cursor else MAX_ID
        rows = await log.page(caller, before, _ROWS + 1)
    last = cursors.write("moderation log", rows[_ROWS - 1]["id"]) if rows[_ROWS:] else None
    more = _more("/moderation/log", last) if last else None
    return site.page(request, "moderation_log.html", entries=rows[:_ROWS], more=more)


@router.get("/moderation/posts/{post_id}")
async def post_page(request: Request, bearer: Member, post_id: Id) -> Response:
    """Show a post, removed or not, and what can be done about it; for administrators."""
    return await _decision_page(request, bearer, withholding.post(post_id), Form({}))


@router.post("/moderation/posts/{post_id}")
async def decide(request: Request, bearer: Member, post_id: Id, form: Sent) -> Response:
    """Remove a post, restore it, or leave it as it is."""
    return await _decide(request, bearer, withholding.post(post_id), form)


@router.get("/moderation/posts/{post_id}/comments/{comment_id}")
async def comment_page(request: Request, bearer: Member, post_id: Id, comment_id: Id) -> Response:
    """Show a comment, removed or not, and what can be done about it; for administrators."""
    return await _decision_page(request, bearer, withholding.comment(post_id, comment_id), Form({}))


@router.post("/moderation/posts/{post_id}/comments/{comment_id}")
async def decide_on_comment(
    request: Request, bearer: Member, post_id: Id, comment_id: Id, form: Sent
) -> Response:
    """Remove a comment, restore it, or leave it as it is."""
    return await _decide(request, bearer, withholding.comment(post_id, comment_id), form)


async def _decide(request: Request, bearer: Bearer, target: Target, form: Form) -> Response:
    why = _why(form)
    if why is None:
        return await _decision_page(request, bearer, target, form)
    does = {"remove": removals.remove, "restore": removals.restore}.get(form["do"], reports.keep)
    async with administrators.acting(bearer) as caller:
        await does(request, caller, target, why)
    return site.redirect(request, "/moderation", "moderated")


async def _decision_page(request: Request, bearer: Bearer, target: Target, form: Form) -> Response:
    async with administrators.acting(bearer) as caller:
        row = await removals.seen(caller, target)
    await prepare(row["content"])
    return site.form_page(request, "moderation_decision.html", form, seen=row)


@router.get("/moderation/people/{id}")
async def person_page(request: Request, bearer: Member, id: Id) -> Response:  # noqa: A002 (the path's own name)
    """Show whether somebody is blocked; for administrators."""
    return await _person_page(request, bearer, id, Form({}))


@router.post("/moderation/people/{id}")
async def block(request: Request, bearer: Member, id: Id, form: Sent) -> Response:  # noqa: A002 (as above)
    """Block an account, or unblock it."""
    why = _why(form)
    if why is None:
        return await _person_page(request, bearer, id, form)
    does = blocks.unblock if form["do"] == "unblock" else blocks.block
    await does(request, bearer, id, why)
    return site.redirect(request, "/moderation", "moderated")


def _why(form: Form) -> str | None:
    """The reason that was typed; None where it is not acceptable."""
    try:
        return form.checked(Why, reason=form["reason"].strip()).reason
    except NotAcceptable:
        return None


async def _person_page(request: Request, bearer: Bearer, person_id: int, form: Form) -> Response:
    async with administrators.acting(bearer) as caller:
        person = await caller.connection.fetchrow(_PERSON, person_id)
    if person is None:
        raise NotFound("There is no such person.")
    return site.form_page(request, "moderation_person.html", form, person=person)


def _more(path: str, cursor: str) -> str:
    return f"{path}?{urlencode({'cursor': cursor})}"
