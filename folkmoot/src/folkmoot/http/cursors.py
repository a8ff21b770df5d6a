"""Cursors: where the next page of a list begins, signed."""

from __future__ import annotations

from hashlib import sha384
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Query
from itsdangerous import BadData, URLSafeSerializer

from folkmoot.http.problems import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterable

#: With more characters of what people wrote than this, a page has fewer items than were asked for.
_PAGE_LENGTH = 200_000

CURSOR_PATTERN = r"^[A-Za-z0-9._-]+$"

#: Where a page begins.
Cursor = Annotated[
    str | None,
    Query(
        max_length=512,
        pattern=CURSOR_PATTERN,
        description="Where the page begins: the `next_cursor` of the page before it, unaltered.",
    ),
]


def fitting(lengths: Iterable[int], limit: int) -> int:
    """How many of the items make a page: `limit`, or fewer where they are long, so that an answer is not."""
    fits = length = 0
    for each in lengths:
        length += each
        if fits == limit or (fits and length > _PAGE_LENGTH):
            break
        fits += 1
    return fits


class InvalidCursor(Invalid):
    """The cursor of a page is not one that the service gave out, or it belongs to another list."""

    kind, title = "invalid-cursor", "The cursor is not one of ours"
    example = "Pass the next_cursor of the page before, for the same list, unaltered."

    def __init__(self) -> None:
        super().__init__(errors=[{"parameter": "cursor", "in": "query", "detail": self.example}])


class Cursors:
    """Writes and reads the cursors of keyset pages; an altered one is refused."""

    def __init__(self, secret: str, *older: str) -> None:
        """Sign with a secret, and go on to accept what was signed with older ones."""
        self._secrets = [*older, secret]  # the last one signs

    def write(self, purpose: str, key: Any) -> str:
        """Sign where the next page of one list (the purpose: its order and filters) begins."""
        return str(self._serializer(purpose).dumps(key))

    def read(self, purpose: str, cursor: str) -> Any:
        """What was written; raises InvalidCursor where it was altered or made for another list."""
        try:
            return self._serializer(purpose).loads(cursor)
        except BadData:
            raise InvalidCursor from None

    def _serializer(self, purpose: str) -> URLSafeSerializer:
        # 48 bytes, which base64 spells without spare bits: else the last character had several spellings.
        return URLSafeSerializer(
            self._secrets, salt=f"cursor of {purpose}", signer_kwargs={"digest_method": sha384}
        )
