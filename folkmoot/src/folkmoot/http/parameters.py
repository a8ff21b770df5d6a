"""Types that every feature's parameters and bodies share."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

#: The largest id: what every JSON reader holds exactly (RFC 7493, 2.2), far below PostgreSQL's bigint.
MAX_ID = 2**53 - 1
#: The most members that an object in a body has before it is refused as a whole.
MAX_MEMBERS = 100
#: The most items on a page.
MAX_LIMIT = 100

#: Characters that nobody sees, as in a set of a pattern: white space, controls, marks of direction, joiners
#: and other characters without a width or a shape.
INVISIBLE = (
    r"\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0"
)
#: A text with something to be seen, and no NUL, which PostgreSQL's text cannot hold.
SEEN = rf"^[^\x00]*[^{INVISIBLE}][^\x00]*$"

_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,40})")


def _decimal(value: object) -> object:
    # Pydantic also takes " 1", "1_0" and "1.0", which the schema does not promise.
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise ValueError("Input should be a whole number in decimal digits")
    return value


class Body(BaseModel):
    """A JSON body: types are taken strictly (0.9 and true are no integers), unknown members are refused."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _integers(cls, sent: Any) -> Any:
        # JSON has one kind of number: 1.0 is an integer (JSON Schema, 6.1.1), as the contract says.
        if not isinstance(sent, dict):
            return sent
        # Each unknown one would be an error of its own.
        if len(sent) > MAX_MEMBERS:
            raise ValueError(f"Object has {len(sent)} members; no more than {MAX_MEMBERS} are read")
        return {
            name: int(value) if type(value) is float and value.is_integer() else value
            for name, value in sent.items()
        }


#: The id of somebody or something in a query.
Reference = Annotated[int, Field(ge=1, le=MAX_ID), BeforeValidator(_decimal)]
#: The id in a path. (The bounds come before the validator, or they are missing from the schema.)
Id = Annotated[int, Path(ge=1, le=MAX_ID, examples=[1]), BeforeValidator(_decimal)]
#: How many items a page has.
Limit = Annotated[
    int,
    Query(
        ge=1,
        le=MAX_LIMIT,
        description="How many items a page has at most; `next_cursor` says whether there are more.",
    ),
    BeforeValidator(_decimal),
]
