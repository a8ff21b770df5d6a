"""The page that shows the OpenAPI document, with a policy that lets its own scripts run and no others."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse

_PAGE = bytes(get_swagger_ui_html(openapi_url="openapi.json", title="Folkmoot").body)
_INLINE = (
    f"'sha256-{b64encode(hashlib.sha256(script).digest()).decode()}'"
    for script in re.findall(rb"<script>(.*?)</script>", _PAGE, re.DOTALL)
)
_CDN = "https://cdn.jsdelivr.net"
_POLICY = (
    f"default-src 'none'; script-src {_CDN} {' '.join(_INLINE)}; style-src {_CDN} 'unsafe-inline'; "
    "img-src https://fastapi.tiangolo.com data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def documentation() -> HTMLResponse:
    """Show what the API does."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})
