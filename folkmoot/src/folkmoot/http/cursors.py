"""Cursors: where the next page of a list begins, sealed."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Annotated, Any

import msgspec
from fastapi import Query

from folkmoot.http.problems import Invalid

CURSOR_PATTERN = r"^[A-Za-z0-9_-]+$"

#: Where a page begins.
Cursor = Annotated[
    str | None,
    Query(
        max_length=512,
        pattern=CURSOR_PATTERN,
        description="Where the page begins: the `next_cursor` of the page before it, unaltered.",
    ),
]


class InvalidCursor(Invalid):
    """The cursor of a page is not one that the service gave out, or it belongs to another list."""

    kind, title = "invalid-cursor", "The cursor is not one of ours"
    example = "Pass the next_cursor of the page before, for the same list, unaltered."

    def __init__(self) -> None:
        super().__init__(errors=[{"parameter": "cursor", "in": "query", "detail": self.example}])


class Cursors:
    """Writes and reads the cursors of keyset pages; an altered one is refused."""

    def __init__(self, secret: str, *older: str) -> None:
        """Seal with a secret, and go on to accept what was sealed with older ones."""
        self._keys = [hashlib.sha256(b"cursors:" + each.encode()).digest() for each in (secret, *older)]

    def write(self, purpose: str, key: Any) -> str:
        """Seal where the next page of one list (the purpose: its order and filters) begins."""
        body = msgspec.json.encode(key)
        return _base64(_seal(self._keys[0], purpose, body) + body)

    def read(self, purpose: str, cursor: str) -> Any:
        """Open a cursor; raises InvalidCursor where it was altered or made for another list."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raise InvalidCursor from None
        seal, body = raw[:16], raw[16:]
        # The spelling counts too: the last character of base64 has bits that decode to nothing.
        sealed = any(hmac.compare_digest(seal, _seal(key, purpose, body)) for key in self._keys)
        if not sealed or _base64(raw) != cursor:
            raise InvalidCursor
        return msgspec.json.decode(body)


def _seal(key: bytes, purpose: str, body: bytes) -> bytes:
    return hmac.digest(key, purpose.encode() + b"\x00" + body, "sha256")[:16]


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
