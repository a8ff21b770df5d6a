"""Static files: read once, addressed by what is in them, kept by browsers for good."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from hashlib import blake2b
from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from folkmoot.http.problems import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOR_GOOD = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Asset:
    """A static file, and the name that it has as long as it stays the same."""

    name: str
    media_type: str
    content: bytes

    @property
    def address(self) -> str:
        return f"/static/{self.name}"


def _read() -> dict[str, Asset]:
    found = {}
    for file in files("folkmoot.pages").joinpath("static").iterdir():
        content = file.read_bytes()
        stem, _, suffix = file.name.rpartition(".")
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        digest = blake2b(content, digest_size=6).hexdigest()
        found[file.name] = Asset(f"{stem}-{digest}.{suffix}", kind, content)
    return found


#: By the name of the file.
ASSETS: Mapping[str, Asset] = _read()
_BY_ADDRESS = {asset.name: asset for asset in ASSETS.values()}


def static(name: str) -> str:
    """The address of a static file."""
    return ASSETS[name].address


router = APIRouter(include_in_schema=False)


@router.get("/static/{name}")
async def read_asset(request: Request, name: str) -> Response:
    """A static file by the address that `static` gave out; another version is not found."""
    asset = _BY_ADDRESS.get(name)
    if asset is None:
        raise NotFound
    headers = {"Cache-Control": _FOR_GOOD, "ETag": f'"{asset.name}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, 200, headers, asset.media_type)
