"""What every page's route does first and last, so that no page can forget it.

A form is read and its token checked before anything else is done. A problem becomes a page, and somebody
whose session has ended is somebody who is not logged in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi.exceptions import RequestValidationError

from folkmoot.http.answering import from_exception, invalid
from folkmoot.http.problems import LoginRequired, NotFound, TokenRefused
from folkmoot.http.routes import Route
from folkmoot.pages import forms, site, visitor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, TypeAlias

    from fastapi import Request, Response

    _Handle: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(Route):
    """The route of a page, or of what its forms are sent to."""

    def get_route_handler(self) -> _Handle:
        handle = super().get_route_handler()
        if "POST" in (self.methods or ()):
            handle = self.read_first(_form_first(handle))

        async def handle_page(request: Request) -> Response:
            try:
                return await handle(request)
            except TokenRefused:
                visitor.ended(request)
                if request.method == "POST":
                    answer = _log_in_first(request)
                else:
                    answer = await handle_page(request)
                visitor.forget(request, answer)
                return answer
            except LoginRequired:
                return _log_in_first(request)
            except RequestValidationError as error:
                errors = error.errors()
                # An address such as /p/x is no address.
                in_path = any(each["loc"][0] == "path" for each in errors)
                return site.problem_page(request, NotFound() if in_path else invalid(errors))
            except Exception as error:  # noqa: BLE001 - what is not foreseen is logged there
                return site.problem_page(request, from_exception(error))

        return handle_page


class LongPageRoute(PageRoute):
    """The route of a form with a post: 40,000 characters, each of them escaped, are 480,000 bytes."""

    body_limit = 512 * 1024


def _form_first(handle: _Handle) -> _Handle:
    async def handle_form(request: Request) -> Response:
        request.state.form = await forms.read(request)
        return await handle(request)

    return handle_form


def _log_in_first(request: Request) -> Response:
    """The login page, which leads back."""
    back = site.came_from(request) if request.method == "POST" else site.here(request)
    return site.redirect(request, f"/login?next={quote(back, safe='')}", "log_in_first")
