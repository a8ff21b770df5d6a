"""What is at no address: told as a page to whoever asks for one, and as a problem to everybody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from folkmoot.http.answering import on_http_exception
from folkmoot.http.problems import NotFound
from folkmoot.pages import site

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def on_problem(request: Request, error: Exception) -> Response:
    """Answer with a page where nothing answers an address at all and a browser asks."""
    nowhere = (
        isinstance(error, HTTPException) and error.status_code == 404 and "endpoint" not in request.scope
    )
    if nowhere and "text/html" in request.headers.get("accept", ""):
        return site.problem_page(request, NotFound())
    return await on_http_exception(request, error)
