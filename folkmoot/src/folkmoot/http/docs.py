"""The page that shows the OpenAPI document: Swagger UI, served from here: it works without the internet.

The files are those of the package fastapi-swagger, whose releases follow Swagger UI's. Nothing on the page is
inline, so its policy lets these files run and nothing else.
"""

from __future__ import annotations

import gzip
import re
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from folkmoot.http import etags
from folkmoot.http.problems import NotFound

# Addresses are relative, so that the page works behind a proxy that adds a prefix.
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Folkmoot: the API</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
<script src="docs/swagger-ui-bundle.js" defer></script>
<script src="docs/start.js" defer></script>
</head>
<body>
<main id="swagger-ui"></main>
</body>
</html>
"""
_START = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // would send the document's address to a service elsewhere
});
"""
_TYPES = {
    "favicon-32x32.png": "image/png",
    "start.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def documentation() -> HTMLResponse:
    """Show what the API does."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


@router.get("/docs/{name}")
def file(name: str, request: Request) -> Response:
    """A file of the page. FastAPI runs this in a thread: the largest takes a moment to compress."""
    if name not in _TYPES:
        raise NotFound
    zipped = re.search(r"\bgzip\b(?!;q=0)", request.headers.get("accept-encoding", "")) is not None
    answer = etags.respond(request, _file(name, zipped=zipped), media_type=_TYPES[name])
    answer.headers["Vary"] = "Accept-Encoding"
    if zipped and answer.status_code == 200:
        answer.headers["Content-Encoding"] = "gzip"
    return answer


@cache
def _file(name: str, *, zipped: bool) -> bytes:
    if zipped:
        return gzip.compress(_file(name, zipped=False), mtime=0)
    if name == "start.js":
        return _START.encode()
    return (files("fastapi_swagger") / "resources" / name).read_bytes()
