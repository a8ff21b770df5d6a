"""What links in mail lead to: an address is verified, a forgotten password replaced.

A GET uses no link up, as mail servers look at links, too: a button does.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from folkmoot.http.problems import Problem
from folkmoot.pages import site
from folkmoot.pages.forms import Form, NotAcceptable, Sent
from folkmoot.pages.routes import PageRoute
from folkmoot.pages.visitor import Member  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.people import password_resets, verification
from folkmoot.people.mail import NoSuchLink
from folkmoot.people.password_resets import NewPassword, PasswordReset

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/forgot")
async def forgot_page(request: Request) -> Response:
    """Show the form to ask for a new password."""
    return site.form_page(request, "forgot.html", Form({}))


@router.post("/forgot")
async def forgot(request: Request, form: Sent) -> Response:
    """Have a link sent, whether there is such an account or not."""
    try:
        await password_resets.ask(request, form.checked(PasswordReset, email=form["email"].strip()).email)
    except NotAcceptable:
        return site.form_page(request, "forgot.html", form)
    except Problem as problem:
        form.refuse(problem)
        return site.form_page(request, "forgot.html", form)
    return site.redirect(request, "/login", "reset_asked")


@router.get("/reset/{token}")
async def reset_page(request: Request, token: str) -> Response:
    """Show the form for a new password."""
    if not await password_resets.good(request, token):
        raise NoSuchLink
    return site.form_page(request, "reset.html", Form({}), token=token)


@router.post("/reset/{token}")
async def reset(request: Request, token: str, form: Sent) -> Response:
    """Set a new password."""
    try:
        new = form.checked(NewPassword, token=token, password=form["password"])
        await password_resets.reset(request, new.token, new.password)
    except NotAcceptable:
        return site.form_page(request, "reset.html", form, token=token)
    except NoSuchLink:
        raise
    except Problem as problem:
        form.refuse(problem)
        return site.form_page(request, "reset.html", form, token=token)
    return site.redirect(request, "/login", "password_reset")


@router.get("/verify/{token}")
async def verify_page(request: Request, token: str) -> Response:
    """Show the button that verifies an address."""
    if not await verification.good(request, token):
        raise NoSuchLink
    return site.page(request, "verify.html", token=token)


@router.post("/verify/{token}")
async def verify(request: Request, token: str, form: Sent) -> Response:
    """Verify an address."""
    del form  # it has a token and nothing else
    await verification.verify(request, token)
    return site.redirect(request, "/", "email_verified")


@router.post("/account/verify")
async def ask_again(request: Request, bearer: Member, form: Sent) -> Response:
    """Have the link to one's own address sent once more."""
    del form  # it has a token and nothing else
    await verification.ask(request, bearer)
    return site.redirect(request, "/account", "verify_asked")
