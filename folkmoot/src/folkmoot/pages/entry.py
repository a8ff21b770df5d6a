"""Ways in and out: register, log in, log out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response

from folkmoot.http.problems import InvalidGrant, Problem
from folkmoot.pages import site, visitor
from folkmoot.pages.forms import Form, NotAcceptable, Sent
from folkmoot.pages.routes import PageRoute
from folkmoot.pages.visitor import Member  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.people import accounts, sessions
from folkmoot.people.accounts import EmailTaken, Registration

if TYPE_CHECKING:
    from folkmoot.people.sessions import Begun

router = APIRouter(include_in_schema=False, route_class=PageRoute)
#: The longest password, and so the longest field of a login.
_LENGTH = 1024

#: Where somebody wanted to go.
Next = Annotated[str, Query(max_length=4000)]


@router.get("/register")
async def register_page(request: Request, next: Next = "/") -> Response:  # noqa: A002 (the address says so)
    """Show the form to register."""
    return site.form_page(request, "register.html", Form({"next": next}))


@router.post("/register")
async def register(request: Request, form: Sent) -> Response:
    """Register, and log in."""
    try:
        account = form.checked(
            Registration,
            email=form["email"].strip(),
            password=form["password"],
            display_name=form["display_name"].strip() or None,
        )
        await accounts.add(request, account)
    except NotAcceptable:
        return site.form_page(request, "register.html", form)
    except Problem as problem:
        form.refuse(problem, "email" if isinstance(problem, EmailTaken) else None)
        return site.form_page(request, "register.html", form)
    begun = await sessions.log_in(request, account.email, account.password)
    return _welcome(request, form, begun, "registered")


@router.get("/login")
async def login_page(request: Request, next: Next = "/") -> Response:  # noqa: A002 (as above)
    """Show the form to log in; `POST /login` is OAuth2's and the API's."""
    return site.form_page(request, "login.html", Form({"next": next}))


@router.post("/log-in")
async def log_in(request: Request, form: Sent) -> Response:
    """Begin a session of this browser."""
    email, password = form["email"].strip(), form["password"]
    try:
        if not (email and password and len(email) <= _LENGTH and len(password) <= _LENGTH):
            raise InvalidGrant
        begun = await sessions.log_in(request, email, password)
    except Problem as problem:
        form.refuse(problem)
        return site.form_page(request, "login.html", form)
    return _welcome(request, form, begun)


@router.post("/log-out")
async def log_out(request: Request, bearer: Member, form: Sent) -> Response:
    """End the session of this browser."""
    del form  # it has a token and nothing else
    async with bearer.transaction() as caller:
        await sessions.log_out(request, caller)
    answer = site.redirect(request, "/", "logged_out")
    visitor.forget(request, answer)
    return answer


def _welcome(request: Request, form: Form, begun: Begun, done: str | None = None) -> Response:
    answer = site.redirect(request, site.own_path(form["next"]), done)
    visitor.remember(request, answer, begun.user_id, begun.session_id)
    return answer
