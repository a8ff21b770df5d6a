"""One's own account: name, phone number, address, password, sessions, export, and its end."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from folkmoot.http.parameters import MAX_ID, Id
from folkmoot.http.problems import Forbidden, Problem, TokenRefused
from folkmoot.pages import site, visitor
from folkmoot.pages.forms import Form, NotAcceptable, Sent
from folkmoot.pages.routes import PageRoute
from folkmoot.pages.visitor import Member  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.people import export, my_account, sessions
from folkmoot.people.accounts import EmailTaken
from folkmoot.people.my_account import Changes
from folkmoot.people.sessions import Confirmation

router = APIRouter(include_in_schema=False, route_class=PageRoute)
#: How many sessions are shown; a person has no more of them unless the setting says so.
_SESSIONS = 100


@router.get("/account")
async def show(request: Request, bearer: Member) -> Response:
    """Show one's account."""
    return await _account_page(request, bearer, None)


@router.post("/account/name")
async def change_name(request: Request, bearer: Member, form: Sent) -> Response:
    """Change the name and the phone number; an empty one is taken away."""
    wanted = {name: form[name].strip() or None for name in ("display_name", "phone_number")}
    if await _changed(request, bearer, form, wanted):
        return site.redirect(request, "/account", "name")
    return await _account_page(request, bearer, form)


@router.get("/account/email")
async def email_page(request: Request, bearer: Member) -> Response:
    """Show the form for another address."""
    await bearer.check()
    return _form_page(request, "email", Form({}))


@router.post("/account/email")
async def change_email(request: Request, bearer: Member, form: Sent) -> Response:
    """Change the address. The password is asked again."""
    wanted = {"email": form["email"].strip(), "current_password": form["current_password"]}
    if await _changed(request, bearer, form, wanted):
        return site.redirect(request, "/account", "email")
    return _form_page(request, "email", form)


@router.get("/account/password")
async def password_page(request: Request, bearer: Member) -> Response:
    """Show the form for another password."""
    await bearer.check()
    return _form_page(request, "password", Form({}))


@router.post("/account/password")
async def change_password(request: Request, bearer: Member, form: Sent) -> Response:
    """Change the password, which ends every other session."""
    wanted = {"password": form["password"], "current_password": form["current_password"]}
    if await _changed(request, bearer, form, wanted):
        return site.redirect(request, "/account", "password")
    return _form_page(request, "password", form)


@router.post("/account/sessions/{id}/end")
async def end_session(request: Request, bearer: Member, id: Id, form: Sent) -> Response:  # noqa: A002 (the path's own name)
    """End one of one's sessions."""
    del form  # it has a token and nothing else
    async with bearer.transaction() as caller:
        await sessions.end(request, caller, id)
    return site.redirect(request, "/account#sessions", "session_ended")


@router.get("/account/log-out-everywhere")
async def end_all_page(request: Request, bearer: Member) -> Response:
    """Ask for the password before all sessions end."""
    await bearer.check()
    return _form_page(request, "log-out-everywhere", Form({}))


@router.post("/account/log-out-everywhere")
async def end_all(request: Request, bearer: Member, form: Sent) -> Response:
    """End all of one's sessions."""
    try:
        await sessions.end_all_sessions(request, bearer, _confirmation(form))
    except (NotAcceptable, Problem) as error:
        return _refused(request, "log-out-everywhere", form, error)
    return _gone(request, "logged_out")


@router.get("/account/export")
async def download(request: Request, bearer: Member) -> Response:
    """All that the service keeps about oneself, as a file."""
    return await export.export_account(request, bearer)


@router.get("/account/delete")
async def delete_page(request: Request, bearer: Member) -> Response:
    """Ask for the password before the account is deleted."""
    await bearer.check()
    return _form_page(request, "delete", Form({}))


@router.post("/account/delete")
async def delete(request: Request, bearer: Member, form: Sent) -> Response:
    """Delete one's account, and what one has written."""
    try:
        await my_account.delete_account(request, bearer, _confirmation(form))
    except (NotAcceptable, Problem) as error:
        return _refused(request, "delete", form, error)
    return _gone(request, "account_deleted")


async def _changed(request: Request, bearer: Member, form: Form, wanted: dict[str, Any]) -> bool:
    """Change the account as the API does; False where the form says why not."""
    try:
        await my_account.change_account(request, bearer, form.checked(Changes, **wanted))
    except NotAcceptable:
        return False
    except Problem as problem:
        _told(form, problem)
        return False
    return True


def _confirmation(form: Form) -> Confirmation:
    return form.checked(Confirmation, current_password=form["current_password"])


def _refused(request: Request, what: str, form: Form, error: Exception) -> Response:
    if isinstance(error, Problem):
        _told(form, error)
    return _form_page(request, what, form)


def _told(form: Form, problem: Problem) -> None:
    """Have the form say it; raises a problem that ends the session."""
    if isinstance(problem, TokenRefused):
        raise problem
    places = {Forbidden: "current_password", EmailTaken: "email"}
    form.refuse(problem, places.get(type(problem)))


def _form_page(request: Request, what: str, form: Form) -> Response:
    return site.form_page(request, "account_form.html", form, what=what)


async def _account_page(request: Request, bearer: Member, form: Form | None) -> Response:
    async with bearer.transaction() as caller:
        account = await my_account.mine(caller)
        begun = await sessions.listed(caller, MAX_ID, _SESSIONS)
    if form is None:
        form = Form({name: account[name] or "" for name in ("display_name", "phone_number")})
    return site.form_page(request, "account.html", form, account=account, sessions=begun)


def _gone(request: Request, done: str) -> Response:
    answer = site.redirect(request, "/", done)
    visitor.forget(request, answer)
    return answer
