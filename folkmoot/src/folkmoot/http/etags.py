"""Conditional requests (RFC 9110, 13): entity tags, If-None-Match on reads, If-Match on writes.

The tag of a post or a comment is `"<version>.<digest>"`. The version is its own and rises with each edit; the
digest is of the bytes that were sent, so whatever changes them (an edit, a vote, the owner's new name)
changes the tag, and a cache is never wrong. If-Match compares versions only: a write is refused where
somebody edited it since, and a vote that came in meanwhile refuses nobody's edit.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated

from fastapi import Header, Response

from folkmoot.http.problems import Problem

if TYPE_CHECKING:
    from fastapi import Request

#: What a conditional header holds: `*`, or entity tags.
_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_VERSION = re.compile(r"([1-9][0-9]{0,9})\.")

IfMatch = Annotated[
    str | None,
    Header(
        description="The ETag of what you change, as you know it: 412 if it was edited since.",
        examples=['"1.Ozb4RTP5sZ3o"'],
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(
        description="The ETag of an earlier answer: if it still holds, the answer is 304 without a body.",
        examples=['"1.Ozb4RTP5sZ3o"'],
    ),
]


class PreconditionFailed(Problem):
    """Somebody edited the post or the comment since you read it.

    Its ETag is no longer the one of your If-Match. Read it again and decide anew.
    """

    status, kind, title = 412, "precondition-failed", "Somebody else was first"
    example = "It was edited since: its ETag is not the one of If-Match."


#: How OpenAPI declares it.
HEADER = {"ETag": {"schema": {"type": "string"}, "description": "For If-None-Match and If-Match."}}


def etag(body: bytes, version: int | None = None) -> str:
    """The strong entity tag of a representation."""
    digest = urlsafe_b64encode(blake2b(body, digest_size=9).digest()).decode()
    return f'"{digest}"' if version is None else f'"{version}.{digest}"'


def expected_versions(if_match: str | None) -> list[int] | None:
    """The versions that If-Match accepts; None where any will do. Weak tags match nothing (13.1.1)."""
    if if_match is None or if_match.strip() == "*":
        return None
    strong = [tag for weak, tag in _TAG.findall(if_match) if not weak]
    versions = (int(found[1]) for tag in strong if (found := _VERSION.match(tag)))
    return [version for version in versions if version < 2**31]


def holds(request: Request, tag: str) -> bool:
    """Whether the client has what the tag is of already, as If-None-Match says."""
    known = request.headers.get("if-none-match")
    return known is not None and (known.strip() == "*" or tag in {f'"{t}"' for _, t in _TAG.findall(known)})


def written(body: bytes, version: int, status: int, headers: dict[str, str] | None = None) -> Response:
    """Answer a write with what is there now, for whoever wrote it."""
    headers = {**(headers or {}), "ETag": etag(body, version), "Cache-Control": "private, no-cache"}
    return Response(body, status, headers, "application/json")


def respond(
    request: Request,
    body: bytes,
    *,
    version: int | None = None,
    private: bool = False,
    media_type: str = "application/json",
) -> Response:
    """Answer a read: 304 without the body where the client has it already.

    `private`: the answer is for one person; other caches than theirs must not keep it.
    """
    tag = etag(body, version)
    headers = {
        "ETag": tag,
        "Cache-Control": "private, no-cache" if private else "no-cache",
        "Vary": "Authorization",
    }
    if holds(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)
